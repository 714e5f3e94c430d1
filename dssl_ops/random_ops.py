"""RandAugment and UniformAugment: a few operations drawn from an op set (see op_sets)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from .augment import interpolation_number
from .augment_sample import RANDOM_OPS
from .instructions import Listing, Transform
from .op_sets import LARGEST, OP_SETS, Entry, spread
from .program import require
from .single_transforms import check_probability, is_number, is_whole

MAX_OPS = 2048  # two blocks each, of the 4096 that one step can draw
UNIFORM = -1.0  # a probability drawn for every operation, uniform in [0, 1)


def _check(op: str, count_name: str, count: int, op_set: str, interpolation: str) -> None:
    require(is_whole(count) and 1 <= count <= MAX_OPS, f"{op}: {count_name} must be in 1..{MAX_OPS}; got {count!r}")
    known = isinstance(op_set, str) and op_set in OP_SETS
    require(known, f"{op}: op_set must be one of {', '.join(OP_SETS)}; got {op_set!r}")
    interpolation_number(op, interpolation)


def _add(listing: Listing, count: int, p: float, interpolation: str, entries: Sequence[Entry]) -> None:
    filter_number = interpolation_number("RandAugment", interpolation)
    listing.add(RANDOM_OPS, count, p, filter_number, *itertools.chain(*(entry.words() for entry in entries)))


@dataclass(frozen=True)
class RandAugment(Transform):
    """n operations drawn uniformly with replacement from an op set, all at magnitude m in [0, 30] (see op_sets).

    Each drawn operation is applied with probability p; the authors and torchvision apply all.
    """

    n: int = 2
    m: float = 5
    op_set: str = "author16"
    interpolation: str = "nearest"
    p: float = 1.0

    def __post_init__(self) -> None:
        _check("RandAugment", "n", self.n, self.op_set, self.interpolation)
        in_range = is_number(self.m) and 0 <= self.m <= LARGEST
        require(in_range, f"RandAugment: m must be in [0, {LARGEST}]; got {self.m!r}")
        require(self.op_set != "ra14" or self.m == int(self.m), f"RandAugment: m of ra14 must be whole; got {self.m!r}")
        check_probability("RandAugment", self.p)

    def instructions(self, listing: Listing) -> None:
        entries = OP_SETS[self.op_set](self.m, listing.height, listing.width)
        _add(listing, self.n, self.p, self.interpolation, entries)


@dataclass(frozen=True)
class UniformAugment(Transform):
    """num_ops operations, each with a probability and a magnitude of its own, both uniform (arXiv 2003.14348).

    An operation is drawn uniformly with replacement, its probability p uniformly from [0, 1), and with probability p
    it is applied, at a value uniform over its range in the op set; so half of the drawn operations run. The default
    set, ua15, is that of the public reimplementation that reaches the paper's figures (tgilewicz/uniformaugment);
    with author16 and ra14 the value is uniform between magnitudes 0 and 30 of those.
    """

    num_ops: int = 2
    op_set: str = "ua15"
    interpolation: str = "nearest"

    def __post_init__(self) -> None:
        _check("UniformAugment", "num_ops", self.num_ops, self.op_set, self.interpolation)

    def instructions(self, listing: Listing) -> None:
        _add(listing, self.num_ops, UNIFORM, self.interpolation, spread(self.op_set, listing.height, listing.width))
