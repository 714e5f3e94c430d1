"""A step of a program in words: name and values as one would say them."""

import math
from collections.abc import Callable

FACTORS = ("Brightness", "Contrast", "Color", "Sharpness")


def told(name, values):
    """Such as 'Rotate 5.0° left', 'Posterize to 1 bit', 'ResizedCrop 120x140 at 12, 33 to 224x224'."""
    return f"{name} {WORDS[name](*values)}" if name in WORDS else name


def side(s, _):
    return f"by {s:+.3f}"


def cutout(x0, y0, x1, y1):
    return f"{x1 - x0:.3g}x{y1 - y0:.3g} at {x0:.3g}, {y0:.3g}"


def crop(top, left, height, width, out_height, out_width, *_):
    return f"{width:g}x{height:g} at {left:g}, {top:g} to {out_width:g}x{out_height:g}"


def jigsaw(*permutation):
    grid = math.isqrt(len(permutation))
    tiles = " ".join(f"{tile:g}" for tile in permutation)
    return f"{grid}x{grid}: {tiles}" if grid <= 4 else f"{grid}x{grid}"


WORDS: dict[str, Callable[..., str]] = {
    **dict.fromkeys(FACTORS, lambda factor: f"x {factor:.2f}"),
    "Posterize": lambda bits: f"to {bits:g} bit{'s' * (bits != 1)}",
    "Solarize": lambda threshold: f"from {threshold:.4g}",
    "SolarizeAdd": lambda addend: f"{addend:+.3g}",
    "Hue": lambda shift: f"{shift:+.3f}",
    "Rotate": lambda degrees, _: f"{abs(degrees):.1f}° {'left' if degrees >= 0 else 'right'}",
    "ShearX": side,
    "ShearY": side,
    "TranslateX": lambda t, _: f"{abs(t):.1f} px {'left' if t >= 0 else 'right'}",
    "TranslateY": lambda t, _: f"{abs(t):.1f} px {'up' if t >= 0 else 'down'}",
    "Cutout": cutout,
    "GaussianBlur": lambda sigma: f"sigma {sigma:.2f}",
    "ResizedCrop": crop,
    "Jigsaw": jigsaw,
}
