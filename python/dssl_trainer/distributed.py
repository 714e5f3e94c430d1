"""Several processes, as torchrun starts them: gloo on the CPU, NCCL on CUDA."""

import contextlib
import os
from datetime import timedelta

import torch
import torch.distributed as dist

from .errors import TrainerError, one_line


def launched():
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_device():
    """This process's own GPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


@contextlib.contextmanager
def process_group(config):
    """The group of all processes, or None where there is one; ends with the block.

    Raises TrainerError where another process was lost, or was waited for too long."""
    if not launched():
        yield None
        return
    on_gpu, patience = torch.device(config.device).type == "cuda", timedelta(seconds=config.rank_timeout)
    if on_gpu:
        torch.cuda.set_device(config.device)
    try:
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=patience)
        yield dist.group.WORLD
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):  # gloo has no type of its own
            raise
        raise TrainerError(
            f"another process was lost, or did not come within --rank-timeout {config.rank_timeout} s: "
            f"{one_line(error)}; checkpoint.pt is as last saved, and the same command again goes on from it"
        ) from None
    finally:
        if dist.is_initialized():
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
