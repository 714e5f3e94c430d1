"""Barlow Twins: the views' cross-correlation over the batch is drawn to the identity."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from ._library import native, refuse_forward_mode, when_loaded
from ._rows import DTYPES, dense_rows, dense_tensors, describe
from .global_negatives import gather_rows


def barlow_twins(
    z_a: Tensor,
    z_b: Tensor,
    lambd: float = 0.0051,
    scale: float = 1.0,
    group: ProcessGroup | None = None,
    *,
    eps: float = 1e-5,
) -> Tensor:
    r"""``scale * (sum_i (C_ii - 1)^2 + lambd * sum_{i != j} C_ij^2)`` (Zbontar et al. 2021, Eq. 1), C the correlation
    of the features of z_a with those of z_b over the batch.

    Args:
        z_a, z_b: (N, D), two views of N > 0 images, of one dtype: float32, float64, bfloat16 or float16. Features need
            not be standardised: mean and variance (biased, plus eps, as BatchNorm1d(affine=False) in training) are
            taken here and get their gradient.
        lambd, scale: weight of the off-diagonal part, and of the whole.
        group: process group; statistics and C are those of all ranks' rows, see `global_negatives`. Every rank
            gathers both views and computes the whole loss.

    Returns:
        A scalar: float64 for float64 inputs, else float32. C itself is made only where D < 2 N; else products of N x N
        matrices serve, D / N times cheaper. The bits do not depend on the number of threads.

    Raises:
        TypeError, ValueError: for inputs that do not fit.
        NotImplementedError: when differentiated twice.
    """
    z_a, z_b = dense_tensors([z_a, z_b], "barlow_twins")
    _check(z_a, z_b, lambd, scale, eps)
    if group is not None:
        z_a, z_b = gather_rows(z_a, group)[0], gather_rows(z_b, group)[0]
    if not native(z_a.device):
        return barlow_twins_reference(z_a, z_b, lambd, scale, eps=eps)
    refuse_forward_mode("barlow_twins", z_a, z_b)
    loss, _, _ = torch.ops.dssl_ops.barlow_twins(dense_rows(z_a), dense_rows(z_b), lambd, scale, eps)
    return loss


def barlow_twins_reference(
    z_a: Tensor, z_b: Tensor, lambd: float = 0.0051, scale: float = 1.0, *, eps: float = 1e-5
) -> Tensor:
    """The same in plain PyTorch, through C; serves where there is no compiler, and tests compare with it."""
    wide = torch.float64 if z_a.dtype == torch.float64 else torch.float32
    standard = []
    for z in (z_a.to(wide), z_b.to(wide)):
        variance, mean = torch.var_mean(z, 0, correction=0)
        standard.append((z - mean) * (variance + eps).rsqrt())
    c = standard[0].t() @ standard[1] / z_a.shape[0]
    off_diagonal = c.masked_fill(torch.eye(c.shape[0], dtype=torch.bool, device=c.device), 0)
    return scale * ((c.diagonal() - 1).square().sum() + lambd * off_diagonal.square().sum())


def _check(z_a: Tensor, z_b: Tensor, lambd: float, scale: float, eps: float) -> None:
    if z_a.dim() != 2 or 0 in z_a.shape or z_a.dtype not in DTYPES:
        wanted = "(N, D) of float32, float64, bfloat16 or float16, not empty"
        raise ValueError(f"barlow_twins: z_a must be {wanted}; got {tuple(z_a.shape)} {z_a.dtype}")
    if (z_a.shape, z_a.dtype, z_a.device) != (z_b.shape, z_b.dtype, z_b.device):
        got = f"{describe(z_a)} and {describe(z_b)}"
        raise ValueError(f"barlow_twins: z_a and z_b must share shape, dtype and device; got {got}")
    # Not math.isfinite: it raises for integers that no float holds.
    if not all(isinstance(v, (int, float)) and abs(v) <= sys.float_info.max for v in (lambd, scale, eps)) or eps <= 0:
        raise ValueError(
            f"barlow_twins: lambd, scale and eps must be finite numbers and eps positive; "
            f"got {lambd!r}, {scale!r} and {eps!r}"
        )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    z_a, z_b, ctx.lambd, ctx.scale, _ = inputs
    ctx.save_for_backward(z_a, z_b, *output[1:])


def _backward(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    backward = torch.ops.dssl_ops.barlow_twins_backward
    of_a, of_b = backward(*ctx.saved_tensors, upstream.to(torch.float64), ctx.lambd, ctx.scale)
    return of_a, of_b, None, None, None


def _refuse_double_backward(ctx: Any, *_: Any) -> NoReturn:
    raise NotImplementedError("barlow_twins: double backward is not supported; got a graph that needs it")


def _fake(z_a: Tensor, z_b: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    wide = torch.float64 if z_a.dtype == torch.float64 else torch.float32
    rows, width = (-(-size // 32) * 32 for size in z_a.shape)  # matrix_size in barlow_twins_cpu.cpp
    size = 2 * rows * rows if z_a.shape[1] >= 2 * z_a.shape[0] else width * width
    return (
        z_a.new_empty((), dtype=wide),
        z_a.new_empty((size,), dtype=wide),
        z_a.new_empty((5, z_a.shape[1]), dtype=torch.float64),
    )


@when_loaded
def _register() -> None:
    library = torch.library
    library.register_fake("dssl_ops::barlow_twins", _fake)
    library.register_autograd("dssl_ops::barlow_twins", _backward, setup_context=_setup_context)
    library.register_fake(
        "dssl_ops::barlow_twins_backward", lambda a, b, *_: (a.new_empty(a.shape), b.new_empty(b.shape))
    )
    library.register_autograd("dssl_ops::barlow_twins_backward", _refuse_double_backward)
