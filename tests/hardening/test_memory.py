"""What the ops keep: resident memory stays flat, inputs are let go, and saved tensors are those that the docs name."""

import gc
import weakref
from pathlib import Path

import pytest
import torch
from checks import needs_native

from dssl_ops import (
    KeyQueue,
    Program,
    RaggedImages,
    ViewGraph,
    augment,
    barlow_twins,
    directional_loss,
    image_op,
    info_nce,
    jigsaw,
    nt_xent,
)
from dssl_ops import transforms as T

pytestmark = needs_native
GRAPH, VIEWS = ViewGraph.dssl(), T.DirectedViews(T.StandardView(16), T.Compose((T.RandAugment(2, 9), T.Jigsaw(4))))
PROGRAM = Program.from_steps([[("Rotate", (30, 2)), ("GaussianBlur", (1.5,)), ("Jigsaw", (1, 0, 2, 3))]] * 2, (32, 32))


def rows():
    return torch.randn(64, 128, requires_grad=True)


def pictures():
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)


def packed(images):
    return RaggedImages(images.flatten(), torch.tensor([[32, 32]] * 2), 3)


def refused(call):
    try:
        call()
    except (RuntimeError, ValueError):
        return None
    raise AssertionError("not refused")


# Each takes the inputs that it makes, and gives what the op made of them.
OPS = {
    "directional_loss": (lambda: [rows() for _ in range(4)], lambda *x: directional_loss(x, x, GRAPH)),
    "nt_xent": (lambda: [rows(), rows()], nt_xent),
    "nt_xent with statistics": (lambda: [rows(), rows()], lambda a, b: nt_xent(a, b, return_stats=True).loss),
    "info_nce": (lambda: [rows(), rows(), rows()], info_nce),
    "barlow_twins by rows": (lambda: [rows()[:16], rows()[:16]], barlow_twins),
    "barlow_twins by features": (lambda: [rows(), rows()], barlow_twins),
    "jigsaw": (lambda: [torch.randn(2, 3, 32, 32, requires_grad=True)],
               lambda x: jigsaw(x, 2, torch.tensor([[1, 0, 3, 2]] * 2)).sum()),
    "augment": (lambda: [pictures()], lambda x: augment(x, PROGRAM)),
    "a refused program": (lambda: [pictures()], lambda x: refused(lambda: augment(x[..., :1], PROGRAM))),
    "image_op": (lambda: [pictures()], lambda x: image_op(x, "Brightness", [0.5, 1.5])),
    "transform": (lambda: [pictures()], lambda x: VIEWS(x, seed=0)),
    "transform of a list": (lambda: [pictures()[0], pictures()[0]], lambda *x: VIEWS(x, seed=0)),
    "transform of a packed buffer": (lambda: [pictures()], lambda x: VIEWS(packed(x), seed=0)),
    "programs": (lambda: [pictures()], lambda x: VIEWS.sample(x, seed=0).to_json()),
    "KeyQueue": (lambda: [torch.randn(64, 16)], lambda x: KeyQueue(32, 16).enqueue(x)),
}  # fmt: skip


def once(make, op):
    inputs = make()
    result = op(*inputs)
    if isinstance(result, torch.Tensor) and result.requires_grad:
        result.backward()
    return inputs, result


def resident():
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def growth(make, op, calls):
    for _ in range(50):  # caches fill, arenas open
        once(make, op)
    before = resident()
    for _ in range(calls):
        once(make, op)
    return resident() - before


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc"
)


@needs_proc
@pytest.mark.parametrize("name", OPS)
def test_resident_memory_stays_flat(name):
    # Every input has 2 KiB or more. Other parts of the process may grow once, but not in each of three runs.
    assert any(growth(*OPS[name], 200) < 200 * 2048 for _ in range(3))


@needs_proc
@pytest.mark.exhaustive
@pytest.mark.parametrize("name", OPS)
def test_resident_memory_stays_flat_over_ten_thousand_calls(name):
    grown = growth(*OPS[name], 10_000)
    print(f"{name}: 10000 calls, {grown / 1024:.0f} KiB more")
    assert grown < 4 << 20  # 400 bytes a call


@pytest.mark.parametrize("name", OPS)
def test_inputs_are_let_go(name):
    inputs, result = once(*OPS[name])
    gone = [weakref.ref(tensor) for tensor in inputs]
    if not (isinstance(result, torch.Tensor) and result.requires_grad):
        del inputs
        assert [ref() for ref in gone] == [None] * len(gone)  # at once, while the result is still here
    else:
        del inputs, result
        gc.collect()
        assert [ref() for ref in gone] == [None] * len(gone)


# Bytes that each loss may keep for its backward pass beside its inputs, as its docstring says.
B, D, E = 64, 128, len(GRAPH.edges)
ROUND = (B + 31) // 32 * 32
KEPT = {
    "directional_loss": B * (4 + 2 + 4 + E) * 8,  # "a few numbers a row": scales, and one of each prediction and edge
    "nt_xent": 2 * (2 * B) * 8 + 8,  # each row's positive logit and log-sum-exp, and the temperature
    "info_nce": 2 * B * 8 + 2 * B * 8 + 8,  # and the indices of positives and of what is excluded
    "barlow_twins by features": D * D * 4 + 5 * D * 8,  # C, and five numbers a feature
    "barlow_twins by rows": 2 * 32 * 32 * 4 + 5 * D * 8,  # two matrices of N x N
    "jigsaw": 2 * 4 * 8,  # the permutation
}


@pytest.mark.parametrize("name", KEPT)
def test_a_loss_keeps_no_more_than_it_says(name):
    make, op = OPS[name]
    inputs, kept = make(), {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        op(*inputs)
    for tensor in inputs:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    assert sum(kept.values()) <= KEPT[name]
