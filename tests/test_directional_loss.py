"""directional_loss against the formula in float64, written here independently of the package."""

from functools import partial

import pytest
import torch
from checks import TOLERANCE, needs_native, relative_error
from torch.library import opcheck

from dssl_ops import ViewGraph, directional_loss, directional_loss_reference

DTYPES = list(TOLERANCE)
SHAPES = [(1, 1), (1, 2048), (7, 33), (64, 128), (13, 1025), (3, 4099), (257, 64)]
GRAPHS = {
    "dssl": ViewGraph.dssl(),
    "algorithm1": ViewGraph.dssl("mean"),
    "eq6": ViewGraph.weighted(1, 0.3, 0.9, 0.1),
    "pairs": ViewGraph.symmetric(2),
    "all6": ViewGraph.all_pairs(6),
    "repeated": ViewGraph(((0, 0, 1.0), (0, 0, 2.0), (2, 1, -0.5))),  # one edge twice, one view without any
}
pytestmark = pytest.mark.usefixtures("poisoned_memory")


def truth(predictions, targets, graph, weights=None, reduction="mean"):
    """sum_e w_e mean_b(-cos), edge by edge in float64, and its gradients for the given upstream gradient."""
    rows = 0
    for e, (i, j, w) in enumerate(graph.edges):
        p, t = predictions[i].double(), targets[j].detach().double()
        cosine = (p * t).sum(1) / (p.norm(dim=1) * t.norm(dim=1))
        rows = rows - cosine * w * (1.0 if weights is None else weights[e].double())
    return {"none": rows, "sum": rows.sum(), "mean": rows.mean()}[reduction]


def make_views(graph, batch, width, dtype=torch.float32, seed=0):
    """Predictions that resemble their targets, as in training: losses are then far from zero and errors relative."""
    g = torch.Generator().manual_seed(seed)
    common = torch.randn(batch, width, generator=g, dtype=torch.float64)
    views = [
        common + 0.5 * torch.randn(batch, width, generator=g, dtype=torch.float64)
        for _ in range(graph.predictions + graph.targets)
    ]
    views = [view.to(dtype) for view in views]
    return [p.requires_grad_() for p in views[: graph.predictions]], views[graph.predictions :]


def with_gradients(f, predictions):
    """The loss and its gradients for a random upstream gradient."""
    loss = f()
    upstream = torch.randn(loss.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return loss.detach(), torch.autograd.grad(loss, predictions, upstream.to(loss.dtype), allow_unused=True)


@pytest.mark.parametrize(
    "implementation", [pytest.param(directional_loss, marks=needs_native), directional_loss_reference]
)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_and_gradients(dtype, graph, reduction, implementation):
    for batch, width in SHAPES:
        predictions, targets = make_views(graph, batch, width, dtype)
        arguments = (predictions, targets, graph, None, reduction)
        got, gradients = with_gradients(partial(implementation, *arguments), predictions)
        want, true_gradients = with_gradients(partial(truth, *arguments), predictions)
        value_bound, gradient_bound = TOLERANCE[dtype]
        assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert relative_error(got, want) <= value_bound, (batch, width)
        for i, (gradient, true) in enumerate(zip(gradients, true_gradients)):
            if true is None:  # a view without an edge
                assert gradient is None or not gradient.any()
                continue
            if width == 1:  # the cosine of numbers is their sign: its gradient is a difference of equal numbers
                assert gradient.abs().max() < 1e-2 and not gradient.isnan().any()
                continue
            # The truth's gradient is first rounded to the input's dtype by autograd: half an ulp more.
            assert gradient.dtype == dtype
            # Below 6e-5 float16 is subnormal: a rounding costs up to 2^-25, the first one times the upstream's 3.
            slack = 4 * 2**-25 * true.numel() ** 0.5 if dtype == torch.float16 else 0
            difference = (gradient.double() - true.double()).norm()
            assert difference <= 1.5 * gradient_bound * true.double().norm() + slack, (i, batch, width)


@needs_native
@pytest.mark.parametrize("per_sample", [False, True])
def test_weights_multiply_edge_by_edge_and_sample_by_sample(per_sample):
    graph = GRAPHS["eq6"]
    predictions, targets = make_views(graph, 17, 40)
    weights = torch.rand((len(graph.edges), 17) if per_sample else (len(graph.edges),))
    spread = weights if per_sample else weights[:, None].expand(-1, 17)
    for implementation in (directional_loss, directional_loss_reference):
        got, gradients = with_gradients(lambda f=implementation: f(predictions, targets, graph, weights), predictions)
        want, true = with_gradients(lambda: truth(predictions, targets, graph, spread), predictions)
        assert relative_error(got, want) <= 1e-6
        assert all(relative_error(a, b) <= 1.5e-6 for a, b in zip(gradients, true))


@needs_native
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_layouts_give_the_same_bits(dtype):
    graph = ViewGraph.dssl()
    predictions, targets = make_views(graph, 19, 65, dtype)
    plain = with_gradients(lambda: directional_loss(predictions, targets), predictions)
    stacked = with_gradients(lambda: directional_loss(torch.stack(predictions), torch.stack(targets)), predictions)
    strided = with_gradients(
        lambda: directional_loss([torch.cat([p, p], 1)[:, :65] for p in predictions], targets), predictions
    )
    transposed = with_gradients(
        lambda: directional_loss([p.t().contiguous().t() for p in predictions], targets), predictions
    )
    for other in (stacked, strided, transposed):
        assert torch.equal(plain[0], other[0]) and all(map(torch.equal, plain[1], other[1]))


@needs_native
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_thread_count_changes_no_bit(dtype, threads):
    graph = GRAPHS["all6"]
    predictions, targets = make_views(graph, 301, 515, dtype)
    results = threads(lambda: with_gradients(lambda: directional_loss(predictions, targets, graph), predictions))
    for loss, gradients in results[1:]:
        assert torch.equal(loss, results[0][0]) and all(map(torch.equal, gradients, results[0][1]))


@pytest.mark.parametrize(
    "implementation", [pytest.param(directional_loss, marks=needs_native), directional_loss_reference]
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zero_rows_have_loss_and_gradient_zero(dtype, implementation):
    predictions, targets = make_views(ViewGraph.dssl(), 9, 20, dtype)
    with torch.no_grad():
        for p in predictions:
            p[3] = 0
        for t in targets:
            t[5] = 0
    loss, gradients = with_gradients(lambda: implementation(predictions, targets, reduction="none"), predictions)
    assert loss[3] == 0 and loss[5] == 0 and not loss.isnan().any()
    for gradient in gradients:
        assert not gradient[3].any() and not gradient[5].any() and gradient.isfinite().all()


@pytest.mark.parametrize(
    "implementation", [pytest.param(directional_loss, marks=needs_native), directional_loss_reference]
)
@pytest.mark.parametrize(
    "dtype, size",
    [(torch.float32, size) for size in (1e-36, 1e-30, 1e-18, 1e18, 1e30, 1e36)]
    + [(torch.float64, size) for size in (1e-290, 1e-200, 1e-160, 1e155, 1e200, 1e290)],
    ids=str,
)
def test_cosine_ignores_the_size_of_its_arguments(dtype, size, implementation):
    predictions, targets = make_views(ViewGraph.dssl(), 8, 50, dtype)
    scaled = [(p.detach() * size).requires_grad_() for p in predictions]
    loss, gradients = with_gradients(lambda: implementation(scaled, [t / size for t in targets]), scaled)
    want, true = with_gradients(lambda: truth(predictions, targets, ViewGraph.dssl()), predictions)
    assert relative_error(loss, want) <= 1e-6
    # The gradient is that of the plain arguments over the size, as far as the dtype can hold it.
    if torch.finfo(dtype).tiny * 1e6 < 1 / size < torch.finfo(dtype).max / 1e3:
        assert all(relative_error(a.double() * size, b) <= 2e-6 for a, b in zip(gradients, true))


@needs_native
@pytest.mark.parametrize("noise", [1e-1, 1e-2, 1e-3])
def test_gradients_of_aligned_views_keep_their_precision(noise):
    """Near cosine 1 the gradient is the small difference of two large terms: float32 sums would lose it."""
    common = torch.randn(16, 300, dtype=torch.float64)
    views = [(common + noise * torch.randn(16, 300, dtype=torch.float64)).float() for _ in range(6)]
    predictions, targets = [v.requires_grad_() for v in views[:4]], views[4:]
    _, got = with_gradients(lambda: directional_loss(predictions, targets), predictions)
    doubles = [p.detach().double().requires_grad_() for p in predictions]
    _, true = with_gradients(lambda: truth(doubles, targets, ViewGraph.dssl()), doubles)
    assert all(relative_error(a, b) <= 1e-6 for a, b in zip(got, true))


@needs_native
def test_targets_get_no_gradient_and_no_buffer():
    predictions, targets = make_views(ViewGraph.dssl(), 5, 8)
    targets = [t.requires_grad_() for t in targets]
    directional_loss(predictions, targets).backward()
    assert all(t.grad is None for t in targets) and all(p.grad is not None for p in predictions)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        directional_loss(predictions, targets)
    inputs = {view.data_ptr() for view in (*predictions, *targets)}
    own = [t for t in saved if t.data_ptr() not in inputs]
    assert sum(t.numel() for t in own) <= 5 * (4 + 2 + 4 + 4)  # coefficients: a handful a row
    with torch.no_grad():
        assert not directional_loss(predictions, targets).requires_grad


MAKE = {"leaf": lambda p: p, "product": lambda p: p * 1, "view": lambda p: p.view(p.shape), "sum": lambda p: p + 0.0}


@needs_native
@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_each_backward_through_a_kept_graph_adds_the_same_gradient(make):
    leaves, targets = make_views(ViewGraph.dssl(), 5, 8)
    loss = directional_loss([make(p) for p in leaves], targets)
    loss.backward(retain_graph=True)
    once = [p.grad.clone() for p in leaves]
    loss.backward(retain_graph=True)
    loss.backward()
    assert all(torch.equal(p.grad, 3 * g) for p, g in zip(leaves, once))


@needs_native
def test_an_input_changed_between_forward_and_backward_is_an_error():
    """Backward reads the inputs again: autograd must notice, not differentiate what came later."""
    for change in (0, 4):
        leaves, targets = make_views(ViewGraph.dssl(), 5, 8)
        views = [*(p * 1 for p in leaves), *targets]
        loss = directional_loss(views[:4], views[4:])
        views[change].detach().zero_()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@needs_native
def test_a_small_float16_gradient_survives_until_the_loss_scale_reaches_it():
    """Entries of 3e-8, half of float16's smallest number, before the upstream gradient of 2^16."""
    predictions, targets = make_views(ViewGraph.dssl(), 512, 2048, torch.float16)
    predictions = [(100 * p.detach()).requires_grad_() for p in predictions]
    scaled = torch.autograd.grad(directional_loss(predictions, targets) * 2.0**16, predictions)
    true = torch.autograd.grad(truth(predictions, targets, ViewGraph.dssl()) * 2.0**16, predictions)
    assert all(relative_error(a, b) <= 1e-3 for a, b in zip(scaled, true))


@needs_native
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradcheck(reduction):
    graph = GRAPHS["eq6"]
    predictions, targets = make_views(graph, 4, 5, torch.float64)
    weights = torch.rand(len(graph.edges), 4, dtype=torch.float64)
    f = lambda *p: directional_loss(list(p), targets, graph, weights, reduction)  # noqa: E731
    assert torch.autograd.gradcheck(f, predictions)


@needs_native
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own reading
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reduction", [0, 1, 2])
def test_opcheck(reduction, dtype):
    predictions, targets = make_views(ViewGraph.dssl(), 6, 10, dtype)
    edges, edge_weights = [0, 1, 1, 0, 2, 0, 3, 1], [0.5] * 4
    for weights in (None, torch.rand(4, 6, dtype=torch.float64)):
        opcheck(
            torch.ops.dssl_ops.directional_loss.default,
            (predictions, targets, edges, edge_weights, weights, reduction),
        )
    predictions = [p.detach() for p in predictions]
    _, coefficients = torch.ops.dssl_ops.directional_loss(predictions, targets, edges, edge_weights, None, reduction)
    upstream = torch.ones(6 if reduction == 0 else (), dtype=torch.float64)
    arguments = (predictions, targets, coefficients, upstream, edges, reduction)
    opcheck(torch.ops.dssl_ops.directional_loss_backward.default, arguments)


@needs_native
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_without_a_graph_break(backend):
    predictions, targets = make_views(ViewGraph.dssl(), 6, 10)
    step = lambda: directional_loss([p * 2 for p in predictions], targets) * 3  # noqa: E731
    compiled = torch.compile(step, fullgraph=True, backend=backend)
    eager, got = with_gradients(step, predictions), with_gradients(compiled, predictions)
    assert torch.equal(eager[0], got[0]) and all(map(torch.equal, eager[1], got[1]))


@needs_native
def test_autocast_takes_mixed_dtypes_and_keeps_the_loss_in_float32():
    predictions, targets = make_views(ViewGraph.dssl(), 6, 10)
    mixed = [predictions[0], *(p.bfloat16() for p in predictions[1:])]
    with pytest.raises(ValueError, match="must share shape, dtype and device"):
        directional_loss(mixed, targets)
    with torch.autocast("cpu", torch.bfloat16):
        loss = directional_loss(mixed, targets)
    assert loss.dtype == torch.float32
    assert relative_error(loss.detach(), truth([m.detach() for m in mixed], targets, ViewGraph.dssl())) <= 1e-6


@needs_native
@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_double_backward_is_a_clear_error(make):
    leaves, targets = make_views(ViewGraph.dssl(), 6, 10)
    loss = directional_loss([make(p) for p in leaves], targets)
    gradients = torch.autograd.grad(loss, leaves, create_graph=True)
    with pytest.raises(NotImplementedError, match="directional_loss: double backward is not supported"):
        gradients[0].square().sum().backward()


@needs_native
@pytest.mark.parametrize("shape", [(0, 8), (5, 0), (0, 0)])
def test_empty_batch(shape):
    predictions = [torch.zeros(shape, requires_grad=True) for _ in range(4)]
    targets = [torch.zeros(shape) for _ in range(2)]
    assert directional_loss(predictions, targets, reduction="none").shape == shape[:1]
    loss = directional_loss(predictions, targets)
    loss.backward()
    assert loss == 0 and all(p.grad.shape == shape for p in predictions)
