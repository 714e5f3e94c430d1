"""nt_xent and info_nce over a process group in the memory of one rank's rows: shards of columns go around the ranks.

Each rank meets the shards one after the other, its own first, and adds up what they contribute: in the forward pass to
its rows' log-sum-exp, in the backward pass to its rows' gradient and to the shard's, which travels with the shard.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .global_negatives import count_rows


class RingLosses(torch.autograd.Function):
    """Loss, log denominator and hit of each row of this rank against all ranks' columns.

    `positive` and `excluded` name columns of this rank, as for the op; the queue is this rank's alone.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        columns: Tensor,
        temperature: Tensor,
        queue: Tensor | None,
        positive: Tensor,
        excluded: Tensor,
        decoupled: bool,
        group: dist.ProcessGroup,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.decoupled, ctx.group, ctx.counts = decoupled, group, count_rows(columns, group)
        shard, parts = columns.detach(), []
        for step in range(len(ctx.counts)):
            if step:
                (shard,) = _pass_on([shard], ctx.counts, step, group)
            arguments = _meeting(step, rows, shard, queue, positive, excluded, temperature, decoupled)
            parts.append(torch.ops.dssl_ops.nt_xent(*arguments, 0, True, False)[1:])
        of_positives, of_negatives, of_nearest = zip(*parts)
        positives, negatives = of_positives[0], torch.stack(of_negatives).logsumexp(0)
        ctx.save_for_backward(rows, columns, temperature, queue, positive, excluded, positives, negatives)
        gap, hits = negatives - positives, positives > torch.stack(of_nearest).amax(0)
        losses = gap if decoupled else torch.logaddexp(gap, torch.zeros_like(gap))
        denominators = negatives if decoupled else torch.logaddexp(negatives, positives)
        ctx.mark_non_differentiable(denominators, hits)
        return losses.to(_wide(rows)), denominators, hits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        rows, columns, temperature, queue, positive, excluded, positives, negatives = ctx.saved_tensors
        upstream, ranks = upstream.to(torch.float64).contiguous(), len(ctx.counts)
        of_rows, of_shard = (torch.zeros_like(x, dtype=_wide(rows)) for x in (rows, columns))
        shard, of_temperature = columns, torch.zeros_like(temperature)
        for step in range(ranks):
            arguments = _meeting(step, rows, shard, queue, positive, excluded, temperature, ctx.decoupled)
            of_mine, of_theirs, of_scale = torch.ops.dssl_ops.nt_xent_backward(
                *arguments, positives, negatives, upstream, 0, True, False
            )
            of_rows += of_mine[0]
            of_shard += of_theirs[0]
            of_temperature += of_scale
            shard, of_shard = _pass_on([shard, of_shard], ctx.counts, step + 1, ctx.group)  # the last time: home
        return of_rows.to(rows.dtype), of_shard.to(columns.dtype), of_temperature, None, None, None, None, None


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _meeting(
    step: int,
    rows: Tensor,
    shard: Tensor,
    queue: Tensor | None,
    positive: Tensor,
    excluded: Tensor,
    temperature: Tensor,
    decoupled: bool,
) -> tuple[Any, ...]:
    """Arguments of the op for the shard of this step: the positives, the rows themselves and the queue come once."""
    if step:
        queue, positive, excluded = None, torch.full_like(positive, -1), torch.full_like(excluded, -1)
    return [rows], [shard], queue, positive, excluded, False, temperature, decoupled


def _pass_on(tensors: list[Tensor], counts: list[int], step: int, group: dist.ProcessGroup) -> list[Tensor]:
    """Sends the shard that this rank holds to the next one, and receives that of `step` ranks before."""
    ranks, rank = len(counts), dist.get_rank(group)
    if ranks == 1:
        return tensors
    source = (rank - step) % ranks
    received = [tensor.new_empty(counts[source], *tensor.shape[1:]) for tensor in tensors]
    sent = [dist.P2POp(dist.isend, x.contiguous(), group=group, group_peer=(rank + 1) % ranks) for x in tensors]
    taken = [dist.P2POp(dist.irecv, x, group=group, group_peer=(rank - 1) % ranks) for x in received]
    messages = [message for message in (*sent, *taken) if message.tensor.numel()]  # both ends know the empty ones
    for work in dist.batch_isend_irecv(messages) if messages else []:
        work.wait()
    return received
