"""nt_xent and info_nce against dense softmax cross entropy in float64, written here independently of the package."""

from functools import partial

import pytest
import torch
from checks import TOLERANCE, needs_native, relative_error

from dssl_ops import info_nce, nt_xent, nt_xent_reference

DTYPES = list(TOLERANCE)
# float32: 2e-6 whatever the temperature. Half types: cosines and sums are float32's; gradients are rounded once, and
# with bfloat16 so are the slopes of the negatives, before they are added up.
BOUND = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 2**-9 * 1.2, torch.float16: 2**-12 * 1.2}
# What is below the smallest number of a type is rounded to a multiple of it.
STEP = {torch.float64: 0.0, torch.float32: 2**-149, torch.bfloat16: 2**-133, torch.float16: 2**-24}
pytestmark = pytest.mark.usefixtures("poisoned_memory")


def cross_entropy(logits, positive, decoupled=False):
    """Per row, from the positive and the negatives apart: -log softmax loses all digits where the loss is tiny."""
    column = torch.arange(logits.shape[1])
    negatives = logits.masked_fill(column == positive[:, None], -torch.inf).logsumexp(1)
    gap = negatives - logits.gather(1, positive[:, None])[:, 0]
    return gap if decoupled else torch.logaddexp(gap, torch.zeros(()))


def unit(x):
    return x.double() / x.double().norm(dim=1, keepdim=True)


def nt_xent_truth(a, b, temperature=0.5, decoupled=False):
    z, n = unit(torch.cat([a, b])), len(a)
    logits = (z @ z.t() / temperature).masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
    return cross_entropy(logits, torch.arange(2 * n).roll(n), decoupled)


def info_nce_truth(q, k, queue=None, temperature=0.2, decoupled=False, in_batch=True):
    q, k = unit(q), unit(k)
    if in_batch:
        logits, positive = q @ k.t(), torch.arange(len(q))
    else:
        logits, positive = (q * k[: len(q)]).sum(1, keepdim=True), torch.zeros(len(q), dtype=torch.int64)
    if queue is not None:
        logits = torch.cat([logits, q @ unit(queue).t()], 1)
    return cross_entropy(logits / temperature, positive, decoupled)


def reduced(losses, reduction):
    return {"none": losses, "sum": losses.sum(), "mean": losses.mean()}[reduction]


def make_views(n, d, dtype=torch.float32, noise=1.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    common = torch.randn(n, d, generator=g, dtype=torch.float64)
    views = [(common + noise * torch.randn(n, d, generator=g, dtype=torch.float64)).to(dtype) for _ in range(2)]
    return [view.requires_grad_() for view in views]


def with_gradients(f, inputs):
    loss = f()
    upstream = torch.randn(loss.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).to(loss.dtype)
    return loss.detach(), torch.autograd.grad(loss, inputs, upstream)


def check(f, truth, views, dtype, value_bound=2e-6):
    """f and truth take the views; the truth differentiates float64 copies, so that nothing rounds its gradients."""
    exact = [view.detach().double().requires_grad_() for view in views]
    got, gradients = with_gradients(lambda: f(*views), views)
    want, true = with_gradients(lambda: truth(*exact), exact)
    bound = 1e-12 if dtype == torch.float64 else value_bound
    assert (got.double() - want).norm() <= bound * want.norm() + STEP[got.dtype] * want.numel() ** 0.5
    for gradient, exactly in zip(gradients, true):
        assert gradient.dtype == dtype
        slack = STEP[dtype] * exactly.numel() ** 0.5
        assert (gradient.double() - exactly).norm() <= BOUND[dtype] * exactly.norm() + slack


def dense(a, b, temperature, reduction, decoupled):
    """nt_xent through its reference."""
    temperature = torch.tensor(temperature, dtype=torch.float64)
    return reduced(nt_xent_reference([a, b], [], None, None, None, False, temperature, decoupled)[0], reduction)


@needs_native
@pytest.mark.parametrize("temperature", [0.01, 0.03, 0.049, 0.051, 0.07, 0.2, 1.0])
@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("n, d", [(1, 5), (2, 2), (3, 2), (5, 2), (17, 33), (31, 3), (37, 2), (64, 128), (131, 17)])
def test_float32_is_good_to_2e_6_at_every_temperature(n, d, noise, temperature):
    if n == 1:  # the only choice: the loss is 0
        assert nt_xent(*make_views(n, d), temperature) == 0
        return
    views = make_views(n, d, noise=noise)
    scale = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    truth = lambda a, b: nt_xent_truth(a, b, scale).mean()  # noqa: E731
    check(lambda a, b: nt_xent(a, b, scale), truth, views, torch.float32)
    (ours,), (exactly,) = (torch.autograd.grad(f(*views, scale).mean(), [scale]) for f in (nt_xent, nt_xent_truth))
    assert relative_error(ours, exactly) <= 2e-6


@needs_native
@pytest.mark.parametrize("temperature", [0.05, 0.07, 0.1, 0.2])
@pytest.mark.parametrize("n, d", [(33, 128), (257, 128), (130, 512)])
def test_float32_is_good_to_2e_6_where_cosines_are_near_1(n, d, temperature):
    """Half the rows are copies of the others: a copy weighs as much as a positive, and its cosine sums up to 1."""
    a = make_views(n, d)[0].detach()
    a[n // 2 :] = a[: n - n // 2].clone()
    views = [view.requires_grad_() for view in (a, a + 0.3 * make_views(n, d, seed=1)[0].detach())]
    truth = lambda a, b: nt_xent_truth(a, b, temperature).mean()  # noqa: E731
    check(lambda a, b: nt_xent(a, b, temperature), truth, views, torch.float32)


@needs_native
@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("n, d", [(293, 2048), (1031, 100), (1500, 1)])
def test_float32_is_good_to_2e_6_at_larger_sizes(n, d, temperature):
    views = make_views(n, d, noise=2.0)
    if d > 1:
        truth = lambda a, b: nt_xent_truth(a, b, temperature).mean()  # noqa: E731
        return check(lambda a, b: nt_xent(a, b, temperature), truth, views, torch.float32)
    # A cosine of numbers is a sign, and every gradient a difference of equal numbers: 0.
    got, gradients = with_gradients(lambda: nt_xent(*views, temperature), views)
    assert relative_error(got, nt_xent_truth(*views, temperature).mean().detach()) <= 2e-6
    for gradient, view in zip(gradients, views):
        assert gradient.norm() <= 2e-6 * view.detach().reciprocal().norm()


@needs_native
def test_the_largest_size_of_the_bound():
    views = make_views(2999, 64, noise=2.0)
    check(lambda a, b: nt_xent(a, b, 0.05), lambda a, b: nt_xent_truth(a, b, 0.05).mean(), views, torch.float32)


@pytest.mark.parametrize("implementation", [pytest.param(nt_xent, marks=needs_native), dense])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes_reductions_and_upstream_weights(dtype, reduction, decoupled, implementation):
    ours = lambda a, b: implementation(a, b, temperature=0.1, reduction=reduction, decoupled=decoupled)  # noqa: E731
    truth = lambda a, b: reduced(nt_xent_truth(a, b, 0.1, decoupled), reduction)  # noqa: E731
    for n, d in ((2, 8), (7, 33), (65, 40), (150, 128)):
        check(ours, truth, make_views(n, d, dtype), dtype)


@needs_native
@pytest.mark.parametrize("temperature", [0.06, 0.2, 1.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_types_are_no_worse_than_dense_in_the_same_type(dtype, temperature):
    a, b = make_views(200, 64, dtype)

    def usual():
        z = torch.nn.functional.normalize(torch.cat([a, b]), dim=1)
        logits = (z @ z.t() / temperature).masked_fill(torch.eye(400, dtype=torch.bool), -torch.inf)
        return torch.nn.functional.cross_entropy(logits.float(), torch.arange(400).roll(200))

    want, true = with_gradients(lambda: nt_xent_truth(a, b, temperature).mean(), [a, b])
    got, ours = with_gradients(lambda: nt_xent(a, b, temperature), [a, b])
    other, theirs = with_gradients(usual, [a, b])
    assert relative_error(got, want) <= relative_error(other, want)
    for mine, dense_, exactly in zip(ours, theirs, true):
        assert relative_error(mine, exactly) <= relative_error(dense_, exactly)


@needs_native
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("temperature", [0.01, 0.2])
@pytest.mark.parametrize("n, extra, size", [(5, 0, None), (33, 7, None), (33, 0, 300), (150, 10, 1000), (1, 0, 2500)])
def test_info_nce_with_keys_and_queue(n, extra, size, temperature, dtype):
    q, k = make_views(n + extra, 24, dtype, noise=2.0)
    q = q.detach()[:n].requires_grad_()
    queue = None if size is None else make_views(size, 24, dtype, seed=1)[0].detach()
    for in_batch, decoupled in {(True, False), (size is None, False), (size is None, size is not None)}:
        f = partial(info_nce, queue=queue, temperature=temperature, in_batch=in_batch, decoupled=decoupled)
        truth = partial(info_nce_truth, queue=queue, temperature=temperature, in_batch=in_batch, decoupled=decoupled)
        check(f, lambda q, k, truth=truth: truth(q, k).mean(), [q, k], dtype)


@needs_native
@pytest.mark.parametrize("temperature", [0.02, 0.2])
def test_the_queue_gets_no_gradient_and_by_default_is_all_negatives(temperature):
    q, k = make_views(9, 12)
    queue = make_views(31, 12, seed=2)[0]
    info_nce(q, k.detach(), queue, temperature).backward()
    assert queue.grad is None and k.grad is None and q.grad.any()
    assert torch.equal(info_nce(q, k, queue), info_nce(q, k, queue, in_batch=False))


@pytest.mark.parametrize("native_", [pytest.param(True, marks=needs_native), False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("temperature", [0.02, 0.1, 0.7, 30.0])
def test_temperature_gets_its_gradient(temperature, dtype, native_):
    a, b = make_views(50, 30, dtype, noise=2.0)
    exact, ours = (torch.tensor(temperature, dtype=t, requires_grad=True) for t in (torch.float64, dtype))
    if native_:
        (of_ours,) = torch.autograd.grad(nt_xent(a, b, ours) + info_nce(a, b, temperature=ours), ours)
    else:
        reference = lambda *arguments: nt_xent_reference(*arguments, False, ours.double(), False)[0].mean()  # noqa: E731
        none = torch.full((50,), -1)
        of_both = reference([a, b], [], None, None, None) + reference([a], [b], None, torch.arange(50), none)
        (of_ours,) = torch.autograd.grad(of_both, ours)
    value = ours.detach().double()  # 0.02 in float32 is another number
    exact = value.clone().requires_grad_()
    want = nt_xent_truth(a, b, exact).mean() + info_nce_truth(a, b, None, exact).mean()
    (of_exact,) = torch.autograd.grad(want, exact)
    assert of_ours.dtype == dtype
    assert relative_error(of_ours, of_exact) <= (1e-11 if dtype == torch.float64 else 2e-6 if native_ else 1e-5)


@needs_native
@pytest.mark.parametrize("temperature", [0.02, 0.2])
def test_statistics_come_with_the_loss(temperature):
    a, b = make_views(70, 8, noise=2.0)
    z = unit(torch.cat([a, b])).detach()
    logits = (z @ z.t() / temperature).fill_diagonal_(-torch.inf)
    loss, log_sum_exp, accuracy = nt_xent(a, b, temperature, return_stats=True)
    assert torch.equal(loss, nt_xent(a, b, temperature))
    assert relative_error(log_sum_exp, logits.logsumexp(1)) <= 2e-6 and not log_sum_exp.requires_grad
    assert accuracy == (logits.argmax(1) == torch.arange(140).roll(70)).float().mean()
    assert 0 < accuracy < 1
    logits = unit(a.detach()) @ unit(b.detach()).t() / temperature
    result = info_nce(a, b, temperature=temperature, return_stats=True)
    assert result.accuracy == (logits.argmax(1) == torch.arange(70)).float().mean()
    assert relative_error(result.log_sum_exp, logits.logsumexp(1)) <= 2e-6
