"""Losses with group=: gloo ranks against one process on the shards put together."""

import os
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from checks import needs_native

from dssl_ops import barlow_twins, info_nce, nt_xent

pytestmark = needs_native
SHARDS = {1: [6], 2: [5, 5], 3: [4, 1, 8], 4: [3, 7, 2, 5]}  # rows of each rank; starting processes is what takes long


def losses(a, b, queue, temperature, group, reduction):
    """Every loss of the library that takes a group, with its inputs' gradients; "none" is weighted row by row."""
    ring = {"ring": True} if group else {}
    calls = {
        "nt_xent": lambda: nt_xent(a, b, temperature, group, reduction),
        "keys": lambda: info_nce(a, b, None, temperature, group, reduction),
        "keys and queue": lambda: info_nce(a, b, queue, temperature, group, reduction, in_batch=True),
        "queue": lambda: info_nce(a, b, queue, temperature, group, reduction),
        "decoupled": lambda: nt_xent(a, b, temperature, group, reduction, decoupled=True),
        "nt_xent, ring": lambda: nt_xent(a, b, temperature, group, reduction, **ring),
        "decoupled, ring": lambda: nt_xent(a, b, temperature, group, reduction, decoupled=True, **ring),
        "keys, ring": lambda: info_nce(a, b, None, temperature, group, reduction, **ring),
        "keys and queue, ring": lambda: info_nce(a, b, queue, temperature, group, reduction, in_batch=True, **ring),
        "barlow_twins": lambda: barlow_twins(a, b, group=group),
    }
    results = {}
    for name, call in calls.items():
        loss = call()
        wanted = [x for x in (a, b, temperature) if not (x is temperature and name == "barlow_twins")]
        gradients = torch.autograd.grad(loss, wanted, torch.full_like(loss, 1.5))
        results[name] = (loss.detach(), *(gradient.double() for gradient in gradients))
    return results


def statistics(a, b, queue, group, **ring):
    """Log-sum-exp of this rank's rows, and accuracy over all, of both contrastive losses."""
    results = nt_xent(a, b, 0.3, group, return_stats=True, **ring)
    more = info_nce(a, b, queue, 0.3, group, in_batch=True, return_stats=True, **ring)
    return results.log_sum_exp, results.accuracy, more.log_sum_exp, more.accuracy


def inputs(counts):
    g = torch.Generator().manual_seed(len(counts))
    a, b = (torch.randn(sum(counts), 7, generator=g).split(counts) for _ in range(2))
    return a, b, torch.randn(11, 7, generator=g)


def a_rank(rank, folder):
    """Every number of ranks in turn, as groups of the first of four processes."""
    torch.set_num_threads(1)
    rendezvous, wait = f"file://{folder}/rendezvous", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=len(SHARDS), timeout=wait)
    groups = {size: dist.new_group(list(range(size))) for size in SHARDS}
    torch.save({size: of_a_rank(rank, size, groups[size]) for size in SHARDS if rank < size}, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def of_a_rank(rank, size, group):
    a, b, queue = inputs(SHARDS[size])
    temperature = torch.tensor(0.3, requires_grad=True)
    mine = [x[rank].clone().requires_grad_() for x in (a, b)]
    results = {r: losses(*mine, queue, temperature, group, r) for r in ("mean", "sum", "none")}
    results["statistics"] = statistics(*mine, queue, group, ring=True)
    assert all(map(torch.equal, results["statistics"][1::2], statistics(*mine, queue, group)[1::2]))
    return results


def run_ranks(target, world, *arguments):
    """Exit codes of `world` processes that ran target(rank, *arguments)."""
    context = mp.get_context("spawn")
    processes = [context.Process(target=target, args=(rank, *arguments)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    assert run_ranks(a_rank, len(SHARDS), str(folder)) == [0] * len(SHARDS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(len(SHARDS))]


@pytest.mark.parametrize("size", SHARDS)
def test_ranks_agree_with_one_process(size, of_ranks):
    counts, ranks = SHARDS[size], [rank[size] for rank in of_ranks[:size]]
    a, b, queue = inputs(counts)
    whole = [torch.cat(x).requires_grad_() for x in (a, b)]
    temperature = torch.tensor(0.3, requires_grad=True)
    for reduction in ("mean", "sum", "none"):
        single = losses(*whole, queue, temperature, None, reduction)
        for name, want in single.items():
            compare(want, [rank[reduction][name] for rank in ranks], counts, f"{name}, {reduction}")
    compare_statistics(statistics(*whole, queue, None), [rank["statistics"] for rank in ranks], counts)


def compare_statistics(whole, ranks, counts):
    halves = [rank[0].split(n) for rank, n in zip(ranks, counts)]
    torch.testing.assert_close(torch.cat([half[k] for k in (0, 1) for half in halves]), whole[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.cat([rank[2] for rank in ranks]), whole[2], rtol=1e-6, atol=0)
    for k in (1, 3):
        assert all(abs(rank[k] - whole[k]) <= 1e-6 for rank in ranks)


def compare(want, ranks, counts, name):
    loss, of_a, of_b, *of_temperature = want
    if loss.dim():
        parts = [rank[0].split(n) for rank, n in zip(ranks, counts)]  # NT-Xent: rows of a, then rows of b
        together = torch.cat([part[k] for k in range(len(parts[0])) for part in parts])
        torch.testing.assert_close(together, loss, rtol=1e-6, atol=2e-7)
    else:
        assert all(abs(rank[0] - loss) <= 1e-6 * abs(loss) for rank in ranks), name
    # DistributedDataParallel averages over ranks, hence the number of ranks.
    for k, of_view in ((1, of_a), (2, of_b)):
        together = torch.cat([rank[k] for rank in ranks]) / len(counts)
        assert (together - of_view).norm() <= 1e-6 * of_view.norm(), name
    for of_whole in of_temperature:
        mean = sum(rank[3] for rank in ranks) / len(counts)
        assert abs(mean - of_whole) <= 5e-6 * abs(of_whole), name


def a_rank_that_may_die(rank, folder, ring):
    torch.set_num_threads(1)
    rendezvous, wait = f"file://{folder}/rendezvous", timedelta(seconds=20)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=wait)
    a = torch.randn(4, 3, requires_grad=True)
    nt_xent(a, a * 2, group=dist.group.WORLD, ring=ring).backward()
    if rank == 1:
        os._exit(0)  # gone without a word
    try:
        nt_xent(a, a * 2, group=dist.group.WORLD, ring=ring).backward()
    except RuntimeError:
        os._exit(3)


@pytest.mark.parametrize("ring", [False, True])
def test_a_rank_that_dies_is_an_error_on_the_others_not_a_hang(ring, tmp_path):
    assert run_ranks(a_rank_that_may_die, 2, str(tmp_path), ring) == [3, 0]
