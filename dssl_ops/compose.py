"""Transforms made of transforms: all in turn, one of several, all or none; and the normalisation that may end them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from .augment import normalization_table
from .augment_sample import CHOICE
from .instructions import Listing, Transform
from .program import require
from .random_ops import RandAugment
from .single_transforms import Jigsaw, check_probability, is_number


def check_transforms(op: str, transforms: Sequence[object]) -> tuple[Transform, ...]:
    require(isinstance(transforms, Sequence), f"{op}: expected a list of transforms; got {transforms!r}")
    for transform in transforms:
        if not isinstance(transform, Transform):
            raise ValueError(f"{op}: expected a transform; got {type(transform).__name__}")
        require(
            transform.normalization is None, f"{op}: Normalize may only end the outermost transform; got {transform}"
        )
    return cast(tuple[Transform, ...], tuple(transforms))


@dataclass(frozen=True)
class Normalize:
    """(v / 255 - mean) / std per channel, as torchvision computes it in float32, then `dtype`. Last in a Compose."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
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

    def __post_init__(self) -> None:
        transforms = self.transforms
        ends = isinstance(transforms, Sequence) and len(transforms) > 0 and isinstance(transforms[-1], Normalize)
        check_transforms("Compose", transforms[:-1] if ends else transforms)
        object.__setattr__(self, "transforms", tuple(transforms))

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

    def __post_init__(self) -> None:
        transforms = check_transforms("Choice", self.transforms)
        require(len(transforms) > 0, "Choice: transforms must not be empty")
        probabilities = self.probabilities or [1 / len(transforms)] * len(transforms)
        is_list = isinstance(probabilities, Sequence)
        require(is_list, f"Choice: probabilities must be a list of numbers; got {probabilities!r}")
        probabilities = tuple(probabilities)
        for p in probabilities:
            check_probability("Choice", p, "every probability")
        require(
            len(probabilities) == len(transforms) and math.isclose(sum(probabilities), 1, abs_tol=1e-9),
            f"Choice: probabilities must be {len(transforms)} numbers that add up to 1; got {probabilities!r}",
        )
        object.__setattr__(self, "transforms", transforms)
        object.__setattr__(self, "probabilities", probabilities)

    @classmethod
    def ra_or_jigsaw(
        cls, n: int = 2, m: float = 5, grid: int = 4, op_set: str = "author16", jigsaw: float = 0.1
    ) -> Choice:
        """The heavy policy of the authors' SimSiam code for ImageNet: JigSaw with probability 0.1, else RandAugment."""
        return cls((RandAugment(n, m, op_set), Jigsaw(grid)), (1 - jigsaw, jigsaw))

    def instructions(self, listing: Listing) -> None:
        add_choice(listing, "Choice", self.transforms, self.probabilities or ())


@dataclass(frozen=True)
class RandomApply(Transform):
    """All of the transforms in turn with probability p, else none of them; they must keep the size."""

    transforms: tuple[Transform, ...]
    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability("RandomApply", self.p)
        object.__setattr__(self, "transforms", check_transforms("RandomApply", self.transforms))

    def instructions(self, listing: Listing) -> None:
        add_choice(listing, "RandomApply", (Compose(self.transforms), Compose(())), (self.p, 1 - self.p))


def add_choice(listing: Listing, op: str, transforms: Sequence[Transform], probabilities: Sequence[float]) -> None:
    """List the instruction that runs one of the transforms; all must end at one size."""
    step, words, size = listing.next_step(), listing.words, (listing.height, listing.width)
    bodies, sizes = [], set()
    for transform in transforms:
        listing.words, (listing.height, listing.width) = [], size
        transform.instructions(listing)
        bodies.append(listing.words)
        sizes.add((listing.height, listing.width))
    require(len(sizes) == 1, f"{op}: all transforms must give one size; got {sorted(sizes, key=str)}")
    listing.words = words
    lengths = [len(body) for body in bodies]
    listing.add(
        CHOICE, len(bodies), *itertools.accumulate(probabilities), *lengths, *itertools.chain(*bodies), step=step
    )
