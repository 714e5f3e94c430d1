"""The single transforms: one random step each, or one block of them (ColorJitter)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeGuard

from .augment import PILLOW_13, interpolation_number
from .augment_sample import COLOR_JITTER, GAUSSIAN_BLUR, JIGSAW, RANDOM_RESIZED_CROP
from .instructions import Listing, Transform
from .program import MAX_GRID, MAX_SIDE, MAX_VALUE, require

Range = tuple[float, float]
LEAST = 1e-9  # of a crop's area and ratio: with MAX_VALUE it keeps every side that they give a 64-bit integer


def check_probability(op: str, p: float, name: str = "p") -> None:
    require(is_number(p) and 0 <= p <= 1, f"{op}: {name} must be a probability in [0, 1]; got {p!r}")


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MAX_VALUE


def is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_range(op: str, name: str, pair: Range, low: float, high: float = math.inf) -> Range:
    good = (
        isinstance(pair, Sequence)
        and len(pair) == 2
        and all(map(is_number, pair))
        and low <= pair[0] <= pair[1] <= high
    )
    require(good, f"{op}: {name} must be (low, high) with {low:g} <= low <= high <= {high:g}; got {pair!r}")
    return pair[0], pair[1]


def _pair_size(op: str, size: int | tuple[int, int]) -> tuple[int, int]:
    pair: Any = (size, size) if is_whole(size) else size
    good = isinstance(pair, Sequence) and len(pair) == 2 and all(map(is_whole, pair))
    good = good and min(pair) >= 1 and max(pair) <= MAX_SIDE
    require(good, f"{op}: size must be a whole number or (height, width) in 1..{MAX_SIDE}; got {size!r}")
    return pair[0], pair[1]


def hold_tuples(transform: Any) -> None:
    """Turn fields given as lists into tuples: a transform is a value, hashable and never changed from outside."""
    for field in fields(transform):
        value = getattr(transform, field.name)
        if isinstance(value, list):
            object.__setattr__(transform, field.name, tuple(value))


@dataclass(frozen=True)
class HorizontalFlip(Transform):
    """Mirror left and right with probability p."""

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability("HorizontalFlip", self.p)

    def instructions(self, listing: Listing) -> None:
        listing.fixed("HorizontalFlip", p=self.p)


@dataclass(frozen=True)
class Grayscale(Transform):
    """Pillow's luma in all channels, with probability p."""

    p: float = 0.2

    def __post_init__(self) -> None:
        check_probability("Grayscale", self.p)

    def instructions(self, listing: Listing) -> None:
        listing.fixed("Grayscale", p=self.p)


@dataclass(frozen=True)
class Solarize(Transform):
    """PIL.ImageOps.solarize: v becomes 255 - v from the threshold up, with probability p."""

    threshold: float = 128
    p: float = 1.0

    def __post_init__(self) -> None:
        require(is_number(self.threshold), f"Solarize: threshold must be a finite number; got {self.threshold!r}")
        check_probability("Solarize", self.p)

    def instructions(self, listing: Listing) -> None:
        listing.fixed("Solarize", self.threshold, p=self.p)


@dataclass(frozen=True)
class GaussianBlur(Transform):
    """PIL.ImageFilter.GaussianBlur with sigma uniform in (low, high), with probability p."""

    sigma: Range = (0.1, 2.0)
    p: float = 1.0

    def __post_init__(self) -> None:
        hold_tuples(self)
        _check_range("GaussianBlur", "sigma", self.sigma, 0, 1000)
        check_probability("GaussianBlur", self.p)

    def instructions(self, listing: Listing) -> None:
        listing.add(GAUSSIAN_BLUR, self.p, *self.sigma)


@dataclass(frozen=True)
class ColorJitter(Transform):
    """torchvision's ColorJitter on Pillow images, with probability p: its four operations in random order.

    Args:
        brightness, contrast, saturation: a number b for factors in [max(0, 1 - b), 1 + b], or (low, high).
        hue: a number h <= 0.5 for shifts in [-h, h], or (low, high) within [-0.5, 0.5]. 0 leaves an operation out.
        p: probability of all four.
    """

    brightness: float | Range = 0.0
    contrast: float | Range = 0.0
    saturation: float | Range = 0.0
    hue: float | Range = 0.0
    p: float = 1.0

    def __post_init__(self) -> None:
        hold_tuples(self)
        check_probability("ColorJitter", self.p)
        self._ranges()

    def _ranges(self) -> list[Range]:
        names = ("brightness", "contrast", "saturation")
        factors = [self._range(name, 1.0, 0.0, math.inf) for name in names]
        return [*factors, self._range("hue", 0.0, -0.5, 0.5)]

    def _range(self, name: str, centre: float, low: float, high: float) -> Range:
        value = getattr(self, name)
        if is_number(value) and 0 <= value <= high:
            value = (max(low, centre - value), centre + value)
        pair = _check_range("ColorJitter", name, value, low, high)
        return (1.0, 0.0) if pair == (centre, centre) else pair  # low > high: left out

    def instructions(self, listing: Listing) -> None:
        listing.add(COLOR_JITTER, self.p, *itertools.chain(*self._ranges()))


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """torchvision's RandomResizedCrop on Pillow images: a box of `scale` of the area and `ratio` of sides, resized.

    Args:
        size: of the result, a number or (H, W).
        scale: (low, high) of the box's share of the area.
        ratio: (low, high) of its width over its height.
        interpolation: "bilinear" or "bicubic".
        pil_compat: 12 or 13, the Pillow whose resize to reproduce.
    """

    size: int | tuple[int, int]
    scale: Range = (0.2, 1.0)
    ratio: Range = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    pil_compat: int = PILLOW_13

    def __post_init__(self) -> None:
        hold_tuples(self)
        _pair_size("RandomResizedCrop", self.size)
        for name in ("scale", "ratio"):
            pair = _check_range("RandomResizedCrop", name, getattr(self, name), 0)
            require(pair[0] >= LEAST, f"RandomResizedCrop: {name} must be at least {LEAST:g}; got {pair!r}")
        require(
            self.interpolation in ("bilinear", "bicubic"),
            f"RandomResizedCrop: interpolation must be bilinear or bicubic; got {self.interpolation!r}",
        )
        require(self.pil_compat in (12, 13), f"RandomResizedCrop: pil_compat must be 12 or 13; got {self.pil_compat!r}")

    def instructions(self, listing: Listing) -> None:
        size = listing.height, listing.width = _pair_size("RandomResizedCrop", self.size)
        filter_number = interpolation_number("RandomResizedCrop", self.interpolation)
        listing.add(RANDOM_RESIZED_CROP, *self.scale, *self.ratio, *size, filter_number, self.pil_compat)


@dataclass(frozen=True)
class Jigsaw(Transform):
    """Permute the tiles of a grid x grid cut, uniformly among tiles of equal size, with probability p."""

    grid: int = 4
    p: float = 1.0

    def __post_init__(self) -> None:
        require(
            is_whole(self.grid) and 1 <= self.grid <= MAX_GRID,
            f"Jigsaw: grid must be in 1..{MAX_GRID}; got {self.grid!r}",
        )
        check_probability("Jigsaw", self.p)

    def instructions(self, listing: Listing) -> None:
        height, width = listing.height, listing.width
        if height is None or width is None:
            raise ValueError("Jigsaw: images must have one size here; put a RandomResizedCrop before it")
        require(
            self.grid <= min(height, width),
            f"Jigsaw: grid must be at most the side; got {self.grid} for images of {height}x{width}",
        )
        listing.add(JIGSAW, self.p, self.grid)
