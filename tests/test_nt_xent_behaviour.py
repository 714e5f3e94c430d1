"""nt_xent and info_nce as citizens: determinism, awkward inputs, memory, torch.compile, autocast, errors."""

import subprocess
import sys

import pytest
import torch
from checks import TOLERANCE, needs_native
from test_nt_xent import make_views, nt_xent_truth, with_gradients
from torch.library import opcheck

from dssl_ops import KeyQueue, info_nce, nt_xent

DTYPES = list(TOLERANCE)
pytestmark = [pytest.mark.usefixtures("poisoned_memory"), needs_native]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n, temperature", [(30, 0.2), (301, 0.01), (701, 0.2)])
def test_thread_count_changes_no_bit(n, temperature, dtype, threads):
    a, b = make_views(n, 40, dtype)
    queue = make_views(2 * n, 40, dtype, seed=3)[0].detach()
    for f in (lambda: nt_xent(a, b, temperature), lambda: info_nce(a, b, queue, temperature, in_batch=True)):
        results = threads(lambda f=f: with_gradients(f, [a, b]))
        for loss, gradients in results[1:]:
            assert torch.equal(loss, results[0][0]) and all(map(torch.equal, gradients, results[0][1]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_layouts_give_the_same_bits(dtype):
    a, b = make_views(19, 65, dtype)
    plain = with_gradients(lambda: nt_xent(a, b), [a, b])
    sliced, transposed = lambda x: torch.cat([x, x], 1)[:, :65], lambda x: x.t().contiguous().t()
    for change in (sliced, transposed, lambda x: torch.stack([x, x], 1)[:, 0]):
        other = with_gradients(lambda change=change: nt_xent(change(a), change(b)), [a, b])
        assert torch.equal(plain[0], other[0]) and all(map(torch.equal, plain[1], other[1]))


@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.05, 0.5, 1000.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nothing_is_nan_or_infinite(dtype, temperature):
    tiny, huge = (6e-8, 6e4) if dtype == torch.float16 else (1e-30, 1e30)
    normal = make_views(40, 16, dtype)[0].detach()
    zeros, same = torch.zeros(40, 16, dtype=dtype), normal[:1].expand(40, 16)
    mixed = normal.clone()
    mixed[::3] = 0
    mixed[1::3] *= 0.01
    large = normal.sign() * huge
    for x in (zeros, same, large, normal * tiny, mixed, -same):
        for y in (normal, x.clone()):
            a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
            for f in (nt_xent, info_nce):
                loss = f(a, b, temperature=temperature)
                of_a, of_b = torch.autograd.grad(loss, [a, b])
                assert (loss.isfinite() and of_b.isfinite().all()) or tiny == 6e-8
                assert of_a.isfinite().all() or tiny == 6e-8  # 1 / 6e-8 is beyond float16
                assert not of_a.isnan().any() and not of_a[(a == 0).all(1)].any()


def test_tiny_and_huge_rows_have_the_loss_of_their_directions():
    a, b = make_views(33, 20)
    for size in (1e-30, 1e30):
        assert (nt_xent(a * size, b / size) - nt_xent(a, b)).abs() <= 1e-6


def test_equal_rows_have_the_entropy_of_the_uniform_distribution():
    a = torch.ones(50, 7)
    for temperature in (0.001, 0.01, 0.5):
        torch.testing.assert_close(nt_xent(a, a, temperature), torch.tensor(99.0).log())


@pytest.mark.parametrize("n, d", [(0, 8), (1, 8), (5, 0), (0, 0)])
def test_empty_and_single_batches(n, d):
    a, b = (torch.randn(n, d, requires_grad=True) for _ in range(2))
    loss = nt_xent(a, b)
    loss.backward()
    assert loss.isfinite() and a.grad.shape == (n, d) and not a.grad.any()
    assert nt_xent(a, b, reduction="none").shape == (2 * n,)
    assert info_nce(a, b, torch.randn(3, d)).isfinite()


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradcheck(reduction, decoupled):
    a, b = make_views(5, 4, torch.float64)
    queue = make_views(6, 4, torch.float64, seed=1)[0].detach()
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    keywords = {"reduction": reduction, "decoupled": decoupled}
    assert torch.autograd.gradcheck(lambda a, b, t: nt_xent(a, b, t, **keywords), (a, b, temperature))
    for in_batch in (False, True):
        f = lambda a, b, t: info_nce(a, b, queue, t, in_batch=in_batch, **keywords)  # noqa: E731, B023
        assert torch.autograd.gradcheck(f, (a, b, temperature))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own reading
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reduction", [0, 1, 2])
def test_opcheck(reduction, dtype):
    a, b = make_views(6, 10, dtype)
    queue = make_views(7, 10, dtype, seed=1)[0].detach()
    t = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    positive, none = torch.arange(6), torch.full((6,), -1)
    for arguments in (([a, b], [], None, None, None, False), ([a], [b], queue, positive, none, True)):
        opcheck(torch.ops.dssl_ops.nt_xent.default, (*arguments, t, False, reduction, True, False))
    kept = torch.zeros(6, dtype=torch.float64)
    weight = torch.tensor(2.0, dtype=torch.float64)
    sides = ([a.detach()], [b.detach()], queue, positive, none, True)
    arguments = (*sides, t.detach(), False, kept, kept, weight, reduction, True, False)
    opcheck(torch.ops.dssl_ops.nt_xent_backward.default, arguments)


def test_compiles_without_a_graph_break():
    a, b = make_views(6, 10)
    queue = make_views(7, 10, seed=1)[0].detach()
    temperature = torch.tensor(0.2, requires_grad=True)
    step = lambda: nt_xent(a * 2, b, temperature) * 3 + info_nce(a, b * 2, queue, return_stats=True).loss  # noqa: E731
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    eager, got = (with_gradients(f, [a, b, temperature]) for f in (step, compiled))
    assert torch.equal(eager[0], got[0]) and all(map(torch.equal, eager[1], got[1]))


def test_inductor_takes_both_losses_and_the_queue():
    a, b = make_views(6, 10)
    queue = KeyQueue(7, 10, generator=torch.Generator().manual_seed(0))

    def step():
        losses = nt_xent(a * 2, b), info_nce(a, b, queue.keys, return_stats=True)
        return losses[0] * 3 + losses[1].loss + losses[1].accuracy

    eager, got = (with_gradients(f, [a, b]) for f in (step, torch.compile(step, fullgraph=True)))
    torch.testing.assert_close(got, eager, rtol=1e-6, atol=1e-8)


def test_autocast_takes_mixed_dtypes_and_keeps_the_loss_in_float32():
    a, b = make_views(6, 10)
    with pytest.raises(ValueError, match="must share width, dtype and device"):
        nt_xent(a, b.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(a, b.bfloat16())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), nt_xent_truth(a, b.bfloat16()).mean(), rtol=2e-6, atol=0)


def test_double_backward_is_a_clear_error():
    a, b = make_views(6, 10)
    gradients = torch.autograd.grad(nt_xent(a, b), [a, b], create_graph=True)
    with pytest.raises(NotImplementedError, match="nt_xent: double backward is not supported"):
        gradients[0].sum().backward()


def test_backward_twice_through_a_kept_graph_doubles_the_gradient():
    a, b = make_views(6, 10)
    loss = nt_xent(a, b)
    loss.backward(retain_graph=True)
    once = a.grad.clone()
    loss.backward()
    assert torch.equal(a.grad, 2 * once)


def test_a_queue_that_changes_before_backward_is_an_error():
    q, k = make_views(4, 6)
    queue = torch.randn(9, 6)
    loss = info_nce(q, k.detach(), queue)
    queue[:4] = 0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_backward_keeps_is_the_inputs_and_three_numbers_a_row(dtype):
    a, b = make_views(700, 16, dtype)
    queue, temperature = torch.randn(3000, 16).to(dtype), torch.tensor(0.2, requires_grad=True)
    calls = {
        lambda: nt_xent(a * 1, b * 1, temperature): (1400, 1400),
        lambda: info_nce(a * 1, b * 1, queue, temperature): (700, 4400),
    }
    for call, (rows, inputs) in calls.items():
        saved = {}
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.setdefault(t.data_ptr(), t), lambda t: t):  # noqa: B023
            call()
        assert sum(t.nbytes for t in saved.values()) <= inputs * 16 * dtype.itemsize + 5 * 8 * rows


PEAK = """
import resource, torch
from dssl_ops import nt_xent
small = [torch.randn(64, 128, requires_grad=True) for _ in range(2)]
nt_xent(*small).backward()
a, b = (torch.randn(8192, 128, requires_grad=True) for _ in range(2))
a.grad, b.grad = torch.zeros_like(a), torch.zeros_like(b)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
nt_xent(a, b).backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_peak_memory_at_8192_is_64_mebibytes_where_the_matrix_has_1024():
    kibibytes = int(subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout)
    assert kibibytes <= 64 * 1024


def ones(*shape, dtype=torch.float32):
    return torch.ones(shape, dtype=dtype)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: nt_xent(ones(7, 3), ones(6, 3)), ValueError, r"z_a and z_b must share their shape; got \(7, 3\)"),
        (lambda: nt_xent(ones(7, 3), ones(7, 3, dtype=torch.float64)), ValueError, "share width.*float32.*float64"),
        (lambda: nt_xent(ones(7), ones(7)), ValueError, r"z_a must be \(N, D\).*got \(7,\)"),
        (lambda: nt_xent(ones(7, 3, dtype=torch.int64), ones(7, 3)), ValueError, "float32, float64.*int64"),
        (lambda: nt_xent(1.0, ones(7, 3)), TypeError, "inputs must be dense tensors; got float"),
        (lambda: nt_xent(ones(7, 3), ones(7, 3), 0.0), ValueError, "temperature must be in .*got 0.0"),
        (lambda: nt_xent(ones(7, 3), ones(7, 3), None), ValueError, "temperature must be in .*got None"),
        (lambda: nt_xent(ones(7, 3), ones(7, 3), 0.5, "mean"), TypeError, "must be a .*process group; got 'mean'"),
        (lambda: nt_xent(ones(7, 3).to_sparse(), ones(7, 3)), TypeError, "dense tensors; got torch.sparse_coo"),
        (lambda: nt_xent(ones(7, 3), ones(7, 3), float("nan")), ValueError, "temperature must be in .*got nan"),
        (lambda: nt_xent(ones(7, 3), ones(7, 3), ones(2)), ValueError, r"temperature must be a number or.*\(2,\)"),
        (lambda: nt_xent(ones(7, 3), ones(7, 3), torch.tensor(-1.0)), RuntimeError, "^nt_xent: temperature.*got -1"),
        (lambda: nt_xent(ones(7, 3), ones(7, 3), reduction="avg"), ValueError, "reduction must be.*got 'avg'"),
        (lambda: nt_xent(ones(1, 3), ones(1, 3), decoupled=True), ValueError, "decoupled needs a negative; got N = 1"),
        (lambda: nt_xent(ones(7, 3), ones(7, 3), ring=True), ValueError, "nt_xent: ring needs a group; got none"),
        (lambda: info_nce(ones(7, 3), ones(7, 3), ring=True), ValueError, "info_nce: ring needs a group; got none"),
        (lambda: info_nce(ones(7, 3), ones(6, 3)), ValueError, "every query needs its key; got 7 queries and 6 keys"),
        (lambda: info_nce(ones(7, 3), ones(7, 3), ones(9, 4)), ValueError, r"queries and queue must share.*\(9, 4\)"),
        (lambda: info_nce(ones(1, 3), ones(1, 3), decoupled=True), ValueError, "decoupled needs a negative; got none"),
    ],
)  # fmt: skip
def test_bad_input_gives_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "change",
    [
        {"rows": []},
        {"rows": [ones(3, 4)], "columns": [], "queue": None},
        {"columns": [ones(6, 5)]},
        {"columns": [ones(6, 4, dtype=torch.float64)]},
        {"rows": [ones(4, 6).t()]},
        {"positive": torch.full((6,), 20)},
        {"positive": torch.full((6,), -2)},
        {"positive": None},
        {"excluded": torch.arange(5)},
        {"excluded": torch.zeros(6)},
        {"temperature": torch.tensor(0.2)},
        {"reduction": 7},
    ],
)
def test_the_raw_op_refuses_what_would_corrupt_memory(change):
    arguments = {
        "rows": [ones(6, 4)], "columns": [ones(6, 4)], "queue": ones(5, 4), "positive": torch.arange(6),
        "excluded": torch.arange(6), "positives_only": False, "temperature": torch.tensor(0.2, dtype=torch.float64),
        "decoupled": False, "reduction": 2, "with_nearest": True, "tf32": False,
    }  # fmt: skip
    with pytest.raises(RuntimeError, match="nt_xent: "):
        torch.ops.dssl_ops.nt_xent(*(arguments | change).values())
