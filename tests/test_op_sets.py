"""The op sets through the whole pipeline against what they claim to be.

author16: Pillow code typed here anew from the authors' list (rand_aug_custom.py of the paper's repository); ra14:
torchvision's own RandAugment code on Pillow images; ua15: the same Pillow code at the ranges of UniformAugment's list.
What was drawn (name, sign, cutout place) is read off the sampled program; every magnitude of RandAugment comes from the
other side, those of UniformAugment are read off too (their law: test_uniform_augment.py).
"""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from augment_cases import batches
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from dssl_ops.op_sets import OP_SETS, ra14
from dssl_ops.transforms import RandAugment, UniformAugment


def affine(image, *matrix):
    return image.transform(image.size, Image.AFFINE, matrix)


def cutout(image, side, x0, y0):
    image = image.copy()
    box = (x0, y0, min(image.width, x0 + side), min(image.height, y0 + side))
    colour = (125, 123, 114) if image.mode == "RGB" else 123
    ImageDraw.Draw(image).rectangle(box, colour)
    return image


def solarize_add(image, addition):
    array = np.asarray(image).astype(int) + addition
    return ImageOps.solarize(Image.fromarray(np.clip(array, 0, 255).astype(np.uint8)), 128)


# Operation, its range, and whether it flips its sign.
AUTHOR16 = {
    "AutoContrast": (lambda image, v: ImageOps.autocontrast(image), 0, 1, False),
    "Equalize": (lambda image, v: ImageOps.equalize(image), 0, 1, False),
    "Invert": (lambda image, v: ImageOps.invert(image), 0, 1, False),
    "Rotate": (lambda image, v: image.rotate(v), 0, 30, True),
    "Posterize": (lambda image, v: ImageOps.posterize(image, max(1, int(v))), 0, 4, False),
    "Solarize": (lambda image, v: ImageOps.solarize(image, v), 0, 256, False),
    "SolarizeAdd": (solarize_add, 0, 110, False),
    "Color": (lambda image, v: ImageEnhance.Color(image).enhance(v), 0.1, 1.9, False),
    "Contrast": (lambda image, v: ImageEnhance.Contrast(image).enhance(v), 0.1, 1.9, False),
    "Brightness": (lambda image, v: ImageEnhance.Brightness(image).enhance(v), 0.1, 1.9, False),
    "Sharpness": (lambda image, v: ImageEnhance.Sharpness(image).enhance(v), 0.1, 1.9, False),
    "ShearX": (lambda image, v: affine(image, 1, v, 0, 0, 1, 0), 0.0, 0.3, True),
    "ShearY": (lambda image, v: affine(image, 1, 0, 0, v, 1, 0), 0.0, 0.3, True),
    "Cutout": (cutout, 0, 40, False),
    "TranslateX": (lambda image, v: affine(image, 1, 0, v, 0, 1, 0), 0.0, 100, True),
    "TranslateY": (lambda image, v: affine(image, 1, 0, 0, 0, 1, v), 0.0, 100, True),
}


def author16(image, name, values, m, ranges=AUTHOR16):
    operation, low, high, signed = ranges[name]
    value = (float(m) / 30) * float(high - low) + low
    if signed and values[0] < 0:
        value = -value
    return operation(image, value, *values[:2]) if name == "Cutout" else operation(image, value)


def at_drawn_value(image, name, values):
    if name == "Identity":
        return image
    if name == "Cutout":
        x0, y0, x1, y1 = values
        return cutout(image, max(x1 - x0, y1 - y0), x0, y0)
    return AUTHOR16[name][0](image, *values[:1] or (0,))


def to_pillow(image):
    return Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())


def assert_replays(images, transform, replay, seed):
    """The transform's views equal the replay of its steps, and every step but Emit is counted."""
    program = transform.sample(images, seed=seed)
    views = transform(images, seed=seed)
    names = []
    for index, view in enumerate(views):
        image = to_pillow(images[index])
        for name, values in program.steps(index)[:-1]:
            image = replay(image, name, values)
            names.append(name)
        assert to_pillow(view) == image, f"{tuple(images.shape)}, image {index}: {program.steps(index)}"
    return names


@pytest.mark.parametrize("m", [0, 1, 5, 9, 10, 16, 23.5, 30])
def test_author16_equals_the_authors_operations(m):
    """2 operations on 2,200 images for each of 8 m: about 2,200 images per operation."""
    names = []
    for seed, images in enumerate(batches()):
        names += assert_replays(images, RandAugment(2, m), lambda *step: author16(*step, m), seed)
    counts = {name: names.count(name) for name in AUTHOR16}
    assert sum(counts.values()) == len(names) == 4400 and min(counts.values()) > 200, counts


@pytest.mark.parametrize("m", [0, 1, 5, 9, 14, 21, 30])
def test_ra14_equals_torchvision(m):
    """2 operations on 2,200 images for each of 7 m: about 2,200 images per operation; bilinear for odd m."""
    autoaugment = pytest.importorskip("torchvision.transforms.autoaugment")
    mode = autoaugment.InterpolationMode.BILINEAR if m % 2 else autoaugment.InterpolationMode.NEAREST
    interpolation = "bilinear" if m % 2 else "nearest"
    names = []
    for seed, images in enumerate(batches()):
        space = autoaugment.RandAugment()._augmentation_space(31, tuple(images.shape[2:]))

        def replay(image, name, values, space=space):
            magnitudes, signed = space[name]
            magnitude = float(magnitudes[m].item()) if magnitudes.ndim > 0 else 0.0
            centre = 1.0 if name in ("Brightness", "Color", "Contrast", "Sharpness") else 0.0
            # Pillow's matrix moves content by -t, torchvision's translation by +t.
            negative = signed and (values[0] > 0 if name.startswith("Translate") else values[0] < centre)
            return autoaugment._apply_op(image, name, -magnitude if negative else magnitude, mode, None)

        names += assert_replays(images, RandAugment(2, m, "ra14", interpolation), replay, seed)
    counts = {name: names.count(name) for name in space}
    assert sum(counts.values()) == len(names) == 4400 and min(counts.values()) > 240, counts


@pytest.mark.parametrize("op_set", ["author16", "ra14", "ua15"])
def test_uniform_augment_equals_pillow(op_set):
    """8 operations on 2,200 images, half of them applied: at least 500 images per operation of each set."""
    names = []
    for seed, images in enumerate(batches()):
        names += assert_replays(images, UniformAugment(8, op_set), at_drawn_value, seed)
    counts = Counter(names)
    expected = {entry.name for entry in OP_SETS[op_set](9, 32, 32)}
    assert set(counts) == expected and min(counts.values()) > 450, counts
    assert abs(len(names) - 8800) < 4 * math.sqrt(17600 / 4)


@pytest.mark.parametrize("m", [0, 5, 30])
def test_ua15_equals_pillow_at_its_ranges(m):
    """Parts of the width and height for translation and cutout, 4 to 8 bits, 15 operations."""
    ranges = {
        **AUTHOR16,
        "Posterize": (AUTHOR16["Posterize"][0], 4, 8, False),
        "TranslateX": (lambda image, v: affine(image, 1, 0, v * image.width, 0, 1, 0), 0, 0.45, True),
        "TranslateY": (lambda image, v: affine(image, 1, 0, 0, 0, 1, v * image.height), 0, 0.45, True),
        "Cutout": (lambda image, v, x0, y0: cutout(image, v * image.width, x0, y0), 0, 0.2, False),
    }
    names = []
    for seed, images in enumerate(batches()[1::2]):
        names += assert_replays(images, RandAugment(2, m, "ua15"), lambda *step: author16(*step, m, ranges), seed)
    assert set(names) == set(AUTHOR16) - {"SolarizeAdd"} and min(Counter(names).values()) > 90, Counter(names)


@pytest.mark.parametrize("m", range(31))
def test_ra14_shears_by_torchvision_s_own_matrix(m):
    """To the last bit: the pictures alone would not tell a difference of one ulp in s."""
    functional = pytest.importorskip("torchvision.transforms.functional")
    entries = {entry.name: entry for entry in ra14(m, 32, 48)}
    for sign in (1, -1):
        degrees = math.degrees(math.atan(sign * torch.linspace(0.0, 0.3, 31)[m].item()))
        for name, place, shear in (("ShearX", 1, [degrees, 0.0]), ("ShearY", 3, [0.0, degrees])):
            matrix = functional._get_inverse_affine_matrix([0, 0], 0.0, [0, 0], 1.0, shear)
            s = entries[name].base + sign * entries[name].low
            assert matrix[place] == s and [matrix[0], matrix[4], matrix[4 - place]] == [1, 1, 0], name


def test_bicubic_randaugment_equals_torchvision_too():
    functional = pytest.importorskip("torchvision.transforms.functional")
    for images in batches()[::7]:
        program = RandAugment(1, 9, "ra14", "bicubic").sample(images, seed=1)
        views = RandAugment(1, 9, "ra14", "bicubic")(images, seed=1)
        for index in range(len(images)):
            (name, values), _ = program.steps(index)
            if name == "Rotate":
                expected = functional.rotate(to_pillow(images[index]), values[0], functional.InterpolationMode.BICUBIC)
                assert to_pillow(views[index]) == expected


def test_op_set_is_named_in_every_result():
    assert "op_set='author16'" in repr(RandAugment()) and "op_set='ra14'" in repr(RandAugment(op_set="ra14"))
    assert RandAugment() == RandAugment(2, 5, "author16", "nearest")
    programs = [RandAugment(2, 5, op_set).sample([(32, 32)] * 400, seed=0) for op_set in ("author16", "ra14")]
    drawn = [{name for i in range(400) for name, _ in program.steps(i)} for program in programs]
    assert drawn[0] - drawn[1] == {"Invert", "SolarizeAdd", "Cutout"} and drawn[1] - drawn[0] == {"Identity"}
    assert torch.is_tensor(RandAugment()(batches()[0], seed=0))
