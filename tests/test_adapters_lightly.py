"""dssl_ops.adapters.lightly against lightly 1.6, in values, gradients, memory bank and across two processes."""

import inspect

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from checks import TOLERANCE, relative_error

from dssl_ops.adapters import lightly as ours

LOSSES = sorted(ours.__all__)
WHY = "lightly is not installed: pip install --no-deps lightly==1.6.0"


@pytest.fixture
def lightly():
    return pytest.importorskip("lightly.loss", reason=WHY)


def rows(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def with_gradients(loss, *inputs):
    """The loss of the inputs, and 1.5 times its gradient of each."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    value = loss(*inputs)
    return value.detach(), *torch.autograd.grad(value, inputs, torch.full_like(value, 1.5))


def assert_close(got, truth, dtype=torch.float64):
    """A value and its gradients. Values are sums of terms of size one, which may cancel."""
    value, gradient = TOLERANCE[dtype]
    assert abs(got[0].double() - truth[0].double()) < value * max(1, abs(truth[0]))
    for a, b in zip(got[1:], truth[1:], strict=True):
        assert relative_error(a, b) < 10 * gradient  # lightly's sums round too, in another order


@pytest.mark.parametrize("name", LOSSES)
def test_signatures_are_lightlys(lightly, name):
    mine, theirs = (inspect.signature(getattr(module, name)).parameters for module in (ours, lightly))
    assert list(mine) == list(theirs)
    assert [p.default for p in mine.values()] == [p.default for p in theirs.values()]
    mine, theirs = (inspect.signature(getattr(module, name).forward).parameters for module in (ours, lightly))
    assert list(mine) == list(theirs)


ARGUMENTS = {
    "NTXentLoss": [(), (0.07,), (0.5, 0), (0.5, (0, 9))],
    "NegativeCosineSimilarity": [(), (0,), (-1,), (1, 0.5), (0, 2.0)],
    "BarlowTwinsLoss": [(), (0.3,), (0.0, True)],
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name, arguments", [(name, given) for name in LOSSES for given in ARGUMENTS[name]])
def test_values_and_gradients_are_lightlys(lightly, name, arguments, dtype):
    mine, theirs = (getattr(module, name)(*arguments) for module in (ours, lightly))
    for count in (5, 8, 33):
        a, b = rows(count, 9, dtype=dtype), rows(count, 9, seed=1, dtype=dtype)
        assert_close(with_gradients(mine, a, b), with_gradients(theirs, a.double(), b.double()), dtype)


def test_cosine_of_any_shape_and_of_a_target_without_gradient(lightly):
    for dim, first, second in (
        (1, (4, 5, 3), (4, 5, 3)),
        (-1, (2, 3, 7), (3, 7)),
        (0, (6,), (6,)),
        (1, (5, 8), (1, 8)),
    ):
        mine, theirs = (module.NegativeCosineSimilarity(dim) for module in (ours, lightly))
        a, b = rows(*first), rows(*second, seed=1)
        assert_close(with_gradients(mine, a, b), with_gradients(theirs, a, b))
        for half in (lambda f, b=b: lambda x: f(x, b), lambda f, b=b: lambda x: f(b, x)):
            assert_close(with_gradients(half(mine), a), with_gradients(half(theirs), a))


@pytest.mark.parametrize("counts", [[3, 3, 3, 3], [8, 2, 20, 5, 3], [7, 1, 1]], ids=str)
def test_memory_bank_is_lightlys_step_by_step(lightly, counts):
    """Same seed, same bank; batches that do and do not divide its size of 8, and evaluation, which leaves it alone."""
    losses = []
    for module in (ours, lightly):
        torch.manual_seed(5)
        losses.append(module.NTXentLoss(0.2, (8, 6)).double())
    mine, theirs = losses
    assert torch.equal(mine.memory_bank.keys, theirs.memory_bank.bank)
    for step, count in enumerate(counts):
        a, b = rows(count, 6, seed=step), rows(count, 6, seed=step + 100)
        # The bank starts as unit rows in float32, which lightly does not normalise again.
        assert_close([mine(a, b)], [theirs(a, b)], torch.float32)
        assert_close(with_gradients(mine, a, b), with_gradients(theirs, a, b), torch.float32)
        assert relative_error(mine.memory_bank.keys, theirs.memory_bank.bank) < 1e-15
        assert int(mine.memory_bank.pointer) == int(theirs.memory_bank.bank_ptr)
    mine.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(mine.state_dict())


def test_half_precision_takes_the_bank_along():
    loss = ours.NTXentLoss(0.2, (8, 6))
    a, b = (rows(3, 6, seed=seed, dtype=torch.bfloat16).requires_grad_() for seed in (0, 1))
    before = loss.memory_bank.keys.clone()
    value = loss(a, b)
    value.backward()
    wide = torch.nn.functional.normalize(torch.cat([b.detach().float(), before]), dim=1)
    logits = torch.nn.functional.normalize(a.detach().float(), dim=1) @ wide.t() / 0.2
    positive = logits[:, :3].diagonal()[:, None]
    truth = torch.nn.functional.cross_entropy(
        torch.cat([positive, logits[:, 3:]], 1), torch.zeros(3, dtype=torch.int64)
    )
    assert abs(value - truth) < 2**-9 * 5 * 2  # the bank's entries are rounded to bfloat16, over a temperature of 0.2
    assert value.dtype == torch.float32 and loss.memory_bank.keys.dtype == torch.float32
    assert int(loss.memory_bank.pointer) == 3


def a_rank(rank, folder):
    """Losses, gradients and bank of one of two ranks, ours and lightly's."""
    import lightly.loss as theirs

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    a, b = (rows(8, 6, seed=seed).split(4)[rank] for seed in (0, 1))
    results = []
    for module in (ours, theirs):
        torch.manual_seed(5)
        banked = module.NTXentLoss(0.2, (11, 6), gather_distributed=True).double()
        plain = with_gradients(module.NTXentLoss(0.2, gather_distributed=True), a, b)
        first, second = with_gradients(banked, a, b), with_gradients(banked, b, a)
        results.append((plain, (first, second), next(banked.buffers())))
    results.append(with_gradients(ours.BarlowTwinsLoss(0.3, gather_distributed=True), a, b))
    torch.save(results, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes(lightly, tmp_path):
    mp.start_processes(a_rank, args=(tmp_path,), nprocs=2, start_method="fork")
    a, b = rows(8, 6), rows(8, 6, seed=1)
    whole = with_gradients(lightly.BarlowTwinsLoss(0.3), a, b)
    for rank in (0, 1):
        mine, theirs, barlow = torch.load(tmp_path / f"{rank}.pt")
        assert_close(mine[0], theirs[0])
        for got, truth in zip(mine[1], theirs[1], strict=True):
            assert_close(got, truth, torch.float32)
        assert relative_error(mine[2], theirs[2]) < 1e-15
        # Barlow Twins is that of one process; gradients are times the number of ranks, which DDP divides by.
        assert_close(barlow, (whole[0], *(2 * gradient.split(4)[rank] for gradient in whole[1:])))


ERRORS = [
    (lambda: ours.NTXentLoss(0.0), "NTXentLoss: temperature must be at least 1e-8; got 0.0"),
    (lambda: ours.NTXentLoss(-0.5), "NTXentLoss: temperature must be at least 1e-8; got -0.5"),
    (lambda: ours.NTXentLoss(0.5, 9), r"NTXentLoss: memory_bank_size must be 0 or \(size, width of the rows\); got 9"),
    (lambda: ours.NTXentLoss(0.5, (9, -1)), r"memory_bank_size must be .*; got \(9, -1\)"),
    (lambda: ours.NTXentLoss(0.5, (9, 4))(rows(3, 5), rows(3, 5)), "info_nce: queries and queue must share width"),
]


@pytest.mark.parametrize("call, message", ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_errors_name_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
