"""NT-Xent and InfoNCE: contrastive cross entropy that never stores the similarity matrix."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from ._library import native, refuse_forward_mode
from ._nt_xent_op import REDUCTIONS
from ._nt_xent_ring import RingLosses
from ._rows import DTYPES, dense_rows, dense_tensors, describe, unit_rows
from .global_negatives import count_rows, gather_rows, scaled_to_ranks, sum_over_ranks


class ContrastiveResult(NamedTuple):
    """Loss; each row's log denominator, without gradient; share of rows whose positive is the nearest column."""

    loss: Tensor
    log_sum_exp: Tensor
    accuracy: Tensor


@overload
def nt_xent(
    z_a: Tensor, z_b: Tensor, temperature: float | Tensor = ..., group: ProcessGroup | None = ...,
    reduction: str = ..., *, ring: bool = ..., decoupled: bool = ..., return_stats: Literal[False] = ...,
) -> Tensor: ...  # fmt: skip
@overload
def nt_xent(
    z_a: Tensor, z_b: Tensor, temperature: float | Tensor = ..., group: ProcessGroup | None = ...,
    reduction: str = ..., *, ring: bool = ..., decoupled: bool = ..., return_stats: Literal[True],
) -> ContrastiveResult: ...  # fmt: skip
def nt_xent(
    z_a: Tensor,
    z_b: Tensor,
    temperature: float | Tensor = 0.5,
    group: ProcessGroup | None = None,
    reduction: str = "mean",
    *,
    ring: bool = False,
    decoupled: bool = False,
    return_stats: bool = False,
) -> Tensor | ContrastiveResult:
    r"""NT-Xent (SimCLR, Eq. 1): each of the 2N rows must pick its partner among all others, by cosine / temperature.

    Args:
        z_a, z_b: (N, D), two views of N images, of one dtype: float32, float64, bfloat16 or float16. Rows need not be
            normalised; a zero row has cosine 0 with all and gradient 0.
        temperature: a number or a tensor () in [1e-8, 1e8]; the tensor gets its gradient.
        group: process group whose ranks' rows are negatives too; None: this process alone. See `global_negatives`.
        ring: let the ranks' rows go around instead of gathering them: O(N D) memory however many ranks, more messages.
        reduction: "mean" or "sum" over rows, or "none" for (2N,), rows of z_a first.
        decoupled: leave the positive out of the denominator (DCL); needs N > 1.
        return_stats: return a ContrastiveResult, at no further pass.

    Returns:
        float64 for float64 inputs, else float32. Memory is O(N D), forward and backward; there is no dense path, which
        would save some launches where N is below a hundred or so (docs/benchmarks.md). The bits depend on the inputs
        and the processor, not on the number of threads. N = 0 gives 0. Half types compute in float32; where the CPU has
        a dot product of bfloat16, that takes bfloat16 rows as they are, and rounds in the backward pass each negative's
        share p of the softmax by at most p / 512.

    Raises:
        TypeError, ValueError: for inputs, a temperature or a reduction that do not fit.
        NotImplementedError: when differentiated twice.
    """
    z_a, z_b = dense_tensors([z_a, z_b], "nt_xent")
    _check("nt_xent", {"z_a": z_a, "z_b": z_b}, reduction)
    if z_a.shape != z_b.shape:
        raise ValueError(f"nt_xent: z_a and z_b must share their shape; got {tuple(z_a.shape)} and {tuple(z_b.shape)}")
    if decoupled and group is None and z_a.shape[0] == 1:
        raise ValueError("nt_xent: decoupled needs a negative; got N = 1")
    if ring and group is None:
        raise ValueError("nt_xent: ring needs a group; got none")
    temperature = _temperature(temperature, z_a, "nt_xent")
    if group is None:
        return _loss([z_a, z_b], [], None, None, None, False, temperature, decoupled, reduction, return_stats)
    rows = torch.cat([z_a, z_b])
    if ring:
        own = torch.arange(rows.shape[0], device=rows.device)
        result: Tensor | ContrastiveResult = _ring(
            rows, rows, None, own.roll(z_a.shape[0]), own, temperature, decoupled, group, reduction
        )
        return _over_ranks(result, sum(count_rows(rows, group)), group, reduction, return_stats)
    columns, before, total = gather_rows(rows, group)
    own = torch.arange(before, before + rows.shape[0], device=rows.device)
    positive = own.roll(z_a.shape[0])
    result = _loss([rows], [columns], None, positive, own, False, temperature, decoupled, _local(reduction), True)
    return _over_ranks(result, total, group, reduction, return_stats)


@overload
def info_nce(
    queries: Tensor, keys: Tensor, queue: Tensor | None = ..., temperature: float | Tensor = ...,
    group: ProcessGroup | None = ..., reduction: str = ..., *, in_batch: bool | None = ...,
    ring: bool = ..., decoupled: bool = ..., return_stats: Literal[False] = ...,
) -> Tensor: ...  # fmt: skip
@overload
def info_nce(
    queries: Tensor, keys: Tensor, queue: Tensor | None = ..., temperature: float | Tensor = ...,
    group: ProcessGroup | None = ..., reduction: str = ..., *, in_batch: bool | None = ...,
    ring: bool = ..., decoupled: bool = ..., return_stats: Literal[True],
) -> ContrastiveResult: ...  # fmt: skip
def info_nce(
    queries: Tensor,
    keys: Tensor,
    queue: Tensor | None = None,
    temperature: float | Tensor = 0.2,
    group: ProcessGroup | None = None,
    reduction: str = "mean",
    *,
    in_batch: bool | None = None,
    ring: bool = False,
    decoupled: bool = False,
    return_stats: bool = False,
) -> Tensor | ContrastiveResult:
    r"""InfoNCE (CPC; MoCo, Eq. 1): query i must pick key i among the negatives, by cosine / temperature.

    Args:
        queries, keys: (N, D) and (K, D), K >= N, key i being the positive of query i; both get gradients.
        queue: (Q, D) further negatives without gradient (MoCo); it must not change before the backward pass.
        in_batch: whether the other keys are negatives too; by default when there is no queue, as in MoCo.
        decoupled: leave the positive out of the denominator (DCL, Eq. 6).
        temperature, ring, reduction, return_stats: as in `nt_xent`, as are dtypes, result, errors; "none" gives (N,).
        group: as in `nt_xent`; with in_batch the keys of all ranks are negatives, the queue is each rank's own.
    """
    given = [queries, keys] if queue is None else [queries, keys, queue]
    given = dense_tensors(given, "info_nce")
    queries, keys = given[:2]
    queue = None if queue is None else given[2].detach()
    _check("info_nce", dict(zip(("queries", "keys", "queue"), given)), reduction)
    if keys.shape[0] < queries.shape[0]:
        counts = f"{queries.shape[0]} queries and {keys.shape[0]} keys"
        raise ValueError(f"info_nce: every query needs its key; got {counts}")
    in_batch = queue is None if in_batch is None else in_batch
    negatives = (keys.shape[0] - 1 if in_batch else 0) + (0 if queue is None else queue.shape[0])
    if decoupled and group is None and negatives == 0:
        raise ValueError("info_nce: decoupled needs a negative; got none")
    if ring and group is None:
        raise ValueError("info_nce: ring needs a group; got none")
    temperature = _temperature(temperature, queries, "info_nce")
    before, total = 0, queries.shape[0]
    if group is not None:
        total = sum(count_rows(queries, group))
        if in_batch and not ring:
            keys, before, _ = gather_rows(keys, group)
    positive = torch.arange(before, before + queries.shape[0], device=queries.device)
    none = torch.full_like(positive, -1)
    if group is None:
        return _loss(
            [queries], [keys], queue, positive, none, not in_batch, temperature, decoupled, reduction, return_stats
        )
    if in_batch and ring:
        result: Tensor | ContrastiveResult = _ring(
            queries, keys, queue, positive, none, temperature, decoupled, group, reduction
        )
    else:
        local = _local(reduction)
        result = _loss([queries], [keys], queue, positive, none, not in_batch, temperature, decoupled, local, True)
    return _over_ranks(result, total, group, reduction, return_stats)


def nt_xent_reference(
    rows: list[Tensor],
    columns: list[Tensor],
    queue: Tensor | None,
    positive: Tensor | None,
    excluded: Tensor | None,
    positives_only: bool,
    temperature: Tensor,
    decoupled: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of every row loss, positive logit, log-sum-exp and largest logit of the negatives: plain PyTorch, whole matrix.

    The arguments are those of the native op; serves where there is no compiler, and tests compare with it. Without
    columns, the rows are z_a and z_b and the columns as well. `positive`, `excluded`: a column of each row, -1: none.
    positives_only: only the queue has negatives.
    """
    joined = torch.cat(rows)
    if positive is None or excluded is None:
        excluded = torch.arange(len(joined), device=joined.device)
        positive = excluded.roll(len(joined) // 2)
    wide = torch.float64 if joined.dtype == torch.float64 else torch.float32
    x = unit_rows(joined.to(wide))
    y = unit_rows(torch.cat([*columns, *([] if queue is None else [queue])]).to(wide)) if columns else x
    cosine = x @ y.t()
    column = torch.arange(y.shape[0], device=y.device)
    skipped = sum(y.shape[0] for y in columns) if positives_only else 0
    never = (column < skipped) | (column == excluded[:, None]) | (column == positive[:, None])
    positives = cosine.gather(1, positive[:, None])[:, 0] / temperature.to(wide)
    negatives = (cosine / temperature.to(wide)).masked_fill(never, -torch.inf)
    has_negative = ~never.all(1)
    log_negatives = torch.where(has_negative[:, None], negatives, 0).logsumexp(1).masked_fill(~has_negative, -torch.inf)
    gap = log_negatives - positives
    losses = gap if decoupled else torch.logaddexp(gap, torch.zeros_like(gap))
    nearest = negatives.amax(1) if y.shape[0] else positives.new_zeros(0)
    return losses, positives, log_negatives, nearest


def _loss(
    rows: list[Tensor],
    columns: list[Tensor],
    queue: Tensor | None,
    positive: Tensor | None,
    excluded: Tensor | None,
    positives_only: bool,
    temperature: Tensor,
    decoupled: bool,
    reduction: str,
    return_stats: bool,
) -> Tensor | ContrastiveResult:
    arguments: tuple[Any, ...] = (rows, columns, queue, positive, excluded, positives_only, temperature, decoupled)
    if native(rows[0].device):
        refuse_forward_mode("nt_xent", *rows, *columns, temperature)
        rows, columns = [dense_rows(x) for x in rows], [dense_rows(y) for y in columns]
        arguments = (rows, columns, None if queue is None else dense_rows(queue), *arguments[3:])
        arguments = (*arguments, REDUCTIONS.index(reduction), return_stats, rows[0].is_cuda and _tf32())
        loss, positives, negatives, nearest = torch.ops.dssl_ops.nt_xent(*arguments)
    else:
        losses, positives, negatives, nearest = nt_xent_reference(*arguments)
        loss = losses if reduction == "none" else losses.sum()
        loss = loss / max(1, losses.shape[0]) if reduction == "mean" else loss
    if not return_stats:
        return loss
    positives, negatives, hits = positives.detach(), negatives.detach(), positives > nearest
    log_sum_exp = negatives if decoupled else torch.logaddexp(negatives, positives)
    return ContrastiveResult(loss, log_sum_exp.to(loss.dtype), hits.to(loss.dtype).mean())


def _tf32() -> bool:
    """Whether products of float32 on CUDA may use tf32, as torch's own may: by default not."""
    return torch.backends.cuda.matmul.fp32_precision == "tf32"


_tf32._dynamo_marked_constant = True  # type: ignore[attr-defined]  # as `native`


def _ring(
    rows: Tensor,
    columns: Tensor,
    queue: Tensor | None,
    positive: Tensor,
    excluded: Tensor,
    temperature: Tensor,
    decoupled: bool,
    group: ProcessGroup,
    reduction: str,
) -> ContrastiveResult:
    if not native(rows.device):
        raise NotImplementedError("nt_xent: ring needs the compiled kernels; leave it out to gather the rows instead")
    rows, columns, queue = dense_rows(rows), dense_rows(columns), None if queue is None else dense_rows(queue)
    arguments = (temperature, queue, positive, excluded, decoupled, group)
    losses, log_sum_exp, hits = RingLosses.apply(rows, columns, *arguments)
    loss = losses if reduction == "none" else losses.sum()
    return ContrastiveResult(loss, log_sum_exp.to(loss.dtype), hits.to(loss.dtype).mean())


def _local(reduction: str) -> str:
    return "none" if reduction == "none" else "sum"


def _over_ranks(
    result: Tensor | ContrastiveResult, total: int, group: ProcessGroup, reduction: str, return_stats: bool
) -> Tensor | ContrastiveResult:
    loss, log_sum_exp, accuracy = result
    loss = scaled_to_ranks(loss, group) if reduction == "none" else sum_over_ranks(loss, group)
    if reduction == "mean":
        loss = loss / max(1, total)
    if not return_stats:
        return loss
    hits = accuracy.nan_to_num() * log_sum_exp.shape[0]
    return ContrastiveResult(loss, log_sum_exp, sum_over_ranks(hits, group) / max(1, total))


def _temperature(temperature: float | Tensor, like: Tensor, op: str) -> Tensor:
    if not isinstance(temperature, Tensor):
        if not isinstance(temperature, (int, float)) or not 1e-8 <= temperature <= 1e8:
            raise ValueError(f"{op}: temperature must be in [1e-8, 1e8]; got {temperature!r}")
        return torch.full((), temperature, dtype=torch.float64, device=like.device)
    if temperature.numel() != 1 or not temperature.is_floating_point():
        got = f"{tuple(temperature.shape)} {temperature.dtype}"
        raise ValueError(f"{op}: temperature must be a number or a floating point tensor of one element; got {got}")
    return temperature.reshape(()).to(like.device, torch.float64)


def _check(op: str, tensors: dict[str, Tensor], reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"{op}: reduction must be 'mean', 'sum' or 'none'; got {reduction!r}")
    (first, like), *others = tensors.items()
    if like.dim() != 2 or like.dtype not in DTYPES:
        wanted = "(N, D) of float32, float64, bfloat16 or float16"
        raise ValueError(f"{op}: {first} must be {wanted}; got {describe(like)}")
    for name, tensor in others:
        same = (tensor.dtype, tensor.device) == (like.dtype, like.device)
        if not same or tensor.dim() != 2 or tensor.shape[1] != like.shape[1]:
            got = f"{describe(like)} and {describe(tensor)}"
            raise ValueError(f"{op}: {first} and {name} must share width, dtype and device; got {got}")
