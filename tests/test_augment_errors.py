"""Every kind of bad input gives one clear line: the op, what it expected, what came."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from checks import needs_native

from dssl_ops.augment import OPCODES, Program, augment, image_op
from dssl_ops.transforms import (
    Choice,
    ColorJitter,
    Compose,
    DirectedViews,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Jigsaw,
    MultiView,
    Normalize,
    RandAugment,
    RandomResizedCrop,
    Solarize,
    StandardView,
    Transform,
)

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def images(*shape, dtype=torch.uint8):
    return torch.zeros(shape, dtype=dtype)


class Unknown(Transform):
    def instructions(self, listing):
        listing.fixed("Blur", 1.0)


@dataclass  # not frozen: it compares by its fields and has no hash
class Changeable(Unknown):
    sigma: float = 1.0


RGB = images(2, 3, 8, 8)
ERRORS = [
    (
        lambda: image_op(images(2, 3, 8, 8, dtype=torch.float32), "Invert"),
        r"image_op: images must be uint8 .*got float32",
    ),
    (lambda: image_op(images(2, 2, 8, 8), "Invert"), r"image_op: .*C 1 or 3.*got uint8 \(2, 2, 8, 8\)"),
    (lambda: image_op(images(3, 8, 8), "Invert"), r"image_op: images must be .*got uint8 \(3, 8, 8\)"),
    (lambda: image_op(images(2, 3, 0, 8), "Invert"), r"image_op: .*sides of 1 to 32768; got uint8 \(2, 3, 0, 8\)"),
    (lambda: image_op(np.zeros((1, 3, 8, 8)), "Invert"), r"image_op: images must be .* got ndarray"),
    (lambda: image_op(RGB.to("meta"), "Invert"), r"image_op: images must be on the CPU or a CUDA device; got meta"),
    (lambda: image_op(RGB, "Sharpen", 1.0), r"image_op: unknown step 'Sharpen'; known are Identity, AutoContrast"),
    (lambda: image_op(RGB, "Emit", 0), r"image_op: unknown step 'Emit'"),
    (
        lambda: image_op(RGB, "Brightness", float("nan")),
        r"image_op: factor of Brightness must be finite and below 1e\+09; got nan",
    ),
    (lambda: image_op(RGB, "Brightness"), r"image_op: Brightness takes 1 values \('factor',\); got 0"),
    (lambda: image_op(RGB, "Brightness", "much"), r"image_op: values of Brightness must be numbers; got 'much'"),
    (
        lambda: image_op(RGB, "Brightness", [0.5, 0.5, 0.5]),
        r"image_op: values of Brightness must be .*\(2,\).*got \(3, 1\)",
    ),
    (lambda: image_op(RGB, "Invert", 3), r"image_op: Invert takes 0 values \(\); got 1"),
    (lambda: image_op(RGB, "Posterize", 9), r"image_op: Posterize needs whole bits in 0..8; got \[\[9.0\]\]"),
    (lambda: image_op(RGB, "Hue", 0.6), r"image_op: Hue needs a shift in \[-0.5, 0.5\]; got"),
    (lambda: image_op(RGB, "GaussianBlur", -1), r"image_op: GaussianBlur needs a sigma in \[0, 1000\]; got"),
    (lambda: image_op(RGB, "Cutout", (4, 0, 3, 0)), r"image_op: Cutout needs x0 <= x1 and y0 <= y1; got"),
    (
        lambda: image_op(RGB, "Rotate", 3, interpolation="lanczos"),
        r"image_op: interpolation must be one of .*got 'lanczos'",
    ),
    (
        lambda: image_op(RGB, "Invert", interpolation="nearest"),
        r"image_op: Invert takes no interpolation; got 'nearest'",
    ),
    (
        lambda: image_op(RGB, "ResizedCrop", (0, 0, 4, 4)),
        r"image_op: size=\(height, width\) goes with ResizedCrop only",
    ),
    (
        lambda: image_op(RGB, "ResizedCrop", (5, 0, 4, 4), size=(4, 4)),
        r"image_op: ResizedCrop box must lie inside 8x8; got",
    ),
    (lambda: image_op(RGB, "Jigsaw", range(100)), r"image_op: Jigsaw grid must be at most the side; got 10 for 8x8"),
    (
        lambda: image_op(RGB, "Jigsaw", (0, 0, 1, 2)),
        r"image_op: Jigsaw needs a permutation of 0..n\*n-1 with n in 1..64; got",
    ),
    (
        lambda: image_op(RGB, "Jigsaw", (1, 0, 2, 3, 4, 5, 6, 7, 8)),
        r"image_op: Jigsaw must move tiles among .* equal size",
    ),
    (lambda: augment(RGB, "program"), r"augment: program must be a Program; got str"),
    (
        lambda: augment(RGB, Program.from_steps([[]], (8, 8))),
        r"augment: there must be one program per image; got 1 for 2",
    ),
    (
        lambda: augment(RGB, Program.from_steps([[]] * 2, (8, 8)), table=torch.zeros(1, 256)),
        r"augment: table must be .*\(3, 256\)",
    ),
    (
        lambda: Program.from_steps([[("Emit", (0,)), ("Emit", (2,))]], (8, 8)),
        r"Program: every image must emit each of its 3 views once; got \[0\] times view \[1\]",
    ),
    (lambda: Program.from_steps([[("Blur", ())]], (8, 8)), r"Program: unknown step 'Blur'"),
    (lambda: Program.from_steps([[("Hue", (0, 1))]], (8, 8)), r"Program: Hue takes 1 values .*; got 2"),
    (
        lambda: Program.from_steps([[("Rotate", (1, 1))]], (8, 8)),
        r"Program: interpolation of Rotate must be 0, 2 or 3; got \[1.0\]",
    ),
    (lambda: augment(RGB, Program.from_steps([[]] * 2, (4, 8))), r"augment: .*Emit.*4 ?x ?8"),
    (lambda: RandAugment(0), r"RandAugment: n must be in 1..2048; got 0"),
    (lambda: RandAugment(2, 31), r"RandAugment: m must be in \[0, 30\]; got 31"),
    (lambda: RandAugment(2, float("nan")), r"RandAugment: m must be in \[0, 30\]; got nan"),
    (lambda: RandAugment(2, 4.5, "ra14"), r"RandAugment: m of ra14 must be whole; got 4.5"),
    (lambda: RandAugment(2, 5, "timm"), r"RandAugment: op_set must be one of author16, ra14, ua15; got 'timm'"),
    (lambda: RandAugment(2, 5, interpolation="cubic"), r"RandAugment: interpolation must be one of .*; got 'cubic'"),
    (lambda: Jigsaw(0), r"Jigsaw: grid must be in 1..64; got 0"),
    (lambda: Jigsaw(9)(RGB, seed=0), r"Jigsaw: grid must be at most the side; got 9 for images of 8x8"),
    (
        lambda: Jigsaw(4).sample([(8, 8), (9, 9)], seed=0),
        r"Jigsaw: images must have one size here; put a RandomResizedCrop",
    ),
    (lambda: RandAugment(op_set="ra14").sample([(8, 8), (9, 9)], seed=0), r"RandAugment: ra14 .* one size here"),
    (
        lambda: HorizontalFlip().sample([(8, 8), (9, 9)], seed=0),
        r"transforms: images of several sizes need a RandomResizedCrop",
    ),
    (lambda: HorizontalFlip(1.5), r"HorizontalFlip: p must be a probability in \[0, 1\]; got 1.5"),
    (lambda: Grayscale(float("nan")), r"Grayscale: p must be a probability in \[0, 1\]; got nan"),
    (lambda: Solarize("x"), r"Solarize: threshold must be a finite number; got 'x'"),
    (
        lambda: GaussianBlur((2.0, 0.1)),
        r"GaussianBlur: sigma must be \(low, high\) with 0 <= low <= high <= 1000; got \(2.0, 0.1\)",
    ),
    (lambda: ColorJitter(float("nan")), r"ColorJitter: brightness must be .*; got nan"),
    (lambda: ColorJitter(hue=0.6), r"ColorJitter: hue must be \(low, high\) with -0.5 <= low <= high <= 0.5; got 0.6"),
    (lambda: RandomResizedCrop(0), r"RandomResizedCrop: size must be .* in 1..32768; got 0"),
    (lambda: RandomResizedCrop(8, (0.0, 1.0)), r"RandomResizedCrop: scale must be at least 1e-09; got \(0.0, 1.0\)"),
    (
        lambda: RandomResizedCrop(8, interpolation="nearest"),
        r"RandomResizedCrop: interpolation must be bilinear or bicubic",
    ),
    (lambda: StandardView(8, pil_compat=11), r"RandomResizedCrop: pil_compat must be 12 or 13; got 11"),
    (lambda: StandardView(8, jitter=(1, 2)), r"StandardView: jitter must be \(brightness, contrast, saturation, hue\)"),
    (lambda: Compose((Normalize(0.5, 0.5), Jigsaw(2))), r"Compose: expected a transform; got Normalize"),
    (
        lambda: Choice((Jigsaw(2), Jigsaw(3)), (0.5, 0.6)),
        r"Choice: probabilities must be 2 numbers that add up to 1; got",
    ),
    (lambda: Choice(()), r"Choice: transforms must not be empty"),
    (lambda: Choice((RandomResizedCrop(4), Jigsaw(2)))(RGB, seed=0), r"Choice: all transforms must give one size; got"),
    (
        lambda: DirectedViews(StandardView(8), RandomResizedCrop(4))(RGB, seed=0),
        r"transforms: all views must have one size",
    ),
    (
        lambda: DirectedViews(Compose((Jigsaw(2), Normalize(0.5, 0.5))), Jigsaw(2)),
        r"DirectedViews: Normalize may only end",
    ),
    (lambda: MultiView(Jigsaw(2), 65), r"MultiView: views must be in 1..64; got 65"),
    (lambda: Normalize(MEAN, (1, 1, 0)), r"Normalize: std must be above 0; got"),
    (
        lambda: Compose((Normalize(MEAN, STD),))(images(1, 1, 8, 8), seed=0),
        r"Normalize: .* 1 numbers each; got 3 and 3",
    ),
    (lambda: Jigsaw(2)(images(2, 3, 8, 8, dtype=torch.int32), seed=0), r"transforms: images must be uint8 .*got int32"),
    (lambda: Jigsaw(2)(RGB, seed=0.5), r"transforms: seed must be a whole number in .*; got 0.5"),
    (lambda: Jigsaw(2)(RGB, seed=2**64), r"transforms: seed must be a whole number in .*; got 18446744073709551616"),
    (lambda: Jigsaw(2)(RGB, seed=0, epoch=-1), r"transforms: epoch must be a whole number in 0..4294967295; got -1"),
    (lambda: Jigsaw(2)(RGB, seed=0, view=256), r"transforms: view must be a whole number in 0..255; got 256"),
    (
        lambda: Jigsaw(2)(RGB, seed=0, sample_ids=[1]),
        r"transforms: sample_ids must be \(2,\) int64; got torch.int64 \(1,\)",
    ),
    (
        lambda: Jigsaw(2)(RGB, seed=0, sample_ids=[1.0, 2.0]),
        r"transforms: sample_ids must be \(2,\) int64; got torch.float32",
    ),
    (lambda: Changeable()(RGB, seed=0), r"transforms: Changeable must be hashable, as a frozen dataclass is"),
    (lambda: Unknown()(RGB, seed=0), r"transforms: unknown step 'Blur'; known are Identity, .*"),
    (lambda: Program.from_json("{}"), r"Program: expected the JSON of a program; got '{}': KeyError\('size'\)"),
    (lambda: Program.from_json("[1, 2"), r"Program: expected the JSON of a program; got '\[1, 2': JSONDecodeError"),
    (lambda: Program.from_json('{"size": 3}'), r"Program: expected the JSON of a program; got .*: TypeError"),
    (
        lambda: Jigsaw(2).sample([(8, 0)], seed=0),
        r"transforms: sizes must be \(B, 2\) whole numbers in 1..32768; got",
    ),
]


@pytest.mark.parametrize("bad, message", ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_bad_input_gives_one_clear_error(bad, message):
    with pytest.raises((ValueError, RuntimeError), match=message) as caught:
        bad()
    assert len(str(caught.value).split("\nException raised from")[0].strip().splitlines()) == 1, str(caught.value)


# opcodes, step_offsets, values, value_offsets of one image that is shown as it is.
GOOD = ([24], [0, 1], [0.0], [0, 1])


def program(opcodes=GOOD[0], step_offsets=GOOD[1], values=GOOD[2], value_offsets=GOOD[3], views=1, dtype=torch.int32):
    arrays = ((opcodes, dtype), (step_offsets, torch.int64), (values, torch.float64), (value_offsets, torch.int64))
    return Program(*(torch.tensor(array, dtype=kind) for array, kind in arrays), views, 8, 8)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(dtype=torch.int64), r"opcodes must be a contiguous 1-D torch.int32 CPU tensor; got torch.int64 \(1,\)"),
        (dict(opcodes=[25]), r"opcodes must be in 0..24; got \[25\]"),
        (dict(opcodes=[-1]), r"opcodes must be in 0..24; got \[-1\]"),
        (dict(step_offsets=[0, 2]), r"step_offsets must rise from 0 to 1; got \[0, 2\]"),
        (dict(step_offsets=[0, 2, 1]), r"step_offsets must rise from 0 to 1; got \[0, 2, 1\]"),
        (dict(step_offsets=[]), r"step_offsets must rise from 0 to 1; got \[\]"),
        (dict(value_offsets=[0, 0, 1]), r"value_offsets must have one entry per step and one more, 2; got 3"),
        (dict(opcodes=[2]), r"Equalize takes 0 values \(\); got 1"),
        (dict(views=2), r"emit each of its 2 views once; got \[0\] times view \[1\] of image \[0\]"),
        (dict(values=[1.0]), r"Emit must name a view in 0..0; got \[1.0\]"),
        (dict(values=[float("nan")]), r"Emit must name a view in 0..0; got \[nan\]"),
        (dict(views=65), r"views must be in 1..64, height and width in 1..32768; got 65, 8, 8"),
    ],
)
def test_malformed_programs_are_refused(changes, message):
    assert len(program()) == 1
    with pytest.raises(ValueError, match="^Program: .*" + message):
        program(**changes)


@needs_native
@pytest.mark.parametrize(
    "name, values",
    [
        ("Posterize", (77,)),
        ("Brightness", (float("nan"),)),
        ("Rotate", (3, 1)),
        ("GaussianBlur", (-1,)),
        ("ResizedCrop", (0, 5, 4, 4, 8, 8, 2, 13)),
        ("ResizedCrop", (-1, 0, 4, 4, 8, 8, 2, 13)),
        ("Jigsaw", (0, 1, 2, 9)),
        ("Jigsaw", (0, 0, 1, 2)),
        ("Jigsaw", (1, 0, 2, 3, 4, 5, 6, 7, 8)),
    ],
)
def test_engine_refuses_steps_that_would_leave_memory(name, values):
    """Program checks the form only; what a step means is checked where it runs, against the image that it meets."""
    bad = program([OPCODES[name], 24], [0, 2], [*map(float, values), 0.0], [0, len(values), len(values) + 1])
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        augment(RGB[:1], bad)
