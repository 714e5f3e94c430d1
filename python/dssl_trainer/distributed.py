"""Several processes, as torchrun starts them: gloo on the CPU, NCCL on CUDA."""

import contextlib
import os
from datetime import timedelta

import torch
import torch.distributed as dist

LONG = timedelta(hours=2)  # the others wait while the first process evaluates


def launched():
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_device():
    """This process's own GPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


@contextlib.contextmanager
def process_group(device):
    """The group of all processes, or None where there is one; ends with the block."""
    if not launched():
        yield None
        return
    if torch.device(device).type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if torch.device(device).type == "cuda" else "gloo", timeout=LONG)
    try:
        yield dist.group.WORLD
    finally:
        dist.destroy_process_group()


def place(ranks):
    """(rank, number of processes)."""
    return (0, 1) if ranks is None else (dist.get_rank(ranks), dist.get_world_size(ranks))


def mean(value, ranks):
    """Mean over processes of a scalar tensor, as a float; every process must call."""
    if ranks is None:
        return value.item()
    value = value.detach().double().clone()
    dist.all_reduce(value, group=ranks)
    return value.item() / dist.get_world_size(ranks)


def largest(number, device, ranks):
    """The largest of an integer that every process gives: how they agree to stop at the same step."""
    if ranks is None:
        return number
    value = torch.tensor(number, device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX, group=ranks)
    return int(value)
