"""Losses and the queue on any input: the float64 definition's value and gradient, or an error that names the op."""

import torch
from checks import needs_native
from drawn import FLOATS, MODES, WRONG, agree, junk, layouts, modes, numbers, reals, refused, rows, seeds, sizes, tame
from hypothesis import given
from hypothesis import strategies as st

from dssl_ops import (
    KeyQueue,
    ViewGraph,
    barlow_twins,
    barlow_twins_reference,
    directional_loss,
    directional_loss_reference,
    info_nce,
    nt_xent,
    nt_xent_reference,
)

pytestmark = needs_native
reductions = st.sampled_from(("mean", "sum", "none"))
graphs = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from((0.5, 1.0, -2.0, 0.0))), max_size=5
).map(ViewGraph)


def gradients(loss, leaves, upstream):
    (loss * upstream.to(loss.dtype)).sum().backward()
    return [leaf.grad for leaf in leaves]


def compare(run, truth, inputs, mode, seed):
    """run(inputs) against truth(inputs in float64): the value, and the gradients where all numbers are ordinary."""
    leaves = [x.detach().requires_grad_(mode in ("plain", "autocast")) for x in inputs]
    with MODES[mode]():
        loss = run(leaves)
    wide = [x.detach().double().requires_grad_() for x in inputs]
    expected = truth(wide)
    assert loss.dtype == (torch.float64 if inputs[0].dtype == torch.float64 else torch.float32)
    agree(loss, expected.detach().to(loss.dtype))
    if not leaves[0].requires_grad or not loss.requires_grad:
        return
    upstream = torch.randn(loss.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    got = gradients(loss, leaves, upstream)
    wanted = gradients(expected, wide, upstream) if expected.requires_grad else [None] * len(wide)
    if not tame(*inputs):
        return
    for mine, theirs, leaf in zip(got, wanted, leaves):
        assert mine is not None or theirs is None or not theirs.any()
        if mine is not None and theirs is not None and theirs.numel():
            agree(
                mine,
                theirs.to(mine.dtype),
                3e-2 if leaf.dtype in FLOATS[2:] else 1e-3,
                1e-5 + 1e-2 * theirs.abs().max(),
            )


@st.composite
def like(draw, count, kind=numbers):
    """`count` tensors of rows that share shape and type."""
    dtype, shape = draw(st.sampled_from(FLOATS)), (draw(sizes), draw(sizes))
    return [draw(rows(st.just(shape[0]), st.just(shape[1]), dtype, kind)) for _ in range(count)]


@given(
    inputs=like(6), graph=graphs, reduction=reductions, mode=modes, seed=seeds, per_sample=st.sampled_from((0, 1, 2))
)
def test_directional_loss(inputs, graph, reduction, mode, seed, per_sample):
    weights = torch.rand((len(graph.edges), len(inputs[0]))[:per_sample], dtype=torch.float64) if per_sample else None

    def run(x, loss=directional_loss):
        return loss(x[:3], x[3:], graph, weights, reduction)

    compare(run, lambda x: run(x, directional_loss_reference), inputs, mode, seed)


@given(inputs=like(2), reduction=reductions, mode=modes, seed=seeds, temperature=st.sampled_from((0.05, 0.5, 3.0)))
def test_nt_xent(inputs, reduction, mode, seed, temperature):
    def truth(x):
        losses = nt_xent_reference(
            x, [], None, None, None, False, torch.tensor(temperature, dtype=torch.float64), False
        )[0]
        return losses if reduction == "none" else losses.sum() / (max(1, len(losses)) if reduction == "mean" else 1)

    compare(lambda x: nt_xent(*x, temperature, reduction=reduction), truth, inputs, mode, seed)


@st.composite
def with_queue(draw):
    dtype, count, width = draw(st.sampled_from(FLOATS)), draw(sizes), draw(sizes)
    counts = (count, count + draw(st.integers(0, 3)), draw(sizes))
    return [draw(rows(st.just(n), st.just(width), dtype)) for n in counts]


@given(inputs=with_queue(), mode=modes, seed=seeds, in_batch=st.booleans(), decoupled=st.booleans())
def test_info_nce(inputs, mode, seed, in_batch, decoupled):
    count, keys, queue = map(len, inputs)
    if decoupled and (keys - 1 if in_batch else 0) + queue == 0:
        assert refused(lambda: info_nce(*inputs, in_batch=in_batch, decoupled=True), "info_nce")
        return

    def truth(x):
        own = torch.arange(count)
        temperature = torch.tensor(0.2, dtype=torch.float64)
        queue = x[2].detach()
        return nt_xent_reference([x[0]], [x[1]], queue, own, own * 0 - 1, not in_batch, temperature, decoupled)[0]

    def run(x):
        return info_nce(x[0], x[1], x[2], in_batch=in_batch, decoupled=decoupled, reduction="none")

    compare(run, truth, inputs, mode, seed)


@given(inputs=like(2), mode=modes, seed=seeds)
def test_barlow_twins(inputs, mode, seed):
    if 0 in inputs[0].shape:
        assert refused(lambda: barlow_twins(*inputs), "barlow_twins")
    elif tame(*inputs) and len(inputs[0]) > 2 and min(x.double().std(0).min() for x in inputs) > 1e-2:
        compare(lambda x: barlow_twins(*x), lambda x: barlow_twins_reference(*x), inputs, mode, seed)
    else:  # what is next to constant, or overflows in its own type, cancels to nothing: no truth to compare with
        with MODES[mode]():
            barlow_twins(*inputs)


ANY = st.one_of(
    rows(dtype=None), rows(dtype=torch.int64), st.sampled_from(WRONG).flatmap(lambda d: rows(dtype=d)), junk
)


@given(a=ANY, b=ANY, c=ANY, temperature=st.one_of(reals, rows()), reduction=st.one_of(reductions, junk), lambd=reals)
def test_whatever_comes_a_loss_gives_a_tensor_or_an_error_that_names_it(a, b, c, temperature, reduction, lambd):
    made = (RuntimeError,)  # the compiled checks' own, of a temperature in a tensor
    refused(lambda: nt_xent(a, b, temperature, reduction=reduction), "nt_xent", *made)
    refused(lambda: info_nce(a, b, c, temperature, reduction=reduction), "info_nce", *made)
    refused(lambda: directional_loss([a, b], [c, b], ViewGraph.symmetric(), reduction=reduction), "directional_loss")
    refused(lambda: directional_loss(a, b, weights=c), "directional_loss")
    refused(lambda: barlow_twins(a, b, lambd, temperature, eps=lambd), "barlow_twins")


@given(size=st.integers(1, 9), parts=st.lists(st.tuples(st.integers(0, 20), layouts, seeds), max_size=6))
def test_a_queue_holds_the_last_keys_whatever_comes(size, parts):
    queue, kept = KeyQueue(size, 3), []
    for count, layout, seed in parts:
        keys = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
        keys = queue.keys[: min(count, size)] if layout == "rows" else keys  # the queue's own
        kept = [*kept, *keys.clone()]
        queue.enqueue(keys)
    last = kept[-size:]
    held = {tuple(row.tolist()) for row in queue.keys}
    assert {tuple(row.tolist()) for row in last} <= held and 0 <= int(queue.pointer) < size


@given(size=reals, width=reals, dtype=st.sampled_from((*FLOATS, *WRONG, "float32")), keys=ANY)
def test_a_queue_of_anything_is_refused_in_one_line(size, width, dtype, keys):
    whole = all(isinstance(side, int) and 0 < side < 1000 and side is not True for side in (size, width))
    assert refused(lambda: KeyQueue(size, width, dtype=dtype), "KeyQueue") != (whole and dtype in FLOATS)
    refused(lambda: KeyQueue(5, 3).enqueue(keys), "KeyQueue.enqueue")
