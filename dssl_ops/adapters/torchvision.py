"""torchvision.transforms.RandAugment by its name and signature, computed by this library's engine.

    from dssl_ops.adapters.torchvision import RandAugment

The draws are torchvision's too, taken from torch's global generator in the same order: after the same
`torch.manual_seed` an image becomes the image that torchvision makes of it. That of torchvision.transforms.v2 draws
otherwise, so its images are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode

from ..augment import interpolation_number
from ..augment_sample import NO_VALUE, TRUNCATED
from ..instructions import Listing, Transform
from ..op_sets import Entry, ra14
from ..program import AFFINE_OPS, INTERPOLATION, require

__all__ = ["RandAugment"]

Picture = TypeVar("Picture", Image.Image, Tensor)
Step = tuple[str, tuple[float, ...]]  # name and values


class RandAugment(nn.Module):
    """num_ops operations of torchvision's 14 at one magnitude: `RandAugment()(img)`, img a Pillow image or a tensor.

    Args:
        num_ops, magnitude, num_magnitude_bins: how many operations; the bin, counted from 0, of how many.
        interpolation: InterpolationMode.NEAREST, BILINEAR or BICUBIC, of rotation, shear and translation.
        fill: of the area outside the image, a number or one per channel; None: black.

    Pillow images are of mode L or RGB; tensors uint8 (..., C, H, W) with C 1 or 3 on any device. As in torchvision one
    draw serves all images of a tensor; `dssl_ops.transforms.RandAugment` draws for each image, from a seed. One thing
    differs: a tensor has the pixels that its Pillow image gets, where torchvision's own arithmetic on tensors rounds
    some otherwise. Raises ValueError for arguments and images that are not as described.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        fill: float | Sequence[float] | None = None,
    ):
        super().__init__()
        require(num_ops >= 0, f"RandAugment: num_ops must be at least 0; got {num_ops!r}")
        bins = num_magnitude_bins
        require(bins >= 2, f"RandAugment: num_magnitude_bins must be at least 2; got {bins!r}")
        require(0 <= magnitude < bins, f"RandAugment: magnitude must be in 0..{bins - 1}; got {magnitude!r}")
        interpolation_number("RandAugment", interpolation.value)
        self.num_ops, self.magnitude, self.num_magnitude_bins = num_ops, magnitude, num_magnitude_bins
        self.interpolation, self.fill = interpolation, fill

    def forward(self, img: Picture) -> Picture:
        if isinstance(img, Tensor):
            require(img.dim() >= 3, f"RandAugment: img must be (..., C, H, W); got {tuple(img.shape)}")
            return self._augmented(img.reshape(-1, *img.shape[-3:])).reshape(img.shape)
        got = type(img).__name__
        require(isinstance(img, Image.Image), f"RandAugment: img must be a Pillow image or a tensor; got {got}")
        require(img.mode in ("L", "RGB"), f"RandAugment: img must be of mode L or RGB; got {img.mode}")
        pixels = torch.from_numpy(np.array(img)).reshape(1, img.height, img.width, -1).permute(0, 3, 1, 2)
        pixels = self._augmented(pixels)[0].permute(1, 2, 0)
        return Image.fromarray(pixels.reshape(*pixels.shape[:2], *([3] if img.mode == "RGB" else [])).numpy())

    def _augmented(self, images: Tensor) -> Tensor:
        steps = tuple(self._draw(*images.shape[-2:]) for _ in range(self.num_ops))
        if self.fill is None or not np.any(self.fill):
            interleaved = images.is_contiguous(memory_format=torch.channels_last)  # as Pillow's, to and fro
            memory_format = torch.channels_last if interleaved else torch.contiguous_format
            return _Steps(steps)(images, seed=0, memory_format=memory_format)
        for step in steps:
            images = self._filled(images, step)
        return images

    def _draw(self, height: int, width: int) -> Step:
        """One operation, drawn as torchvision draws: which one, then the sign if it has one."""
        entries = ra14(self.magnitude, height, width, self.num_magnitude_bins)
        entry = entries[int(torch.randint(len(entries), (1,)))]
        values = _values(entry, negative=entry.signed and bool(torch.randint(2, (1,))))
        tail = (INTERPOLATION[self.interpolation.value],) if entry.name in AFFINE_OPS else ()
        return entry.name, (*values, *tail)

    def _filled(self, images: Tensor, step: Step) -> Tensor:
        """The engine paints black what comes from outside; where a white image has become black, that is `fill`."""
        moved = _Steps((step,))(images, seed=0)
        if step[0] not in AFFINE_OPS:
            return moved
        inside = _Steps((step,))(torch.full_like(images[:1, :1], 255), seed=0)
        fill = torch.as_tensor(self.fill, device=images.device).to(torch.uint8)
        return torch.where(inside > 0, moved, fill.reshape(-1, 1, 1))

    def extra_repr(self) -> str:
        names = ("num_ops", "magnitude", "num_magnitude_bins", "interpolation", "fill")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


@dataclass(frozen=True)
class _Steps(Transform):
    """The given steps, nothing drawn."""

    steps: tuple[Step, ...]

    def instructions(self, listing: Listing) -> None:
        for name, values in self.steps:
            listing.fixed(name, *values)


def _values(entry: Entry, negative: bool) -> tuple[float, ...]:
    if entry.kind == NO_VALUE:
        return ()
    value = entry.base - entry.low if negative else entry.base + entry.low
    return (int(value) if entry.kind == TRUNCATED else value,)
