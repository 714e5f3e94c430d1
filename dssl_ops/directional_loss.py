"""Directional loss: pull each prediction towards its target, never the target towards the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from ._library import native, refuse_forward_mode, when_loaded
from ._rows import DTYPES, dense_rows, describe, promoted, unit_rows
from .graph import ViewGraph

_REDUCTIONS = ("none", "sum", "mean")
_DSSL = ViewGraph.dssl()


def directional_loss(
    predictions: Tensor | Sequence[Tensor],
    targets: Tensor | Sequence[Tensor],
    graph: ViewGraph = _DSSL,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Sum over edges (i, j, w) of ``w * -cos(p_i, stopgrad(t_j))``, reduced over the batch (paper, Eq. 4-6).

    Args:
        predictions: V tensors (B, D), or one (V, B, D); float32, float64, bfloat16 or float16.
        targets: W tensors (B, D), or one (W, B, D), of the same dtype (under autocast, mixed dtypes are promoted).
            They never get a gradient.
        graph: edges over predictions and targets; the default is DSSL's (v, v', v^, v^') at the authors' scale.
        weights: (E,) or (E, B), floating point, without gradient: multiplies the graph's weights, edge by edge or
            sample by sample.
        reduction: "mean" or "sum" over the batch, or "none" for (B,).

    Returns:
        A scalar or (B,): float64 for float64 inputs, else float32. Sums run in float32 or wider, in an order that no
        thread count changes. A zero row has cosine 0 and gradient 0. An empty batch gives 0. Backward reads the
        inputs again, so between the passes nothing is kept beside them but a few numbers a row.

    Raises:
        TypeError, ValueError: for dtypes, shapes, devices, a graph or a reduction that do not fit.
        NotImplementedError: when differentiated twice.
    """
    predictions, targets = _views(predictions, "predictions"), _views(targets, "targets")
    views = promoted([*predictions, *targets])
    predictions, targets = views[: len(predictions)], views[len(predictions) :]
    _check(predictions, targets, graph, weights, reduction)
    if not native(predictions[0].device):
        return directional_loss_reference(predictions, targets, graph, weights, reduction)
    refuse_forward_mode("directional_loss", *predictions, weights)
    loss, _ = torch.ops.dssl_ops.directional_loss(
        [dense_rows(p) for p in predictions[: max(1, graph.predictions)]],
        [dense_rows(t.detach()) for t in targets[: graph.targets]],
        [view for i, j, _ in graph.edges for view in (i, j)],
        [weight for _, _, weight in graph.edges],
        None if weights is None else weights.to(torch.float64).contiguous(),
        _REDUCTIONS.index(reduction),
    )
    return loss


def directional_loss_reference(
    predictions: Sequence[Tensor],
    targets: Sequence[Tensor],
    graph: ViewGraph = _DSSL,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The same in plain PyTorch, edge by edge; serves where there is no compiler, and tests compare with it."""
    wide = torch.float64 if predictions[0].dtype == torch.float64 else torch.float32
    rows = predictions[0].new_zeros(predictions[0].shape[0], dtype=wide)
    for e, (i, j, weight) in enumerate(graph.edges):
        cosine = (unit_rows(predictions[i].to(wide)) * unit_rows(targets[j].detach().to(wide))).sum(dim=1)
        rows = rows - cosine * (weight if weights is None else weight * weights[e].to(wide))
    if reduction == "none":
        return rows
    return rows.sum() / (max(1, rows.shape[0]) if reduction == "mean" else 1)


def _views(tensors: Tensor | Sequence[Tensor], name: str) -> list[Tensor]:
    if isinstance(tensors, Tensor):
        if tensors.dim() != 3:
            raise ValueError(f"directional_loss: stacked {name} must be (V, B, D); got {tuple(tensors.shape)}")
        return list(tensors.unbind(0))
    if not isinstance(tensors, Sequence):
        raise TypeError(f"directional_loss: {name} must be a tensor or a list of them; got {type(tensors).__name__}")
    for tensor in tensors:
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            came = tensor.layout if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"directional_loss: {name} must be dense tensors; got {came}")
    return list(tensors)


def _check(
    predictions: list[Tensor], targets: list[Tensor], graph: ViewGraph, weights: Tensor | None, reduction: str
) -> None:
    if not isinstance(graph, ViewGraph):
        raise TypeError(f"directional_loss: graph must be a ViewGraph; got {type(graph).__name__}")
    if reduction not in _REDUCTIONS:
        raise ValueError(f"directional_loss: reduction must be 'mean', 'sum' or 'none'; got {reduction!r}")
    for views, needed, name in ((predictions, graph.predictions, "predictions"), (targets, graph.targets, "targets")):
        if len(views) < max(1, needed):
            raise ValueError(f"directional_loss: the graph needs {max(1, needed)} {name}; got {len(views)}")
    like = predictions[0]
    if like.dim() != 2 or like.dtype not in DTYPES:
        raise ValueError(
            "directional_loss: predictions must be (B, D) of float32, float64, bfloat16 or float16; "
            f"got {tuple(like.shape)} {like.dtype}"
        )
    for view in (*predictions, *targets):
        if (view.shape, view.dtype, view.device) != (like.shape, like.dtype, like.device):
            raise ValueError(
                "directional_loss: predictions and targets must share shape, dtype and device; "
                f"got {describe(like)} and {describe(view)}"
            )
    if weights is not None:
        _check_weights(weights, len(graph.edges), like)


def _check_weights(weights: Tensor, edges: int, like: Tensor) -> None:
    if not isinstance(weights, Tensor):
        raise TypeError(f"directional_loss: weights must be a tensor or None; got {type(weights).__name__}")
    shapes = ((edges,), (edges, like.shape[0]))
    if tuple(weights.shape) not in shapes or not weights.is_floating_point() or weights.device != like.device:
        raise ValueError(
            f"directional_loss: weights must be floating point of shape {shapes[0]} or {shapes[1]} on {like.device}; "
            f"got {describe(weights)}"
        )
    if weights.requires_grad:
        raise ValueError("directional_loss: weights get no gradient; got weights that require one: detach them")


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    predictions, targets, ctx.edges, _, _, ctx.reduction = inputs
    ctx.save_for_backward(*predictions, *targets, output[1])
    ctx.views = len(predictions)


def _backward(ctx: Any, upstream: Tensor, _: Any) -> tuple[Any, ...]:
    *views, coefficients = ctx.saved_tensors
    predictions, targets = views[: ctx.views], views[ctx.views :]
    upstream = upstream.to(torch.float64).contiguous()
    backward = torch.ops.dssl_ops.directional_loss_backward
    gradients = backward(predictions, targets, coefficients, upstream, ctx.edges, ctx.reduction)
    no_edges: list[Tensor] | None = None if ctx.edges else []  # torch takes an empty list for one of tensors
    return list(gradients.unbind()), [None] * len(targets), no_edges, no_edges, None, None


def _refuse_double_backward(ctx: Any, *_: Any) -> NoReturn:
    raise NotImplementedError("directional_loss: double backward is not supported; got a graph that needs it")


def _fake(
    predictions: list[Tensor],
    targets: list[Tensor],
    edges: list[int],
    edge_weights: list[float],
    weights: Tensor | None,
    reduction: int,
) -> tuple[Tensor, Tensor]:
    like = predictions[0]
    wide = torch.float64 if like.dtype == torch.float64 else torch.float32
    loss = like.new_empty((like.shape[0],) if _REDUCTIONS[reduction] == "none" else (), dtype=wide)
    coefficients = 2 * len(predictions) + len(targets) + len(edge_weights)  # Problem::coefficients in sample.h
    return loss, like.new_empty((like.shape[0], coefficients), dtype=torch.float64)


def _fake_backward(predictions: list[Tensor], *_: Any) -> Tensor:
    return predictions[0].new_empty((len(predictions), *predictions[0].shape))


@when_loaded
def _register() -> None:
    library = torch.library
    library.register_fake("dssl_ops::directional_loss", _fake)
    library.register_autograd("dssl_ops::directional_loss", _backward, setup_context=_setup_context)
    library.register_fake("dssl_ops::directional_loss_backward", _fake_backward)
    library.register_autograd("dssl_ops::directional_loss_backward", _refuse_double_backward)
