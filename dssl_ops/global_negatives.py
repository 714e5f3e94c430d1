"""Rows of all ranks of a torch.distributed group, with gradients.

The convention, for every loss with `group=`: the value is the one a single process would compute on the shards put
together, the same on all ranks; the gradient of each rank's inputs is the single-process one *times the number of
ranks*. DistributedDataParallel averages parameter gradients over ranks, so after it they are the single-process ones.
Shards may differ in size. Every rank must call, forward and backward; with reduction "none" a rank holds the losses of
its own rows. A rank that dies leaves the others an error when the group's time-out has passed.

Every rank holds all rows, O(N_global D) memory. Where that does not fit, the contrastive losses take `ring=True`: the
shards go around the ranks instead, O(N_local D), as many messages a pass as there are ranks, and the same convention.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def count_rows(rows: Tensor, group: dist.ProcessGroup) -> list[int]:
    """How many rows each rank has."""
    if not isinstance(group, dist.ProcessGroup):
        raise TypeError(f"group must be a torch.distributed process group; got {group!r}")
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(dist.get_world_size(group))]
    dist.all_gather(counts, torch.tensor([rows.shape[0]], device=rows.device), group=group)
    return [int(count) for count in counts]


def gather_rows(rows: Tensor, group: dist.ProcessGroup) -> tuple[Tensor, int, int]:
    """All ranks' rows in rank order, the number of rows before this rank's, and the number of all."""
    counts = count_rows(rows, group)
    before = sum(counts[: dist.get_rank(group)])
    if rows.shape[1] == 0:
        return rows.new_zeros(sum(counts), 0), before, sum(counts)
    return _GatherRows.apply(rows, counts, group), before, sum(counts)


def sum_over_ranks(value: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Sum over ranks; its gradient is the upstream one times the number of ranks."""
    return _SumOverRanks.apply(value, group)


def scaled_to_ranks(value: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The value itself; its gradient is the upstream one times the number of ranks."""
    return _ScaleGradient.apply(value, dist.get_world_size(group))


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], group: dist.ProcessGroup) -> Tensor:
        ctx.counts, ctx.group = counts, group
        # Backends want equal shards: pad to the largest.
        padded = rows.new_zeros(max(counts), rows.shape[1])
        padded[: rows.shape[0]] = rows
        shards = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(shards, padded, group=group)
        return torch.cat([shard[:count] for shard, count in zip(shards, counts)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # Every rank has a gradient for every row: they add up, in float32 for half types, and each rank keeps its own.
        wide = torch.float64 if gradient.dtype == torch.float64 else torch.float32
        total = gradient.to(wide, memory_format=torch.contiguous_format, copy=True)
        dist.all_reduce(total, group=ctx.group)
        rank = dist.get_rank(ctx.group)
        before = sum(ctx.counts[:rank])
        return total[before : before + ctx.counts[rank]].to(gradient.dtype), None, None


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.ranks = dist.get_world_size(group)
        total = value.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream * ctx.ranks, None


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: int) -> Tensor:
        ctx.factor = factor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream * ctx.factor, None
