"""Batched image augmentation: execute one program per image, bit for bit as Pillow 13.0.0 would on x86-64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ._library import native, not_compiled, when_loaded
from .augment_reference import augment_reference
from .images import Images, Source, check_image
from .program import (
    AFFINE_OPS,
    INTERPOLATION,
    MAX_SIDE,
    NAMES,
    OPCODES,
    VALUE_NAMES,
    Program,
    check_count,
    check_rows,
    require,
)

__all__ = ["OPCODES", "Program", "augment", "augment_reference", "image_op", "normalization_table"]

_SIDES = range(1, MAX_SIDE + 1)
PILLOW_13 = 13  # resize's pass order, the only point where the Pillow version shows


@not_compiled
def augment(
    images: Images,
    program: Program,
    *,
    table: Tensor | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
    out: Tensor | None = None,
) -> Tensor:
    """Run program i on image i and return its views, (views, B, C, height, width).

    On a GPU the host checks the programs and sends them without waiting, from page-locked memory; the bits are the
    same. Programs and table stay CPU tensors. A CUDA graph keeps those of its capture: a replay runs them on what the
    images hold then.

    Args:
        images: uint8 on the CPU or a GPU, C in {1, 3}: (B, C, H, W) of any strides, list of (C, H_i, W_i) or
            RaggedImages. No images in a list count as RGB.
        program: one program per image.
        table: (C, 256) lookup of float32, bfloat16 or float16 (see `normalization_table`); the result is uint8
            without, and has its dtype with one.
        memory_format: of every (B, C, height, width) view.
        out: the tensor to write and return, of the result's shape and dtype, every view contiguous or channels_last,
            apart from the images.

    Raises:
        ValueError: for a wrong dtype, shape, device or number of programs.
        RuntimeError, ValueError: (native, reference) where a step does not fit its image: a crop outside it, a view
            of another size.
    """
    source = Source.of("augment", images)
    require(isinstance(program, Program), f"augment: program must be a Program; got {type(program).__name__}")
    require(
        len(program) == len(source),
        f"augment: there must be one program per image; got {len(program)} for {len(source)} images",
    )
    _check_table(table, source.channels)
    shape = (program.views, len(source), source.channels, program.height, program.width)
    out = output("augment", source, shape, torch.uint8 if table is None else table.dtype, memory_format, out)
    return execute(source, images, program, table, out)


def execute(source: Source, images: Images, program: Program, table: Tensor | None, out: Tensor) -> Tensor:
    """`augment` of what has been checked."""
    if not native(source.device):
        return out.copy_(augment_reference(images, program, table=table))
    tensors = (program.opcodes, program.step_offsets, program.values, program.value_offsets)
    torch.ops.dssl_ops.augment.default(source.dense(), source.packed, *tensors, table, out)
    return out


def output(
    op: str,
    source: Source,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    out: Tensor | None,
) -> Tensor:
    """`out` if it can take views of this shape (views, B, C, height, width) and dtype, or a new tensor for them."""
    require(
        memory_format in (torch.contiguous_format, torch.channels_last),
        f"{op}: memory_format must be contiguous_format or channels_last; got {memory_format}",
    )
    if out is None:
        if memory_format == torch.contiguous_format:
            return torch.empty(shape, dtype=dtype, device=source.device)
        views, batch, channels, height, width = shape
        return torch.empty((views, batch, height, width, channels), dtype=dtype, device=source.device).permute(
            0, 1, 4, 2, 3
        )
    require(
        memory_format == torch.contiguous_format,
        f"{op}: out says its own memory format; got memory_format {memory_format} besides",
    )
    good = isinstance(out, Tensor) and out.shape == shape and out.dtype == dtype and out.device == source.device
    where = "the CPU" if source.device.type == "cpu" else source.device
    require(good, f"{op}: out must be {dtype} {shape} on {where}; got {_described(out)}")
    dense = out.is_contiguous() or out.permute(0, 1, 3, 4, 2).is_contiguous()
    require(dense, f"{op}: every view of out must be contiguous or channels_last; got strides {out.stride()}")
    require(not out.requires_grad, f"{op}: out must not require a gradient; got one that does")
    require(not source.overlaps(out), f"{op}: out must not share memory with the images; got one that does")
    if not out.is_inference():  # a backward that kept what is now overwritten shall say so
        torch.autograd.graph.increment_version(out)
    return out


def _described(out: object) -> str:
    return f"{out.dtype} {tuple(out.shape)} on {out.device}" if isinstance(out, Tensor) else type(out).__name__


@when_loaded
def _register_fake() -> None:
    for op in ("augment", "augment_drawn"):
        torch.library.register_fake(f"dssl_ops::{op}", lambda *_: None)


@not_compiled
def image_op(
    images: Tensor,
    name: str,
    values: float | Sequence[float] | Tensor | None = None,
    size: tuple[int, int] | None = None,
    interpolation: str | None = None,
) -> Tensor:
    """Apply one named step to every image: (B, C, H, W) uint8 to (B, C, H, W), or of `size` for ResizedCrop.

    Names and values: AutoContrast, Equalize, Invert, Grayscale, HorizontalFlip, Identity: none; Posterize:
    bits 0..8 (0: black); Solarize: threshold; SolarizeAdd: addend (the authors' form, on all pixels); Brightness,
    Contrast, Color, Sharpness: factor (PIL.ImageEnhance); Hue: shift in [-0.5, 0.5] (torchvision on PIL); Rotate:
    degrees counter-clockwise (Image.rotate); ShearX, ShearY: s of the matrix (1 s 0; 0 1 0); TranslateX,
    TranslateY: pixels t of (1 0 t; 0 1 0) (Image.transform); Cutout: x0 y0 x1 y1, both ends painted (125, 123,
    114); GaussianBlur: sigma (ImageFilter.GaussianBlur); ResizedCrop: top left height width, with size=(H, W);
    Jigsaw: the n x n permutation, row-major, tile k of the result = tile values[k] of the source.

    Args:
        images: (B, C, H, W) uint8, C in {1, 3}.
        name: of the step.
        values: a number for all images, (B,) for steps with one value, (P,) for all images or (B, P) for steps with P
            values.
        size: (height, width) of the result, for ResizedCrop alone.
        interpolation: "nearest" (the default), "bilinear" or "bicubic" for the affine steps; "bilinear" (the default)
            or "bicubic" for ResizedCrop.

    Raises:
        ValueError: for anything else, with the step's name.
    """
    check_image("image_op", "images", images, "(B, C, H, W)")
    known = [step for step in NAMES if step not in ("Source", "Emit")]
    require(name in known, f"image_op: unknown step {name!r}; known are {', '.join(known)}")
    require(
        (size is not None) == (name == "ResizedCrop"),
        f"image_op: size=(height, width) goes with ResizedCrop only; got {size} for {name}",
    )
    require(
        size is None or (isinstance(size, Sequence) and len(size) == 2 and all(side in _SIDES for side in size)),
        f"image_op: size must be (height, width), each in 1..{MAX_SIDE}; got {size!r}",
    )
    rows = _rows(name, values, len(images))
    height, width = size or images.shape[2:]
    tail = _tail(name, size, interpolation)
    check_count("image_op", name, rows.shape[1] + len(tail))
    rows = np.concatenate([rows, np.broadcast_to(tail, (len(rows), len(tail)))], axis=1)
    check_rows("image_op", name, rows)
    _check_fit(name, rows, images.shape[2:])
    return augment(images, _one_step_program(name, rows, height, width))[0]


def _rows(name: str, values: float | Sequence[float] | Tensor | None, batch: int) -> np.ndarray:
    """values as float64 (batch, P)."""
    if values is None:
        return np.zeros((batch, 0))
    try:
        tensor = torch.as_tensor(values, device="cpu").detach()
        array = tensor.to(torch.float64).numpy() if torch.can_cast(tensor.dtype, torch.float64) else None
    except (TypeError, ValueError, RuntimeError):
        array = None
    if array is None:
        raise ValueError(f"image_op: values of {name} must be numbers; got {values!r}")
    if array.ndim == 1:
        single = len(VALUE_NAMES[name]) - (name in AFFINE_OPS) == 1 and name != "Jigsaw"
        array = array[:, None] if single else array[None].repeat(batch, axis=0)
    elif array.ndim == 0:
        array = np.full((batch, 1), array)
    require(
        array.ndim == 2 and len(array) == batch,
        f"image_op: values of {name} must be a number, ({batch},) or ({batch}, P); got {tuple(array.shape)}",
    )
    return array


def _tail(name: str, size: tuple[int, int] | None, interpolation: str | None) -> list[int]:
    """The values that follow from size and interpolation."""
    if name not in AFFINE_OPS and name != "ResizedCrop":
        require(interpolation is None, f"image_op: {name} takes no interpolation; got {interpolation!r}")
        return []
    interpolation = interpolation or ("bilinear" if name == "ResizedCrop" else "nearest")
    number = interpolation_number("image_op", interpolation)
    return [*(size or ()), number, PILLOW_13] if name == "ResizedCrop" else [number]


def _check_fit(name: str, rows: np.ndarray, side: Sequence[int]) -> None:
    """Steps that must fit the image: a crop box inside it, a jigsaw whose tiles are not empty and swap sizes."""
    height, width = side
    if name == "ResizedCrop":
        inside = (rows[:, 0] + rows[:, 2] <= height) & (rows[:, 1] + rows[:, 3] <= width)
        require(
            bool(inside.all()),
            f"image_op: ResizedCrop box must lie inside {height}x{width}; got {rows[~inside][:1, :4].tolist()}",
        )
    if name == "Jigsaw" and len(rows):
        grid = math.isqrt(rows.shape[1])
        require(
            grid <= min(height, width),
            f"image_op: Jigsaw grid must be at most the side; got {grid} for {height}x{width}",
        )
        sizes = tile_sizes(grid, height, width)
        require(
            bool((sizes[rows.astype(np.int64)] == sizes).all()),
            f"image_op: Jigsaw must move tiles among tiles of equal size; {grid} does not divide {height}x{width}",
        )


def tile_sizes(grid: int, height: int, width: int) -> np.ndarray:
    """(grid * grid, 2) height and width of every tile, row-major; edges are floor(side * i / grid)."""
    rows, columns = (np.diff(side * np.arange(grid + 1) // grid) for side in (height, width))
    return np.stack([rows.repeat(grid), np.tile(columns, grid)], axis=1)


def interpolation_number(op: str, interpolation: str) -> int:
    """Pillow's number of the named filter; raises ValueError for an unknown name."""
    require(
        interpolation in INTERPOLATION,
        f"{op}: interpolation must be one of {', '.join(INTERPOLATION)}; got {interpolation!r}",
    )
    return INTERPOLATION[interpolation]


def _one_step_program(name: str, rows: np.ndarray, height: int, width: int) -> Program:
    batch, count = rows.shape
    values = np.concatenate([rows, np.zeros((batch, 1))], axis=1)  # the zero: Emit(0)
    lengths = np.tile([count, 1], batch)
    return Program(
        torch.tensor([OPCODES[name], OPCODES["Emit"]], dtype=torch.int32, device="cpu").repeat(batch),
        torch.arange(batch + 1, device="cpu") * 2,
        torch.from_numpy(values.ravel()),
        torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])),
        1,
        int(height),
        int(width),
    )


def normalization_table(
    mean: Sequence[float], std: Sequence[float], channels: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """(channels, 256) normalised value of every byte: (v * float32(1 / 255) - mean) / std in float32, then `dtype`.

    Each operation is rounded on its own, as torchvision's ToDtype(scale=True) and Normalize do, bit for bit.
    One mean and std serve all channels. Raises ValueError where their number does not fit.
    """
    means, stds = (torch.tensor(row, dtype=torch.float32, device="cpu").reshape(-1, 1) for row in (mean, std))
    require(
        len(means) == len(stds) and len(means) in (1, channels),
        f"Normalize: mean and std must have {channels} numbers each; got {len(means)} and {len(stds)}",
    )
    scaled = torch.arange(256, dtype=torch.float32, device="cpu").expand(channels, 256) * (1.0 / 255.0)
    return ((scaled - means) / stds).to(dtype)


def _check_table(table: Tensor | None, channels: int) -> None:
    if table is None:
        return
    require(
        isinstance(table, Tensor) and table.dtype in (torch.float32, torch.bfloat16, torch.float16),
        f"augment: table must be float32, bfloat16 or float16; got {getattr(table, 'dtype', type(table).__name__)}",
    )
    require(
        table.shape == (channels, 256)
        and table.is_contiguous()
        and not table.requires_grad
        and table.device.type == "cpu",
        f"augment: table must be a contiguous ({channels}, 256) CPU tensor without gradient; "
        f"got {tuple(table.shape)} on {table.device}",
    )
