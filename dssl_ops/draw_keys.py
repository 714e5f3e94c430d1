"""What keys a draw, checked: seed, epoch, sample ids and view; and the sizes of the images, on which it depends too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor

from .images import Images, RaggedImages, Source, one_size
from .program import MAX_SIDE, require

VIEW_KEYS = 256  # the bits that the counter of a draw has for them
Ids = Tensor | Sequence[int] | int | None
Drawable = Images | Tensor | Sequence[tuple[int, int]]  # images, or the (H, W) of each


def draw_keys(seed: int, epoch: int, sample_ids: Ids, batch: int) -> tuple[int, int, Tensor]:
    """Seed, epoch and the (B,) int64 ids of the samples, checked."""
    ids = _sample_ids(sample_ids, batch)
    return _integer("seed", seed, -(2**63), 2**64 - 1), _integer("epoch", epoch, 0, 2**32 - 1), ids


def as_batch(images: Images) -> Images:
    """The images, one (C, H, W) as a batch of one."""
    return images.unsqueeze(0) if isinstance(images, Tensor) and images.dim() == 3 else images


def _is_images(source: Drawable) -> TypeGuard[Images]:
    if isinstance(source, (list, tuple)):
        return len(source) > 0 and isinstance(source[0], Tensor)
    return isinstance(source, RaggedImages) or (isinstance(source, Tensor) and source.dtype == torch.uint8)


def sizes_of(source: Drawable) -> tuple[Tensor, tuple[int | None, int | None]]:
    """(B, 2) sizes, and the one size that all images have, or (None, None)."""
    if _is_images(source):
        images = Source.of("transforms", as_batch(source))
        return images.sizes(), images.size()
    try:
        sizes = torch.as_tensor(source, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"transforms: sizes must be (B, 2) whole numbers; got {source!r}") from None
    sizes = sizes.reshape(-1, 2) if sizes.numel() == 0 else sizes
    good = sizes.dim() == 2 and sizes.shape[1] == 2 and not sizes.is_floating_point()
    good = good and bool(((sizes >= 1) & (sizes <= MAX_SIDE)).all())
    require(
        good or sizes.numel() == 0,
        f"transforms: sizes must be (B, 2) whole numbers in 1..{MAX_SIDE}; got {sizes.dtype} {tuple(sizes.shape)}",
    )
    sizes = sizes.to(torch.int64).contiguous()
    return sizes, one_size(map(tuple, sizes.tolist()))


def _sample_ids(sample_ids: Ids, batch: int) -> Tensor:
    if sample_ids is None:
        return torch.arange(batch, device="cpu")
    try:
        ids = torch.as_tensor(sample_ids, device="cpu")
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"transforms: sample_ids must be ({batch},) int64; got {sample_ids!r}") from None
    ids = ids.reshape(1) if ids.dim() == 0 and batch == 1 else ids
    whole = ids.dtype in (torch.int64, torch.int32) or ids.numel() == 0
    require(
        whole and ids.shape == (batch,),
        f"transforms: sample_ids must be ({batch},) int64; got {ids.dtype} {tuple(ids.shape)}",
    )
    return ids.to(torch.int64).contiguous()


def view_key(view: int) -> int:
    return _integer("view", view, 0, VIEW_KEYS - 1)


def _integer(name: str, value: int, low: int, high: int) -> int:
    good = hasattr(value, "__index__") and not isinstance(value, (bool, Tensor)) and low <= value <= high
    require(good, f"transforms: {name} must be a whole number in {low}..{high}; got {value!r}")
    return int(value)
