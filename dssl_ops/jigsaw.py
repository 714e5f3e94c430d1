"""JigSaw: cut each image into n x n tiles and let them change places."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._library import native, refuse_forward_mode, when_loaded


def jigsaw(images: Tensor, grid: int, permutation: Tensor) -> Tensor:
    """Tile k of the result is tile ``permutation[b, k]`` of image b (tiles counted row by row).

    Where ``grid`` does not divide a side, tile i of it spans ``[side * i // grid, side * (i + 1) // grid)`` and tiles
    change places with tiles of their own size only. Differentiable in ``images``; a copy, whatever the dtype.

    Args:
        images: (B, C, H, W) of any dtype, contiguous or channels_last (which is kept); H and W at least ``grid``.
        grid: n, at least 1.
        permutation: (B, n * n) int64 on the images' device, a permutation per image. `transforms.Jigsaw` draws them.

    Raises:
        TypeError, ValueError, RuntimeError: for shapes, dtypes or permutations that do not fit. What stands in a
            permutation on a GPU cannot be seen without waiting for it: there a tile that does not fit its place stops
            the kernel, as an index out of range stops torch's own, and a tile named twice goes unnoticed.
    """
    _check(images, grid, permutation)
    if not native(images.device):
        return jigsaw_reference(images, grid, permutation)
    refuse_forward_mode("jigsaw", images)
    if not images.is_contiguous(memory_format=torch.channels_last):
        images = images.contiguous()
    return torch.ops.dssl_ops.jigsaw(images, grid, permutation.contiguous())


def jigsaw_reference(images: Tensor, grid: int, permutation: Tensor) -> Tensor:
    """The same by slicing, tile by tile; serves where there is no compiler, and tests compare with it."""
    out = torch.empty_like(images)
    tiles = [_tile(images.shape, grid, k) for k in range(grid * grid)]
    for b, row in enumerate(permutation.tolist()):
        if sorted(row) != list(range(grid * grid)):
            raise RuntimeError(
                f"jigsaw: row {b} of permutation must name each of the {grid * grid} tiles once; got {row}"
            )
        for k, source in enumerate(row):
            to, origin = out[b][tiles[k]], images[b][tiles[source]]
            if to.shape != origin.shape:
                raise RuntimeError(
                    f"jigsaw: row {b} of permutation puts tile {source} in the place of another size ({k})"
                )
            to.copy_(origin)
    return out


def _tile(shape: torch.Size, grid: int, k: int) -> tuple[slice, slice, slice]:
    rows, columns = (
        slice(side * i // grid, side * (i + 1) // grid) for side, i in zip(shape[2:], divmod(k, grid), strict=True)
    )
    return slice(None), rows, columns


def _check(images: Tensor, grid: int, permutation: Tensor) -> None:
    for name, tensor in (("images", images), ("permutation", permutation)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"jigsaw: {name} must be a tensor; got {type(tensor).__name__}")
        if tensor.layout != torch.strided:
            raise TypeError(f"jigsaw: {name} must be a dense tensor; got {tensor.layout}")
    if images.dim() != 4:
        raise ValueError(f"jigsaw: images must be (B, C, H, W); got {tuple(images.shape)}")
    if not isinstance(grid, int) or not 1 <= grid <= min(images.shape[2:]):
        raise ValueError(f"jigsaw: grid must be an int in 1..{min(images.shape[2:])}, the shorter side; got {grid!r}")
    expected = (images.shape[0], grid * grid)
    if tuple(permutation.shape) != expected or permutation.dtype != torch.int64:
        raise ValueError(
            f"jigsaw: permutation must be {expected} int64; got {tuple(permutation.shape)} {permutation.dtype}"
        )
    if permutation.device != images.device:
        raise ValueError(f"jigsaw: permutation must be on {images.device}; got {permutation.device}")


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _, ctx.grid, permutation = inputs
    ctx.save_for_backward(permutation)


def _backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
    # The inverse permutation brings every tile of the gradient home.
    (permutation,) = ctx.saved_tensors
    return torch.ops.dssl_ops.jigsaw(upstream.contiguous(), ctx.grid, permutation.argsort(dim=1)), None, None


@when_loaded
def _register() -> None:
    torch.library.register_fake("dssl_ops::jigsaw", lambda images, _grid, _permutation: torch.empty_like(images))
    torch.library.register_autograd("dssl_ops::jigsaw", _backward, setup_context=_setup_context)
