"""The lists of operations that RandAugment and UniformAugment draw from, with the number each has at magnitude m.

`author16` is the list of the paper's code (that of ildoonet/pytorch-randaugment): magnitude / 30 of each range,
translation and cutout in absolute pixels. `ra14` is torchvision's (the list of the RandAugment paper). `ua15` is
UniformAugment's (that of tgilewicz/uniformaugment): the authors' without SolarizeAdd, with translation and cutout as
parts of the side and 4 to 8 bits. They differ in operations and in strength, so a result should say which one it used.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch

from .augment_sample import BITS, CUTOUT, NO_VALUE, PLAIN, TRUNCATED
from .program import OPCODES, require

LARGEST = 30  # magnitude


class Entry(NamedTuple):
    """One operation: its value is base + m or base - m (a fair coin, if signed) with m uniform in [low, high).

    kind says what becomes of the number: used as it is, truncated to a whole one, truncated to at least 1 bit, the
    side of a cutout, or none is used.
    """

    name: str
    base: float = 0.0
    low: float = 0.0
    high: float = 0.0
    signed: bool = False
    kind: int = PLAIN

    def words(self) -> list[float]:
        return [float(number) for number in (OPCODES[self.name], *self[1:])]


def _exactly(name: str, magnitude: float, *, base: float = 0.0, signed: bool = False, kind: int = PLAIN) -> Entry:
    return Entry(name, base, float(magnitude), float(magnitude), signed, kind)


def _without_value(name: str) -> Entry:
    return Entry(name, kind=NO_VALUE)


def _size(op_set: str, height: int | None, width: int | None) -> tuple[int, int]:
    if height is None or width is None:
        raise ValueError(
            f"RandAugment: {op_set} translates by a part of the side, so images must have one size here; "
            "put a RandomResizedCrop before it"
        )
    return height, width


@lru_cache
def author16(m: float, height: int | None, width: int | None) -> tuple[Entry, ...]:
    """The authors' 16 operations at magnitude m in [0, 30]; value = m / 30 * (high - low) + low, whatever the size."""

    def at(low: float, high: float) -> float:
        return (float(m) / 30) * float(high - low) + low

    return (
        _without_value("AutoContrast"),
        _without_value("Equalize"),
        _without_value("Invert"),
        _exactly("Rotate", at(0, 30), signed=True),
        _exactly("Posterize", at(0, 4), kind=BITS),
        _exactly("Solarize", at(0, 256)),
        _exactly("SolarizeAdd", at(0, 110)),
        _exactly("Color", at(0.1, 1.9)),
        _exactly("Contrast", at(0.1, 1.9)),
        _exactly("Brightness", at(0.1, 1.9)),
        _exactly("Sharpness", at(0.1, 1.9)),
        _exactly("ShearX", at(0.0, 0.3), signed=True),
        _exactly("ShearY", at(0.0, 0.3), signed=True),
        _exactly("Cutout", at(0, 40), kind=CUTOUT),
        _exactly("TranslateX", at(0.0, 100), signed=True),
        _exactly("TranslateY", at(0.0, 100), signed=True),
    )


@lru_cache
def ra14(m: float, height: int | None, width: int | None, bins: int = LARGEST + 1) -> tuple[Entry, ...]:
    """torchvision's 14 operations at magnitude bin m of `bins`, with the float32 values of RandAugment's own tables."""
    height, width = _size("ra14", height, width)
    require(m == int(m), f"RandAugment: m of ra14 is one of {bins} bins, a whole number in 0..{bins - 1}; got {m}")

    def at(low: float, high: float) -> float:
        return torch.linspace(low, high, bins, dtype=torch.float32, device="cpu")[int(m)].item()

    # torchvision turns the shear into an angle and back; each way of writing the tangent is F.affine's own.
    angle = math.radians(math.degrees(math.atan(at(0.0, 0.3))))
    enhance = at(0.0, 0.9)
    return (
        _without_value("Identity"),
        _exactly("ShearX", math.tan(angle), signed=True),
        _exactly("ShearY", math.sin(angle) / math.cos(angle), signed=True),
        _exactly("TranslateX", -at(0.0, 150.0 / 331.0 * width), signed=True, kind=TRUNCATED),
        _exactly("TranslateY", -at(0.0, 150.0 / 331.0 * height), signed=True, kind=TRUNCATED),
        _exactly("Rotate", at(0.0, 30.0), signed=True),
        _exactly("Brightness", enhance, base=1.0, signed=True),
        _exactly("Color", enhance, base=1.0, signed=True),
        _exactly("Contrast", enhance, base=1.0, signed=True),
        _exactly("Sharpness", enhance, base=1.0, signed=True),
        _exactly("Posterize", 8.5 - round(int(m) / ((bins - 1) / 4)), kind=TRUNCATED),
        _exactly("Solarize", at(255.0, 0.0)),
        _without_value("AutoContrast"),
        _without_value("Equalize"),
    )


@lru_cache
def ua15(m: float, height: int | None, width: int | None) -> tuple[Entry, ...]:
    """UniformAugment's 15 operations at magnitude m in [0, 30]; value = m / 30 * (high - low) + low, either sign."""
    height, width = _size("ua15", height, width)

    def at(low: float, high: float) -> float:
        return (float(m) / 30) * float(high - low) + low

    return (
        _exactly("ShearX", at(0.0, 0.3), signed=True),
        _exactly("ShearY", at(0.0, 0.3), signed=True),
        _exactly("TranslateX", at(0.0, 0.45 * width), signed=True),
        _exactly("TranslateY", at(0.0, 0.45 * height), signed=True),
        _exactly("Rotate", at(0, 30), signed=True),
        _without_value("AutoContrast"),
        _without_value("Invert"),
        _without_value("Equalize"),
        _exactly("Solarize", at(0, 256)),
        _exactly("Posterize", at(4, 8), kind=TRUNCATED),
        _exactly("Contrast", at(0.1, 1.9)),
        _exactly("Color", at(0.1, 1.9)),
        _exactly("Brightness", at(0.1, 1.9)),
        _exactly("Sharpness", at(0.1, 1.9)),
        _exactly("Cutout", at(0.0, 0.2 * width), kind=CUTOUT),
    )


OP_SETS = {"author16": author16, "ra14": ra14, "ua15": ua15}


@lru_cache
def spread(op_set: str, height: int | None, width: int | None) -> tuple[Entry, ...]:
    """The operations of the named set at any magnitude: each value uniform between those at 0 and at LARGEST."""
    least, most = (OP_SETS[op_set](m, height, width) for m in (0, LARGEST))
    return tuple(entry._replace(high=other.high) for entry, other in zip(least, most))
