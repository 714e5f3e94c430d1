"""The definition of every step: the same program run by Pillow, image by image.

It serves where there is no compiler, and the compiled engine is tested against it bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from .images import Images, Source
from .program import MAX_PIXELS, Program


def augment_reference(
    images: Images,
    program: Program,
    *,
    table: Tensor | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """`augment` through Pillow: (views, B, C, height, width), on the CPU, of a batch, a list or RaggedImages."""
    source = Source.of("augment_reference", images)
    views = np.empty((program.views, len(source), program.height, program.width, source.channels), dtype=np.uint8)
    for index, image in enumerate(images):
        _run(image.permute(1, 2, 0).contiguous().cpu().numpy(), program.steps(index), views[:, index])
    result = torch.from_numpy(views).permute(0, 1, 4, 2, 3)
    if table is not None:
        result = torch.stack([table[c][result[:, :, c].long()] for c in range(source.channels)], dim=2)
    if memory_format == torch.channels_last:
        return result.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return result.contiguous()


def _run(array: np.ndarray, steps: list[tuple[str, tuple[float, ...]]], views: np.ndarray) -> None:
    source = image = Image.fromarray(array if array.shape[2] == 3 else array[:, :, 0])
    for name, values in steps:
        if name == "Source":
            image = source
        elif name == "Emit":
            if image.size != views.shape[2:0:-1]:
                raise ValueError(
                    f"augment: Emit needs an image of {views.shape[1]}x{views.shape[2]}; "
                    f"got {image.height}x{image.width}"
                )
            views[int(values[0])] = np.asarray(image).reshape(views.shape[1:])
        else:
            if name == "ResizedCrop":
                _check_area(values, max(source.width * source.height, views.shape[1] * views.shape[2]))
            image = _STEPS[name](image, *values)


def _check_area(values: tuple[float, ...], area: int) -> None:
    most = max(MAX_PIXELS, area)
    box_height, box_width, out_height, out_width = map(int, values[2:6])
    between = _between_passes(box_height, box_width, out_height, out_width, values[7])
    for width, height in ((out_width, out_height), between):
        if width * height > most:
            raise ValueError(f"augment: ResizedCrop may need no image of more than {most} pixels; got {values}")


def _between_passes(height: int, width: int, out_height: int, out_width: int, pil_compat: float) -> tuple[int, int]:
    """Width and height after the first pass: since Pillow 13.0.0 the vertical one comes first where it removes more
    than twice the rows that the other removes columns."""
    vertical_first = pil_compat >= 13 and height > out_height and height - out_height > 2 * (width - out_width)
    return (width, out_height) if vertical_first else (out_width, height)


def _grayscale(image: Image.Image) -> Image.Image:
    return image.convert("L").convert(image.mode)


def _posterize(image: Image.Image, bits: float) -> Image.Image:
    # 0 bits: black as in Pillow <= 12; Pillow 13 raises.
    return ImageOps.posterize(image, int(bits)) if bits >= 1 else Image.new(image.mode, image.size)


def _solarize_add(image: Image.Image, addend: float) -> Image.Image:
    added = np.clip(np.asarray(image, dtype=np.float64) + addend, 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(added), 128)


def _enhance(enhancer: Callable) -> Callable:
    return lambda image, factor: enhancer(image).enhance(factor)


def _hue(image: Image.Image, shift: float) -> Image.Image:
    # torchvision's adjust_hue for PIL images: the byte-wide hue circle, shift truncated to a whole byte.
    if image.mode == "L":
        return image
    hsv = np.array(image.convert("HSV"))
    hsv[:, :, 0] += np.uint8(int(shift * 255) % 256)
    return Image.fromarray(hsv, "HSV").convert("RGB")


def _affine(matrix: Callable[[float], tuple]) -> Callable:
    def step(image: Image.Image, amount: float, interpolation: float) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, matrix(amount), int(interpolation))

    return step


def _rotate(image: Image.Image, degrees: float, interpolation: float) -> Image.Image:
    return image.rotate(degrees, Image.Resampling(int(interpolation)))


def _cutout(image: Image.Image, x0: float, y0: float, x1: float, y1: float) -> Image.Image:
    image = image.copy()
    colour = (125, 123, 114) if image.mode == "RGB" else 123
    ImageDraw.Draw(image).rectangle((x0, y0, x1, y1), fill=colour)
    return image


def _gaussian_blur(image: Image.Image, sigma: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(sigma))


def _resized_crop(image: Image.Image, *values: float) -> Image.Image:
    top, left, height, width, out_height, out_width, interpolation, pil_compat = map(int, values)
    if top < 0 or left < 0 or top + height > image.height or left + width > image.width:
        raise ValueError(
            f"augment: ResizedCrop box must lie inside {image.height}x{image.width}; got {[top, left, height, width]}"
        )
    image = image.crop((left, top, left + width, top + height))
    # One axis at a time, so that the pass order is pil_compat's and not that of the Pillow at hand.
    middle = _between_passes(height, width, out_height, out_width, pil_compat)
    return image.resize(middle, interpolation).resize((out_width, out_height), interpolation)


def _jigsaw(image: Image.Image, *permutation: float) -> Image.Image:
    grid = math.isqrt(len(permutation))
    source = np.asarray(image)
    if grid > min(source.shape[:2]):
        raise ValueError(f"augment: Jigsaw grid must be at most the side; got {grid} for {image.height}x{image.width}")
    rows, columns = ([side * i // grid for i in range(grid + 1)] for side in source.shape[:2])
    tiles = [(slice(*y), slice(*x)) for y in zip(rows, rows[1:]) for x in zip(columns, columns[1:])]
    result = np.empty_like(source)
    for tile, origin in zip(tiles, permutation):
        if result[tile].shape != source[tiles[int(origin)]].shape:
            raise ValueError(
                f"augment: Jigsaw must move tiles among tiles of equal size; got grid {grid} for "
                f"{source.shape[0]}x{source.shape[1]}"
            )
        result[tile] = source[tiles[int(origin)]]
    return Image.fromarray(result)


_STEPS: dict[str, Callable[..., Image.Image]] = {
    "Identity": lambda image: image,
    "AutoContrast": ImageOps.autocontrast,
    "Equalize": ImageOps.equalize,
    "Invert": ImageOps.invert,
    "Grayscale": _grayscale,
    "HorizontalFlip": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "Posterize": _posterize,
    "Solarize": ImageOps.solarize,
    "SolarizeAdd": _solarize_add,
    "Brightness": _enhance(ImageEnhance.Brightness),
    "Contrast": _enhance(ImageEnhance.Contrast),
    "Color": _enhance(ImageEnhance.Color),
    "Sharpness": _enhance(ImageEnhance.Sharpness),
    "Hue": _hue,
    "Rotate": _rotate,
    "ShearX": _affine(lambda s: (1, s, 0, 0, 1, 0)),
    "ShearY": _affine(lambda s: (1, 0, 0, s, 1, 0)),
    "TranslateX": _affine(lambda t: (1, 0, t, 0, 1, 0)),
    "TranslateY": _affine(lambda t: (1, 0, 0, 0, 1, t)),
    "Cutout": _cutout,
    "GaussianBlur": _gaussian_blur,
    "ResizedCrop": _resized_crop,
    "Jigsaw": _jigsaw,
}
