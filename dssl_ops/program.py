"""A program per image: the list of steps (opcode, values) that makes the image's views."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

_AFFINE = ("interpolation",)

# Every step in the order of its opcode, with the names of its values; Jigsaw takes n * n of them.
VALUE_NAMES: dict[str, tuple[str, ...]] = {
    "Identity": (),
    "AutoContrast": (),
    "Equalize": (),
    "Invert": (),
    "Grayscale": (),
    "HorizontalFlip": (),
    "Posterize": ("bits",),
    "Solarize": ("threshold",),
    "SolarizeAdd": ("addend",),
    "Brightness": ("factor",),
    "Contrast": ("factor",),
    "Color": ("factor",),
    "Sharpness": ("factor",),
    "Hue": ("shift",),
    "Rotate": ("degrees", *_AFFINE),
    "ShearX": ("s", *_AFFINE),
    "ShearY": ("s", *_AFFINE),
    "TranslateX": ("t", *_AFFINE),
    "TranslateY": ("t", *_AFFINE),
    "Cutout": ("x0", "y0", "x1", "y1"),
    "GaussianBlur": ("sigma",),
    "ResizedCrop": ("top", "left", "height", "width", "out_height", "out_width", "interpolation", "pil_compat"),
    "Jigsaw": ("permutation",),
    "Source": (),
    "Emit": ("view",),
}
OPCODES: dict[str, int] = {name: opcode for opcode, name in enumerate(VALUE_NAMES)}
NAMES: tuple[str, ...] = tuple(OPCODES)
AFFINE_OPS = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
INTERPOLATION = {"nearest": 0, "bilinear": 2, "bicubic": 3}  # Pillow's numbers
MAX_SIDE, MAX_VIEWS, MAX_GRID, MAX_VALUE = 1 << 15, 64, 64, 1e9  # what the compiled engine takes
MAX_PIXELS = 1 << 24  # of an image on the way from source to view, unless one of these has more
_COUNTS = np.array([-1 if name == "Jigsaw" else len(names) for name, names in VALUE_NAMES.items()])


def require(condition: bool, message: str) -> None:
    """Raise ValueError with the one-line message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def check_rows(op: str, name: str, rows: np.ndarray) -> None:
    """Check the values of one named step; rows is (N, P) float64, one row per step.

    Raises ValueError: a number that is not finite or not below 1e9, or that Pillow's operation is not defined for.
    """
    finite = np.abs(rows) < MAX_VALUE  # NaN is not
    if not finite.all():
        labels = VALUE_NAMES[name]
        label = labels[min(int(np.argwhere(~finite)[0][1]), len(labels) - 1)]
        raise ValueError(f"{op}: {label} of {name} must be finite and below {MAX_VALUE:g}; got {rows[~finite][0]}")
    if name in _RULES:
        expected, holds = _RULES[name]
        good = holds(rows)
        require(bool(good.all()), f"{op}: {name} needs {expected}; got {rows[~good][:1].tolist()}")
    if name in AFFINE_OPS:
        good = np.isin(rows[:, 1], (0, 2, 3))
        require(bool(good.all()), f"{op}: interpolation of {name} must be 0, 2 or 3; got {rows[~good, 1][:1].tolist()}")


def _whole(values: np.ndarray) -> np.ndarray:
    return values == np.floor(values)


def _permutes(rows: np.ndarray) -> np.ndarray:
    square = math.isqrt(rows.shape[1]) ** 2 == rows.shape[1]
    return (np.sort(rows, axis=1) == np.arange(rows.shape[1])).all(1) & square & (0 < rows.shape[1] <= MAX_GRID**2)


_RULES = {
    "Posterize": ("whole bits in 0..8", lambda r: _whole(r[:, 0]) & (r[:, 0] >= 0) & (r[:, 0] <= 8)),
    "Hue": ("a shift in [-0.5, 0.5]", lambda r: abs(r[:, 0]) <= 0.5),
    "Cutout": ("x0 <= x1 and y0 <= y1", lambda r: (r[:, 0] <= r[:, 2]) & (r[:, 1] <= r[:, 3])),
    "GaussianBlur": ("a sigma in [0, 1000]", lambda r: (r[:, 0] >= 0) & (r[:, 0] <= 1000)),
    "ResizedCrop": (
        "a whole box and output of at least 1x1, top and left >= 0, interpolation 2 or 3, pil_compat 12 or 13",
        lambda r: (
            _whole(r).all(1)
            & (r[:, :2] >= 0).all(1)
            & (r[:, 2:6] >= 1).all(1)
            & np.isin(r[:, 6], (2, 3))
            & np.isin(r[:, 7], (12, 13))
        ),
    ),
    "Jigsaw": (f"a permutation of 0..n*n-1 with n in 1..{MAX_GRID}", _permutes),
}


@dataclass(frozen=True, eq=False, repr=False)
class Program:
    """Programs of a batch of B images as CSR tensors on the CPU; `Emit(k)` writes view k, `Source` starts again.

    Image i runs steps step_offsets[i]..step_offsets[i+1]; step s has values[value_offsets[s]:value_offsets[s+1]].
    Every program emits each of the views 0..views-1 (64 at most) once, all of height x width.

    Args:
        opcodes: int32 (S,), of all images' steps.
        step_offsets: int64 (B+1,).
        values: float64 (V,).
        value_offsets: int64 (S+1,).
        views, height, width: of what a program makes.

    Raises:
        ValueError: where a tensor breaks this form.
    """

    opcodes: Tensor
    step_offsets: Tensor
    values: Tensor
    value_offsets: Tensor
    views: int
    height: int
    width: int

    def __post_init__(self) -> None:
        _check_tensor("opcodes", self.opcodes, torch.int32)
        _check_tensor("step_offsets", self.step_offsets, torch.int64)
        _check_tensor("values", self.values, torch.float64)
        _check_tensor("value_offsets", self.value_offsets, torch.int64)
        require(
            all(hasattr(number, "__index__") for number in (self.views, self.height, self.width))
            and 1 <= self.views <= MAX_VIEWS
            and 1 <= min(self.height, self.width) <= max(self.height, self.width) <= MAX_SIDE,
            f"Program: views must be in 1..{MAX_VIEWS}, height and width in 1..{MAX_SIDE}; "
            f"got {self.views!r}, {self.height!r}, {self.width!r}",
        )
        opcodes = self.opcodes.numpy()
        known = (opcodes >= 0) & (opcodes < len(NAMES))
        require(
            bool(known.all()), f"Program: opcodes must be in 0..{len(NAMES) - 1}; got {opcodes[~known][:1].tolist()}"
        )
        _check_offsets("step_offsets", self.step_offsets.numpy(), len(opcodes))
        _check_offsets("value_offsets", self.value_offsets.numpy(), self.values.numel())
        require(
            self.value_offsets.numel() == len(opcodes) + 1,
            f"Program: value_offsets must have one entry per step and one more, {len(opcodes) + 1}; "
            f"got {self.value_offsets.numel()}",
        )
        self._check_counts(opcodes)
        self._check_emits(opcodes)

    def _check_counts(self, opcodes: np.ndarray) -> None:
        counts, expected = np.diff(self.value_offsets.numpy()), _COUNTS[opcodes]
        wrong = np.flatnonzero((counts != expected) & (expected >= 0))
        if len(wrong):
            name = NAMES[opcodes[wrong[0]]]
            raise ValueError(
                f"Program: {name} takes {len(VALUE_NAMES[name])} values {VALUE_NAMES[name]}; got {counts[wrong[0]]}"
            )

    def _check_emits(self, opcodes: np.ndarray) -> None:
        is_emit = opcodes == OPCODES["Emit"]
        views = self.values.numpy()[self.value_offsets.numpy()[:-1][is_emit]]
        good = np.isin(views, np.arange(self.views))
        require(
            bool(good.all()), f"Program: Emit must name a view in 0..{self.views - 1}; got {views[~good][:1].tolist()}"
        )
        image = np.repeat(np.arange(len(self)), np.diff(self.step_offsets.numpy()))[is_emit]
        emits = np.bincount(image * self.views + views.astype(np.int64), minlength=len(self) * self.views)
        bad = np.flatnonzero(emits != 1)[:1]
        require(
            len(bad) == 0,
            f"Program: every image must emit each of its {self.views} views once; "
            f"got {emits[bad].tolist()} times view {(bad % self.views).tolist()} of image "
            f"{(bad // self.views).tolist()}",
        )

    @classmethod
    def from_steps(cls, programs: Iterable[Sequence[tuple[str, Sequence[float]]]], size: tuple[int, int]) -> Program:
        """One list of (name, values) per image; size = (height, width) of every emitted view, views counted from Emit.

        A list without Emit gets `("Emit", (0,))` at its end. Raises ValueError for an unknown name or bad values.
        """
        lists = [list(steps) for steps in programs]
        for steps in lists:
            if all(name != "Emit" for name, _ in steps):
                steps.append(("Emit", (0,)))
        flat = [(name, tuple(map(float, values))) for steps in lists for name, values in steps]
        for name, values in flat:
            require(name in OPCODES, f"Program: unknown step {name!r}; known are {', '.join(NAMES)}")
            check_count("Program", name, len(values))
            check_rows("Program", name, np.array([values], dtype=np.float64))
        return cls(
            torch.tensor([OPCODES[name] for name, _ in flat], dtype=torch.int32, device="cpu"),
            _offsets(len(steps) for steps in lists),
            torch.tensor([value for _, values in flat for value in values], dtype=torch.float64, device="cpu"),
            _offsets(len(values) for _, values in flat),
            1 + max((int(values[0]) for name, values in flat if name == "Emit"), default=0),
            *(int(side) if hasattr(side, "__index__") else side for side in size),
        )

    @classmethod
    def drawn(cls, *fields: Tensor | int) -> Program:
        """Of what the sampler made, whose form needs no check."""
        program = object.__new__(cls)
        for name, value in zip(cls.__dataclass_fields__, fields, strict=True):
            object.__setattr__(program, name, value)
        return program

    def __len__(self) -> int:
        return self.step_offsets.numel() - 1

    def steps(self, index: int) -> list[tuple[str, tuple[float, ...]]]:
        """The steps of image `index` as (name, values); names of the values are in VALUE_NAMES."""
        index = range(len(self))[index]
        first, last = self.step_offsets[index : index + 2].tolist()
        ends = self.value_offsets[first : last + 1].tolist()
        values = self.values[ends[0] : ends[-1]].tolist()
        return [
            (NAMES[opcode], tuple(values[start - ends[0] : end - ends[0]]))
            for opcode, start, end in zip(self.opcodes[first:last].tolist(), ends, ends[1:])
        ]

    def __repr__(self) -> str:
        shown = min(len(self), 4)
        head = f"Program of {len(self)} images, {self.views} views of {self.height}x{self.width}"
        lines = [f"  {i}: {' > '.join(_format(*step) for step in self.steps(i))}" for i in range(shown)]
        return "\n".join([head, *lines, *(["  ..."] if shown < len(self) else [])])

    def to_json(self) -> str:
        """Text that `from_json` turns into the same program, bit for bit."""
        steps = [self.steps(index) for index in range(len(self))]
        return json.dumps({"size": [self.height, self.width], "views": self.views, "programs": steps})

    @classmethod
    def from_json(cls, text: str) -> Program:
        """The program that `to_json` wrote. Raises ValueError for other text."""
        try:
            record = json.loads(text)
            height, width = record["size"]
            program = cls.from_steps(record["programs"], (height, width))
            return replace(program, views=record["views"])
        except (TypeError, KeyError, ValueError, OverflowError, RecursionError) as error:
            if str(error).startswith("Program: "):
                raise
            raise ValueError(f"Program: expected the JSON of a program; got {text!r:.80}: {error!r}") from None


def check_count(op: str, name: str, count: int) -> None:
    """Raise ValueError unless the named step takes `count` values."""
    names = VALUE_NAMES[name]
    require(name == "Jigsaw" or count == len(names), f"{op}: {name} takes {len(names)} values {names}; got {count}")


def _check_tensor(label: str, tensor: Tensor, dtype: torch.dtype) -> None:
    good = isinstance(tensor, Tensor) and tensor.dtype == dtype and tensor.dim() == 1
    good = good and tensor.device.type == "cpu" and tensor.is_contiguous()
    came = (
        f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
        if isinstance(tensor, Tensor)
        else type(tensor).__name__
    )
    require(good, f"Program: {label} must be a contiguous 1-D {dtype} CPU tensor; got {came}")


def _check_offsets(label: str, offsets: np.ndarray, total: int) -> None:
    good = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == total and bool((np.diff(offsets) >= 0).all())
    require(
        good, f"Program: {label} must rise from 0 to {total}; got {offsets[:8].tolist()}{'...' * (len(offsets) > 8)}"
    )


def _offsets(counts: Iterable[int]) -> Tensor:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(list(counts), dtype=np.int64)]))


def _format(name: str, values: tuple[float, ...]) -> str:
    return f"{name}({', '.join(f'{value:g}' for value in values)})" if values else name
