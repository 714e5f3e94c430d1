"""The CUDA kernels of directional_loss on the emulator, against the formula in float64."""

import pytest
import torch
from checks import CODES, TOLERANCE, relative_error

from dssl_ops import ViewGraph
from emulator import ORDERS, emulated

GRAPHS = {
    "dssl": ViewGraph.dssl(),
    "eq6": ViewGraph.weighted(1, 0.3, 0.9, 0.1),
    "repeated": ViewGraph(((2, 1, -0.5), (0, 0, 1.0), (0, 0, 2.0))),  # one edge twice, one view without any
    "none": ViewGraph(()),
}
SHAPES = [(1, 1), (1, 2048), (7, 33), (5, 128), (3, 1025), (2, 4099)]
pytestmark = pytest.mark.usefixtures("poisoned_memory")


class Strided:
    """A matrix as the launch takes it, with the memory from its first entry to its last."""

    def __init__(self, rows):
        self.data_ptr, self.rows = rows.data_ptr, rows
        last = sum((size - 1) * stride for size, stride in zip(rows.shape, rows.stride()))
        self.nbytes = (last + 1) * rows.element_size() if rows.numel() else 0


def inputs(predictions, targets, graph, coefficients, edge_weights=None, weights=None):
    """The struct of this name in directional_loss_cuda.h."""
    views, like, count = (*predictions, *targets), predictions[0], len(graph.edges)
    edges = [view for i, j, _ in graph.edges for view in (i, j)]
    per_sample = weights is not None and weights.dim() == 2
    weighted = (weights, like.shape[0] if per_sample else 1, int(per_sample))
    scratch = torch.empty(24 * (len(views) + count), dtype=torch.uint8)
    strides = [view.stride(0) for view in views]
    return ([Strided(view) for view in views], strides, len(predictions), len(targets), edges, edge_weights, count,
            *weighted, *like.shape, CODES[like.dtype], coefficients, scratch)  # fmt: skip


def run(predictions, targets, graph, weights=None, reduction="mean", **how):
    """Loss and coefficients, by the launch that directional_loss_cuda.cpp makes."""
    like, V, W, E = predictions[0], len(predictions), len(targets), len(graph.edges)
    per_row = reduction == "none"
    wide = torch.float64 if like.dtype == torch.float64 else torch.float32
    loss = torch.empty(like.shape[0] if per_row else (), dtype=wide)
    sums = torch.empty(0 if per_row else like.shape[0], dtype=torch.float64)
    coefficients = torch.empty(like.shape[0], 2 * V + W + E, dtype=torch.float64)
    of = inputs(predictions, targets, graph, coefficients, [float(w) for *_, w in graph.edges], weights)
    factor = 1 / max(1, like.shape[0]) if reduction == "mean" else 1.0
    emulated("directional_loss").directional_loss_launch(of, sums, loss, per_row, factor, **how)
    return loss, coefficients


def differentiate(predictions, targets, graph, coefficients, upstream, factor=1.0, **how):
    out = torch.empty(len(predictions), *predictions[0].shape, dtype=predictions[0].dtype)
    of = inputs(predictions, targets, graph, coefficients)
    emulated("directional_loss").directional_loss_backward_launch(of, upstream, upstream.dim() == 1, factor, out, **how)
    return out.unbind()


def both(predictions, targets, graph, **how):
    loss, coefficients = run(predictions, targets, graph, reduction="none", **how)
    upstream = torch.ones((), dtype=torch.float64)
    return loss, differentiate(predictions, targets, graph, coefficients, upstream, **how)


def truth(predictions, targets, graph, weights=None):
    """Losses of the rows, edge by edge in float64."""
    rows = torch.zeros(predictions[0].shape[0], dtype=torch.float64)
    for e, (i, j, w) in enumerate(graph.edges):
        p, t = predictions[i].double(), targets[j].double()
        rows = rows - w * (1.0 if weights is None else weights[e]) * torch.nn.functional.cosine_similarity(p, t, eps=0)
    return rows


def make_views(V, W, batch, width, dtype):
    """Rows that resemble each other, as in training: losses are then far from zero and errors relative."""
    generator = torch.Generator().manual_seed(batch + width)
    common = torch.randn(batch, width, generator=generator, dtype=torch.float64)
    views = [common + 0.5 * torch.randn(batch, width, generator=generator, dtype=torch.float64) for _ in range(V + W)]
    return [v.to(dtype) for v in views[:V]], [v.to(dtype) for v in views[V:]]


def check(predictions, targets, graph, weights=None, reduction="mean", **how):
    """Values and gradients for a random upstream gradient, within the tolerances of the CPU tests."""
    dtype, (batch, width) = predictions[0].dtype, predictions[0].shape
    loss, coefficients = run(predictions, targets, graph, weights, reduction, **how)
    leaves = [p.double().requires_grad_() for p in predictions]
    want = truth(leaves, targets, graph, weights)
    want = {"none": want, "sum": want.sum(), "mean": want.mean()}[reduction]
    value_bound, gradient_bound = TOLERANCE[dtype]
    assert relative_error(loss, want.detach()) <= value_bound
    upstream = torch.randn(loss.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    factor = 1 / batch if reduction == "mean" else 1.0
    got = differentiate(predictions, targets, graph, coefficients, upstream, factor, **how)
    if not want.requires_grad or width == 1:  # the cosine of numbers is their sign
        assert all(g.abs().max() < 1e-2 for g in got)
        return
    true = torch.autograd.grad(want, leaves, upstream.double(), allow_unused=True)
    for g, t in zip(got, true):
        if t is None:
            assert not g.any()
            continue
        assert g.dtype == dtype
        assert (g.double() - t).norm() <= gradient_bound * t.norm() + (1e-6 if dtype == torch.float16 else 0)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_values_and_gradients(dtype, order):
    for batch, width in SHAPES:
        check(*make_views(4, 2, batch, width, dtype), GRAPHS["dssl"], order=order)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_graphs_and_reductions(graph, reduction):
    check(*make_views(4, 4, 5, 37, torch.float32), graph, None, reduction)


@pytest.mark.parametrize("per_sample", [False, True])
def test_weights(per_sample):
    weights = torch.rand((8, 5) if per_sample else (8,), dtype=torch.float64)
    spread = weights if per_sample else weights[:, None].expand(8, 5)
    views = make_views(4, 4, 5, 37, torch.float32)
    one, _ = run(*views, GRAPHS["eq6"], weights)
    assert relative_error(one, truth(*views, GRAPHS["eq6"], spread).mean()) <= 1e-6
    check(*views, GRAPHS["eq6"], spread.contiguous(), "none")


def test_a_graph_that_no_argument_holds():
    graph = ViewGraph.all_pairs(20)
    check(*make_views(20, 20, 2, 9, torch.float32), graph)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rows_larger_than_shared_memory(dtype):
    check(*make_views(2, 2, 2, 6003, dtype), ViewGraph.symmetric())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_more_rows_than_blocks(dtype):
    """A block's second row takes the memory of its first; scales are in it for float64 alone."""
    check(*make_views(1, 1, 4099, 6, dtype), ViewGraph(((0, 0, 1.0),)), None, "none")


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_strided_and_misaligned_rows_give_the_same_bits(dtype):
    predictions, targets = make_views(4, 2, 3, 64, dtype)
    plain = both(predictions, targets, GRAPHS["dssl"])
    shifted = [torch.cat([p, p, p[:, :1]], 1)[:, 1:129].roll(1, 1)[:, :64] for p in predictions]
    shifted = [torch.nn.functional.pad(p, (1, 2))[:, 1:65] for p in shifted]
    assert all(torch.equal(a, b) for a, b in zip(shifted, predictions)) and shifted[0].stride(0) == 67
    other = both(shifted, targets, GRAPHS["dssl"])
    assert torch.equal(plain[0], other[0]) and all(map(torch.equal, plain[1], other[1]))


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_zero_rows_have_loss_and_gradient_zero(dtype):
    predictions, targets = make_views(4, 2, 4, 20, dtype)
    for p in predictions:
        p[1] = 0
    for t in targets:
        t[2] = 0
    loss, gradients = both(predictions, targets, GRAPHS["dssl"])
    assert loss[1] == 0 and loss[2] == 0 and not loss.isnan().any()
    assert all(not g[1].any() and not g[2].any() and g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("size", [1e-290, 1e-160, 1e155, 1e290])
def test_cosine_ignores_the_size_of_its_arguments(size):
    predictions, targets = make_views(4, 2, 3, 50, torch.float64)
    plain, gradients = both(predictions, targets, GRAPHS["dssl"])
    loss, of_scaled = both([p * size for p in predictions], [t / size for t in targets], GRAPHS["dssl"])
    assert relative_error(loss, plain) <= 1e-14
    if size > 1e-200:
        assert all(relative_error(a * size, b) <= 1e-14 for a, b in zip(of_scaled, gradients))


def test_subnormal_rows_have_a_finite_scale():
    tiny, like = torch.full((2, 3), 1e-310, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    loss, _ = both([tiny], [like], ViewGraph(((0, 0, 1.0),)))
    assert relative_error(loss, torch.tensor([-1.0, -1.0], dtype=torch.float64)) <= 1e-14


@pytest.mark.parametrize("noise", [1e-1, 1e-3])
def test_gradients_of_aligned_views_keep_their_precision(noise):
    """Near cosine 1 the gradient is the small difference of two large terms: float32 sums would lose it."""
    common = torch.randn(4, 300, dtype=torch.float64)
    views = [(common + noise * torch.randn(4, 300, dtype=torch.float64)).float() for _ in range(6)]
    check(views[:4], views[4:], GRAPHS["dssl"], None, "sum")


def test_orders_change_no_bit():
    views = make_views(4, 2, 5, 515, torch.float32)
    results = [both(*views, GRAPHS["dssl"], order=order) for order in ORDERS]
    for loss, gradients in results[1:]:
        assert torch.equal(loss, results[0][0]) and all(map(torch.equal, gradients, results[0][1]))


@pytest.mark.parametrize("shape", [(0, 8), (5, 0), (0, 0)])
def test_empty(shape):
    predictions, targets = [torch.zeros(shape) for _ in range(4)], [torch.zeros(shape) for _ in range(2)]
    for reduction in ("mean", "none"):
        loss, coefficients = run(predictions, targets, GRAPHS["dssl"], None, reduction)
        assert not loss.any() and loss.shape == (shape[:1] if reduction == "none" else ())
        upstream = torch.ones(loss.shape, dtype=torch.float64)
        gradients = differentiate(predictions, targets, GRAPHS["dssl"], coefficients, upstream)
        assert all(g.shape == shape for g in gradients)
