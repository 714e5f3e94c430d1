"""barlow_twins against its formula in float64, written here independently of the package."""

import pytest
import torch
from checks import needs_native, relative_error
from torch.library import opcheck

from dssl_ops import barlow_twins, barlow_twins_reference

# Values and gradients. Half types: gradients are rounded once to their own type, relative to the largest of a row.
BOUND = {
    torch.float64: (1e-13, 1e-12), torch.float32: (1e-6, 2e-6),
    torch.bfloat16: (1e-6, 2**-9 * 1.2), torch.float16: (1e-6, 2**-12 * 1.2),
}  # fmt: skip
DTYPES = list(BOUND)
SHAPES = [
    (2, 3),
    (2, 4),
    (7, 13),
    (7, 14),
    (33, 5),
    (64, 128),
    (61, 257),
    (130, 65),
    (100, 800),
]  # both sides of D = 2 N
pytestmark = pytest.mark.usefixtures("poisoned_memory")


def truth(a, b, lambd=0.0051, scale=1.0, eps=1e-5):
    a, b = ((z.double() - z.double().mean(0)) / (z.double().var(0, correction=0) + eps).sqrt() for z in (a, b))
    c = a.t() @ b / len(a)
    eye = torch.eye(len(c), dtype=torch.float64)
    return scale * ((c - eye).square() * (lambd + (1 - lambd) * eye)).sum()


def make_views(n, d, dtype=torch.float32):
    g = torch.Generator().manual_seed(n + d)
    common, mean = torch.randn(n, d, generator=g, dtype=torch.float64), torch.randn(d, generator=g, dtype=torch.float64)
    noise = (torch.randn(n, d, generator=g, dtype=torch.float64) for _ in range(2))
    return [(common + 0.5 * x + mean).to(dtype).requires_grad_() for x in noise]


def with_gradients(f, inputs, weight=0.7):
    loss = f(*inputs)
    return loss.detach(), torch.autograd.grad(loss, inputs, torch.full_like(loss, weight))


@pytest.mark.parametrize("implementation", [pytest.param(barlow_twins, marks=needs_native), barlow_twins_reference])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_and_gradients(dtype, implementation):
    for n, d in SHAPES:
        for lambd, scale in ((0.0051, 1.0), (1.0, 0.1)):
            views = make_views(n, d, dtype)
            exact = [view.detach().double().requires_grad_() for view in views]
            got, gradients = with_gradients(lambda a, b: implementation(a, b, lambd, scale), views)  # noqa: B023
            want, true = with_gradients(lambda a, b: truth(a, b, lambd, scale), exact)  # noqa: B023
            value_bound, gradient_bound = BOUND[dtype]
            assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
            assert relative_error(got, want) <= value_bound, (n, d)
            if n == 2:  # standardised, two rows are +-1 whatever they were: the gradient is what eps leaves of it
                assert all(torch.allclose(x.double(), t, atol=1e-3) for x, t in zip(gradients, true))
                continue
            slack = 2**-25 * (n * d) ** 0.5 if dtype == torch.float16 else 0
            for gradient, exactly in zip(gradients, true):
                assert gradient.dtype == dtype
                assert (gradient.double() - exactly).norm() <= gradient_bound * exactly.norm() + slack, (n, d)


@needs_native
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_thread_count_changes_no_bit(dtype, threads):
    for n, d in ((70, 300), (90, 100)):
        views = make_views(n, d, dtype)
        results = threads(lambda: with_gradients(barlow_twins, views))  # noqa: B023
        for loss, gradients in results[1:]:
            assert torch.equal(loss, results[0][0]) and all(map(torch.equal, gradients, results[0][1]))


@needs_native
@pytest.mark.parametrize("d", [5, 40])
def test_layouts_give_the_same_bits(d):
    views = make_views(9, d)
    plain = with_gradients(barlow_twins, views)
    for change in (lambda x: torch.cat([x, x], 1)[:, :d], lambda x: x.t().contiguous().t()):
        other = with_gradients(lambda a, b: barlow_twins(change(a), change(b)), views)  # noqa: B023
        assert torch.equal(plain[0], other[0]) and all(map(torch.equal, plain[1], other[1]))


@pytest.mark.parametrize("implementation", [pytest.param(barlow_twins, marks=needs_native), barlow_twins_reference])
@pytest.mark.parametrize("d", [3, 40])
def test_constant_features_and_tiny_inputs_are_uncorrelated_and_finite(d, implementation):
    a, b = make_views(9, d)
    for x, loss in ((torch.ones(9, d), d), (a.detach() * 1e-30, d), (torch.zeros(1, d), d)):
        x = x.requires_grad_()
        got, gradients = with_gradients(implementation, [x, (b.detach()[: len(x)] * 1).requires_grad_()])
        assert abs(got - loss) <= 1e-5 * loss and all(g.isfinite().all() for g in gradients)


@needs_native
@pytest.mark.parametrize("d", [3, 40])
def test_huge_inputs_correlate_as_their_directions(d):
    a, b = make_views(9, d)
    got, gradients = with_gradients(lambda a, b: barlow_twins(a * 1e30, b * 1e30), [a, b])
    assert relative_error(got, truth(a.double(), b.double(), eps=1e-65).detach()) <= 1e-5
    assert all(g.isfinite().all() for g in gradients)


@needs_native
@pytest.mark.parametrize("n, d", [(6, 4), (4, 9)])
def test_gradcheck(n, d):
    views = make_views(n, d, torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: barlow_twins(a, b, 0.3, 0.5), views)


@needs_native
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own reading
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("d", [5, 40])
def test_opcheck(d, dtype):
    a, b = make_views(6, d, dtype)
    opcheck(torch.ops.dssl_ops.barlow_twins.default, (a, b, 0.1, 1.0, 1e-5))
    _, matrices, features = torch.ops.dssl_ops.barlow_twins(a.detach(), b.detach(), 0.1, 1.0, 1e-5)
    arguments = (a.detach(), b.detach(), matrices, features, torch.tensor(2.0, dtype=torch.float64), 0.1, 1.0)
    opcheck(torch.ops.dssl_ops.barlow_twins_backward.default, arguments)


@needs_native
def test_compiles_without_a_graph_break():
    views = make_views(6, 40)
    step = lambda a, b: barlow_twins(a * 2, b) * 3  # noqa: E731
    eager, got = (with_gradients(f, views) for f in (step, torch.compile(step, fullgraph=True, backend="aot_eager")))
    assert torch.equal(eager[0], got[0]) and all(map(torch.equal, eager[1], got[1]))


@needs_native
def test_autocast_and_double_backward():
    a, b = make_views(6, 10)
    with torch.autocast("cpu", torch.bfloat16):
        assert relative_error(barlow_twins(a, b.bfloat16()).detach(), truth(a, b.bfloat16()).detach()) <= 1e-6
    (gradient,) = torch.autograd.grad(barlow_twins(a, b), a, create_graph=True)
    with pytest.raises(NotImplementedError, match="barlow_twins: double backward is not supported"):
        gradient.sum().backward()


def ones(*shape, dtype=torch.float32):
    return torch.ones(shape, dtype=dtype)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((ones(7, 3), ones(6, 3)), ValueError, r"must share shape.*\(7, 3\).*\(6, 3\)"),
        ((ones(7, 3), ones(7, 3, dtype=torch.float64)), ValueError, "must share.*float32.*float64"),
        ((ones(0, 3), ones(0, 3)), ValueError, r"not empty; got \(0, 3\)"),
        ((ones(7), ones(7)), ValueError, r"\(N, D\).*got \(7,\)"),
        ((1.0, ones(7, 3)), TypeError, "inputs must be dense tensors; got float"),
        ((ones(7, 3), ones(7, 3).to_sparse()), TypeError, "dense tensors; got torch.sparse_coo"),
        ((ones(7, 3), ones(7, 3), float("nan")), ValueError, "must be finite.*nan"),
    ],
)
def test_bad_input_gives_one_clear_error(arguments, error, message):
    with pytest.raises(error, match="barlow_twins: .*" + message):
        barlow_twins(*arguments)


@needs_native
def test_the_raw_ops_refuse_what_would_corrupt_memory():
    forward, backward = torch.ops.dssl_ops.barlow_twins, torch.ops.dssl_ops.barlow_twins_backward
    a, weight = ones(6, 40), torch.tensor(1.0, dtype=torch.float64)
    _, matrices, features = forward(a, a, 0.1, 1.0, 1e-5)
    for call in (
        lambda: forward(a, ones(5, 40), 0.1, 1.0, 1e-5),
        lambda: forward(ones(40, 6).t(), a, 0.1, 1.0, 1e-5),
        lambda: forward(ones(0, 6), ones(0, 6), 0.1, 1.0, 1e-5),
        lambda: backward(a, a, matrices[1:], features, weight, 0.1, 1.0),
        lambda: backward(a, a, matrices, features[1:], weight, 0.1, 1.0),
        lambda: backward(a, ones(6, 41), matrices, features, weight, 0.1, 1.0),
        lambda: backward(a, a, matrices, features, weight.float(), 0.1, 1.0),
    ):
        with pytest.raises(RuntimeError, match=r"^barlow_twins"):  # and no path of this machine
            call()
