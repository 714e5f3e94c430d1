"""Images and step values that the augmentation tests run on: 2,200 images in 50 batches a seed, awkward ones too.

The truth is Pillow: the tests compare with the installed one, written for 13.0.0. The 11, 12 and 13 series agree on
every step but ResizedCrop, whose pass order changed in 13.0.0 (PIL_COMPAT), and Posterize with 0 bits.
"""

import math
from functools import lru_cache

import numpy as np
import PIL
import pytest
import torch
from checks import photographs
from PIL import Image

PIL_COMPAT = 13 if int(PIL.__version__.split(".")[0]) >= 13 else 12

# One row, one column, primes, powers of two, and what lies just beside them.
SIDES = [
    (1, 1), (1, 2), (2, 1), (1, 64), (64, 1), (2, 2), (3, 3), (2, 7), (3, 64), (64, 2), (5, 4), (7, 7), (8, 8),
    (11, 13), (16, 16), (17, 31), (31, 17), (32, 32), (33, 32), (37, 64), (61, 53), (64, 37), (63, 64), (64, 64),
    (48, 40),
]  # fmt: skip
PER_BATCH = 44


def smooth(rng, channels, height, width):
    """A drawn scene: soft fields, a few flat shapes with sharp edges, a little noise."""
    coarse = rng.integers(0, 256, (channels, 4, 4), dtype=np.uint8)
    field = np.stack(
        [np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC)) for plane in coarse]
    )
    scene = field.astype(np.float64) + rng.normal(0, rng.choice([0, 3, 12]), field.shape)
    for _ in range(rng.integers(0, 4)):
        y, x = np.sort(rng.integers(0, height + 1, 2)), np.sort(rng.integers(0, width + 1, 2))
        scene[:, y[0] : y[1], x[0] : x[1]] = rng.integers(0, 256, (channels, 1, 1))
    return scene.clip(0, 255).astype(np.uint8)


def photo_crop(rng, channels, height, width):
    photos = photographs()
    fitting = [
        photo
        for photo in photos or []
        if photo.shape[0] >= channels and photo.shape[1] > height and photo.shape[2] > width
    ]
    if not fitting:
        return smooth(rng, channels, height, width)
    photo = fitting[rng.integers(len(fitting))].numpy()
    top, left = rng.integers(photo.shape[1] - height), rng.integers(photo.shape[2] - width)
    return photo[:channels, top : top + height, left : left + width]


def narrow(rng, *shape):
    low = rng.integers(0, 256)
    return rng.integers(low, min(256, low + rng.integers(1, 12)), shape, dtype=np.uint8)


CONTENTS = [
    photo_crop,
    lambda rng, *shape: rng.integers(0, 256, shape, dtype=np.uint8),
    smooth,
    photo_crop,
    narrow,
    lambda rng, *shape: np.full(shape, rng.integers(0, 256), dtype=np.uint8),
    lambda rng, *shape: rng.choice(rng.integers(0, 256, 2, dtype=np.uint8), shape),
    lambda rng, *shape: np.broadcast_to(rng.integers(0, 256, (shape[0], 1, 1), dtype=np.uint8), shape),
]


# One seed in every run, five more, 11,000 images, with `pytest -m exhaustive`.
MORE_SEEDS = range(1, 6)
on_every_seed = pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=[pytest.mark.slow, pytest.mark.exhaustive]) for seed in MORE_SEEDS)]
)


@lru_cache
def batches(seed=0):
    """50 uint8 batches (44, C, H, W), RGB and grey of every size in SIDES."""
    rng = np.random.default_rng(seed)
    return [
        torch.from_numpy(np.stack([CONTENTS[i % len(CONTENTS)](rng, channels, *side) for i in range(PER_BATCH)]))
        for side in SIDES
        for channels in (3, 1)
    ]


# Values of the steps that take one number: edge cases, then the range that random ones are drawn from.
FACTORS = ([0, 1, -1, 2, 0.1, 1.9, 0.5, 1e-3, 0.16, 100], (-0.5, 3))
SHIFTS = ([0, 0.5, -0.5, 1, -1, 3.3333333, -16.6666667, 100, -100, 1e-9, 32], (-70, 70))
SHEARS = ([0, 0.3, -0.3, 0.05, 1, -1, 1e-7, 5], (-1.2, 1.2))
ONE_VALUE = {
    "Posterize": (list(range(9)), None),
    "Solarize": ([0, 256, 255, 255.5, 128, 0.5, -3, 300, 42.6666667], (0, 256)),
    "SolarizeAdd": ([0, 110, 128, 127.5, -300, 300, 0.999, -0.5], (-130, 130)),
    "Brightness": FACTORS,
    "Contrast": FACTORS,
    "Color": FACTORS,
    "Sharpness": FACTORS,
    "Hue": ([0, 0.5, -0.5, 1 / 255, -1 / 255, 0.1, -0.1, 0.003], (-0.5, 0.5)),
    "Rotate": ([0, 90, 180, 270, -90, -180, 360, 45, 1e-4, -30, 89.9999999, 720.5], (-400, 400)),
    "ShearX": SHEARS,
    "ShearY": SHEARS,
    "TranslateX": SHIFTS,
    "TranslateY": SHIFTS,
    "GaussianBlur": ([0, 0.1, 2, 0.3, 1, 10, 30, 0.01], (0, 4)),
}


def values_of(name, rng, images):
    """Random values of the named step for every image: (B, P) float64, or None."""
    batch, _, height, width = images.shape
    if name in ONE_VALUE:
        edges, limits = ONE_VALUE[name]
        values = rng.choice(np.array(edges, dtype=np.float64), batch)
        if limits:
            values = np.where(rng.random(batch) < 0.4, values, rng.uniform(*limits, batch))
        return torch.from_numpy(values)
    if name == "Cutout":
        corners = np.sort(rng.uniform(-8, 72, (batch, 2, 2)), axis=2)
        corners = np.where(rng.random((batch, 1, 1)) < 0.5, np.trunc(corners), corners)
        return torch.from_numpy(corners.transpose(0, 2, 1).reshape(batch, 4))
    if name == "ResizedCrop":
        heights, widths = rng.integers(1, height + 1, batch), rng.integers(1, width + 1, batch)
        tops, lefts = rng.integers(0, height - heights + 1), rng.integers(0, width - widths + 1)
        return torch.from_numpy(np.stack([tops, lefts, heights, widths], axis=1))
    return None


def permutations(rng, batch, grid, height, width):
    """(B, grid * grid): random permutations among tiles of equal size, by sorting random keys within each size."""
    edges = [[math.floor(side * i / grid) for i in range(grid + 1)] for side in (height, width)]
    sizes = [(y1 - y0, x1 - x0) for y0, y1 in zip(edges[0], edges[0][1:]) for x0, x1 in zip(edges[1], edges[1][1:])]
    result = np.tile(np.arange(grid * grid), (batch, 1))
    for size in set(sizes):
        members = np.array([k for k, other in enumerate(sizes) if other == size])
        result[:, members] = members[rng.random((batch, len(members))).argsort(1)]
    return torch.from_numpy(result)
