"""Transforms of uint8 image batches: `t(images, seed=, epoch=, sample_ids=)` gives views, `t.sample(...)` programs.

    views = DirectedViews(StandardView.cifar10(), Compose((RandAugment(2, 5), Jigsaw(4))))(images, seed=0)
    views.v, views.v_prime, views.heavy, views.heavy_prime

Every transform is immutable, compares by value, and its repr makes it again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from .augment import PILLOW_13, normalization_table
from .augment_sample import CHOICE
from .instructions import Listing, Transform, draw_program, make_views
from .program import MAX_VIEWS, Program, require
from .single_transforms import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Jigsaw,
    RandAugment,
    RandomResizedCrop,
    Range,
    Solarize,
    check_probability,
    hold_tuples,
    is_number,
)

__all__ = [
    "Choice",
    "ColorJitter",
    "Compose",
    "DirectedViews",
    "GaussianBlur",
    "Grayscale",
    "HorizontalFlip",
    "Jigsaw",
    "MultiView",
    "Normalize",
    "RandAugment",
    "RandomResizedCrop",
    "Solarize",
    "StandardView",
    "Transform",
    "Views",
]


def _check_transforms(op: str, transforms: Sequence[Transform]) -> tuple[Transform, ...]:
    for transform in transforms:
        require(isinstance(transform, Transform), f"{op}: expected a transform; got {type(transform).__name__}")
        require(
            transform.normalization is None, f"{op}: Normalize may only end the outermost transform; got {transform}"
        )
    return tuple(transforms)


@dataclass(frozen=True)
class Normalize:
    """(v / 255 - mean) / std per channel, as torchvision computes it in float32, then `dtype`. Last in a Compose."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            numbers = (numbers,) if is_number(numbers) else tuple(numbers)
            require(
                len(numbers) in (1, 3) and all(map(is_number, numbers)),
                f"Normalize: {name} must be 1 or 3 finite numbers; got {numbers!r}",
            )
            object.__setattr__(self, name, numbers)
        require(
            len(self.mean) == len(self.std), f"Normalize: one std per mean; got {len(self.mean)} and {len(self.std)}"
        )
        require(min(self.std) > 0, f"Normalize: std must be above 0; got {self.std!r}")
        require(
            self.dtype in (torch.float32, torch.bfloat16, torch.float16),
            f"Normalize: dtype must be float32, bfloat16 or float16; got {self.dtype}",
        )

    def table(self, channels: int) -> Tensor:
        """(channels, 256): the value of every byte."""
        return normalization_table(self.mean, self.std, channels, self.dtype)


@dataclass(frozen=True)
class Compose(Transform):
    """The transforms one after the other; the last may be a Normalize."""

    transforms: tuple[Transform | Normalize, ...]

    def __post_init__(self):
        require(
            isinstance(self.transforms, Sequence), f"Compose: expected a list of transforms; got {self.transforms!r}"
        )
        transforms = tuple(self.transforms)
        ends = bool(transforms) and isinstance(transforms[-1], Normalize)
        _check_transforms("Compose", transforms[:-1] if ends else transforms)
        object.__setattr__(self, "transforms", transforms)

    @property
    def normalization(self) -> Normalize | None:
        last = self.transforms[-1] if self.transforms else None
        return last if isinstance(last, Normalize) else None

    def instructions(self, listing: Listing) -> None:
        for transform in self.transforms:
            if isinstance(transform, Transform):
                transform.instructions(listing)


@dataclass(frozen=True)
class Choice(Transform):
    """Exactly one of the transforms, transform k with probabilities[k] (default: all alike)."""

    transforms: tuple[Transform, ...]
    probabilities: tuple[float, ...] | None = None

    def __post_init__(self):
        transforms = _check_transforms("Choice", self.transforms)
        require(len(transforms) > 0, "Choice: transforms must not be empty")
        probabilities = tuple(self.probabilities or [1 / len(transforms)] * len(transforms))
        for p in probabilities:
            check_probability("Choice", p, "every probability")
        require(
            len(probabilities) == len(transforms) and math.isclose(sum(probabilities), 1, abs_tol=1e-9),
            f"Choice: probabilities must be {len(transforms)} numbers that add up to 1; got {probabilities!r}",
        )
        object.__setattr__(self, "transforms", transforms)
        object.__setattr__(self, "probabilities", probabilities)

    def instructions(self, listing: Listing) -> None:
        step, words, size = listing.next_step(), listing.words, (listing.height, listing.width)
        bodies, sizes = [], set()
        for transform in self.transforms:
            listing.words, (listing.height, listing.width) = [], size
            transform.instructions(listing)
            bodies.append(listing.words)
            sizes.add((listing.height, listing.width))
        require(len(sizes) == 1, f"Choice: all transforms must give one size; got {sorted(sizes, key=str)}")
        listing.words = words
        lengths = [len(body) for body in bodies]
        cumulative = itertools.accumulate(self.probabilities)
        listing.add(CHOICE, len(bodies), *cumulative, *lengths, *itertools.chain(*bodies), step=step)


@dataclass(frozen=True)
class StandardView(Transform):
    """The standard view T: random resized crop, flip, colour jitter, greyscale and, where blur > 0, Gaussian blur.

    The defaults are the authors' for CIFAR-10. flip, jitter_p, grayscale and blur are probabilities; the rest is as
    in RandomResizedCrop, ColorJitter and GaussianBlur.
    """

    size: int | tuple[int, int]
    scale: Range = (0.2, 1.0)
    ratio: Range = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_p: float = 0.8
    grayscale: float = 0.2
    blur: float = 0.0
    sigma: Range = (0.1, 2.0)
    interpolation: str = "bilinear"
    pil_compat: int = PILLOW_13

    def __post_init__(self):
        hold_tuples(self)
        require(
            isinstance(self.jitter, Sequence) and len(self.jitter) == 4,
            f"StandardView: jitter must be (brightness, contrast, saturation, hue); got {self.jitter!r}",
        )
        self.transforms()

    @classmethod
    def cifar10(cls, size: int | tuple[int, int] = 32, **changes) -> StandardView:
        """The authors' view for CIFAR-10: 32 x 32, no blur."""
        return cls(size, **changes)

    @classmethod
    def imagenet(cls, size: int | tuple[int, int] = 224, **changes) -> StandardView:
        """The authors' view for ImageNet: 224 x 224, blur of sigma 0.1 to 2 with probability 0.5."""
        return replace(cls(size, blur=0.5), **changes)

    def transforms(self) -> tuple[Transform, ...]:
        """The transforms that it is made of, in order."""
        crop = RandomResizedCrop(self.size, self.scale, self.ratio, self.interpolation, self.pil_compat)
        colour = (ColorJitter(*self.jitter, p=self.jitter_p), Grayscale(self.grayscale))
        blur = GaussianBlur(self.sigma, self.blur)
        return (crop, HorizontalFlip(self.flip), *colour, *([blur] if self.blur > 0 else []))

    def instructions(self, listing: Listing) -> None:
        Compose(self.transforms()).instructions(listing)


class Views(NamedTuple):
    """v, v', the heavier v^ (from v) and v^' (from v'), each (B, C, H, W); the order that ViewGraph counts in."""

    v: Tensor
    v_prime: Tensor
    heavy: Tensor
    heavy_prime: Tensor


@dataclass(frozen=True)
class DirectedViews:
    """The four views of DSSL (Eq. 3): v and v' from `standard`, and from each of them a heavier one by `heavy`.

    v^ continues the program of its v, so its shared part runs once. v draws with view 0, v' with 1, the heavy
    steps of v^ with 2 and of v^' with 3. `heavy` must keep the size.
    """

    standard: Transform
    heavy: Transform
    normalize: Normalize | None = None

    def __post_init__(self):
        _check_transforms("DirectedViews", (self.standard, self.heavy))
        _check_normalize("DirectedViews", self.normalize)

    def sample(self, source, *, seed: int, epoch: int = 0, sample_ids=None) -> Program:
        """Draw the programs only; arguments as those of Transform.sample."""
        return draw_program(self._build, source, seed, epoch, sample_ids)

    def __call__(
        self, images: Tensor, *, seed: int, epoch: int = 0, sample_ids=None, memory_format=torch.contiguous_format
    ) -> Views:
        """The four views of images (B, C, H, W) or (C, H, W); arguments as those of Transform.__call__."""
        return Views(*make_views(self._build, self.normalize, images, seed, epoch, sample_ids, memory_format))

    def _build(self, listing: Listing) -> None:
        # v and v^ are made first, then v' and v^': emitted in the order 0, 2, 1, 3.
        for view in (0, 1):
            if view:
                listing.restart()
            listing.start_view(view)
            self.standard.instructions(listing)
            listing.emit(view)
            listing.start_view(2 + view)
            self.heavy.instructions(listing)
            listing.emit(2 + view)


@dataclass(frozen=True)
class MultiView:
    """n independent views of one transform, view k drawn with view=k: a tuple of n tensors."""

    transform: Transform
    views: int = 2
    normalize: Normalize | None = None

    def __post_init__(self):
        _check_transforms("MultiView", (self.transform,))
        require(
            isinstance(self.views, int) and 1 <= self.views <= MAX_VIEWS,
            f"MultiView: views must be in 1..{MAX_VIEWS}; got {self.views!r}",
        )
        _check_normalize("MultiView", self.normalize)

    def sample(self, source, *, seed: int, epoch: int = 0, sample_ids=None) -> Program:
        """Draw the programs only; arguments as those of Transform.sample."""
        return draw_program(self._build, source, seed, epoch, sample_ids)

    def __call__(
        self, images: Tensor, *, seed: int, epoch: int = 0, sample_ids=None, memory_format=torch.contiguous_format
    ) -> tuple[Tensor, ...]:
        """The views of images (B, C, H, W) or (C, H, W); arguments as those of Transform.__call__."""
        return tuple(make_views(self._build, self.normalize, images, seed, epoch, sample_ids, memory_format))

    def _build(self, listing: Listing) -> None:
        for view in range(self.views):
            if view:
                listing.restart()
            listing.start_view(view)
            self.transform.instructions(listing)
            listing.emit(view)


def _check_normalize(op: str, normalize: Normalize | None) -> None:
    require(
        normalize is None or isinstance(normalize, Normalize),
        f"{op}: normalize must be a Normalize or None; got {type(normalize).__name__}",
    )
