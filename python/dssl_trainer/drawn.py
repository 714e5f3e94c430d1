"""Synthetic images for the demo and the tests: ten classes of shapes and textures.

A class is a form; place, size, tilt, both colours, shading and noise are nuisances that say nothing about it.
"""

import numpy as np
import torch

CLASSES = ("disc", "ring", "square", "frame", "triangle", "cross", "stripes", "checks", "dots", "waves")
SIDE = 32


def draw(count, seed):
    """`count` images as uint8 (count, 3, 32, 32) and their labels, int64 (count,); classes take turns."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    x, y = coordinates(count, random)
    mask = np.empty((count, SIDE, SIDE))
    for label, name in enumerate(CLASSES):
        of_class = labels == label
        mask[of_class] = FORMS[name](x[of_class], y[of_class])
    return torch.from_numpy(paint(mask, random)), torch.from_numpy(labels)


def coordinates(count, random):
    """Pixels in the form's own frame, where it fills about [-1, 1]^2: two arrays (count, SIDE, SIDE)."""
    grid = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    centre = random.uniform(-0.25, 0.25, (2, count, 1, 1))
    size = random.uniform(0.55, 0.85, (count, 1, 1))
    tilt = random.uniform(-0.3, 0.3, (count, 1, 1))
    x, y = (grid[None, None, :] - centre[0]) / size, (grid[None, :, None] - centre[1]) / size
    return x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)


def paint(mask, random):
    """Blends two random, well separated colours by the mask; adds a light from one side and noise."""
    count = len(mask)
    back = random.uniform(0, 1, (count, 3, 1, 1))
    shift = random.uniform(0.3, 0.7, (count, 3, 1, 1)) * random.choice([-1, 1], (count, 3, 1, 1))
    image = back + mask[:, None] * ((back + shift) % 1 - back)
    light = random.uniform(-0.2, 0.2, (count, 1, 1, 1)) * np.linspace(-1, 1, SIDE)
    image = image + light + random.normal(0, 0.04, image.shape)
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def inside(distance):
    """Soft step: 1 where the signed distance is negative, with an edge of about a pixel."""
    return 1 / (1 + np.exp(np.clip(distance * 25, -50, 50)))


def box(x, y, side):
    return np.maximum(abs(x), abs(y)) - side


def triangle(x, y):
    return inside(np.maximum(abs(x) * 0.87 + y * 0.5 - 0.45, -y - 0.7))


def cross(x, y):
    arms = np.minimum(np.maximum(abs(x) - 0.28, abs(y) - 0.95), np.maximum(abs(y) - 0.28, abs(x) - 0.95))
    return inside(arms)


def dots(x, y):
    radius = np.hypot((x % 0.8) - 0.4, (y % 0.8) - 0.4)
    return inside(radius - 0.25)


FORMS = {
    "disc": lambda x, y: inside(np.hypot(x, y) - 0.85),
    "ring": lambda x, y: inside(abs(np.hypot(x, y) - 0.7) - 0.2),
    "square": lambda x, y: inside(box(x, y, 0.8)),
    "frame": lambda x, y: inside(abs(box(x, y, 0.7)) - 0.18),
    "triangle": triangle,
    "cross": cross,
    "stripes": lambda x, y: inside(np.sin(7 * y) * 0.3),
    "checks": lambda x, y: inside(np.sin(5.5 * x) * np.sin(5.5 * y) * 0.4),
    "dots": dots,
    "waves": lambda x, y: inside(np.sin(7 * x + 2 * np.sin(4 * y)) * 0.3),
}
