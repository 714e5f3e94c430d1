"""The op behind nt_xent and info_nce: what torch must know of it, shapes and gradients."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from ._library import when_loaded

REDUCTIONS = ("none", "sum", "mean")  # the op takes the index


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    rows, columns, queue, positive, excluded, ctx.positives_only, temperature, ctx.decoupled, ctx.reduction = inputs[:9]
    ctx.tf32, ctx.counts = inputs[10], (len(rows), len(columns))
    ctx.save_for_backward(*rows, *columns, queue, positive, excluded, temperature, *output[1:3])


def _backward(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Any, ...]:
    n, m = ctx.counts
    rows, columns, rest = ctx.saved_tensors[:n], ctx.saved_tensors[n : n + m], ctx.saved_tensors[n + m :]
    queue, positive, excluded, temperature, positives, negatives = rest
    upstream, with_columns = upstream.to(torch.float64).contiguous(), m > 0 and any(ctx.needs_input_grad[1])
    of_rows, of_columns, of_temperature = torch.ops.dssl_ops.nt_xent_backward(
        list(rows), list(columns), queue, positive, excluded, ctx.positives_only, temperature, ctx.decoupled,
        positives, negatives, upstream, ctx.reduction, with_columns, ctx.tf32,
    )  # fmt: skip
    of_columns = of_columns or [None] * m
    return of_rows, of_columns, None, None, None, None, of_temperature, None, None, None, None


def _refuse_double_backward(ctx: Any, *_: Any) -> NoReturn:
    raise NotImplementedError("nt_xent: double backward is not supported; got a graph that needs it")


def _fake(rows: list[Tensor], *rest: Any) -> tuple[Tensor, ...]:
    reduction, with_nearest = rest[7:9]
    like, count = rows[0], sum(x.shape[0] for x in rows)
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    loss = like.new_empty((count,) if REDUCTIONS[reduction] == "none" else (), dtype=dtype)
    per_row = [like.new_empty((n,), dtype=torch.float64) for n in (count, count, count if with_nearest else 0)]
    return loss, *per_row


def _fake_backward(rows: list[Tensor], columns: list[Tensor], *rest: Any) -> tuple[list[Tensor], list[Tensor], Tensor]:
    temperature, with_columns = rest[4], rest[10]
    of_columns = [y.new_empty(y.shape) for y in columns] if with_columns else []
    return [x.new_empty(x.shape) for x in rows], of_columns, temperature.new_empty(())


@when_loaded
def _register() -> None:
    library = torch.library
    library.register_fake("dssl_ops::nt_xent", _fake)
    library.register_autograd("dssl_ops::nt_xent", _backward, setup_context=_setup_context)
    library.register_fake("dssl_ops::nt_xent_backward", _fake_backward)
    library.register_autograd("dssl_ops::nt_xent_backward", _refuse_double_backward)
