"""Synthetic images for the demo and the tests: ten classes of shapes and textures.

A class is a form that repeats over the image and a pair of hues. Place, size, tilt, saturation and brightness of both
colours, light and noise are nuisances that say nothing about it; hues of neighbouring classes overlap.
"""

import numpy as np
import torch

CLASSES = ("disc", "ring", "square", "frame", "triangle", "cross", "rows", "columns", "checks", "waves")
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
    return torch.from_numpy(paint(mask, labels, random)), torch.from_numpy(labels)


def coordinates(count, random):
    """Pixels in the frame of a form that repeats over the image, [-1, 1]^2 each: two arrays (count, SIDE, SIDE)."""
    grid = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    centre = random.uniform(-1, 1, (2, count, 1, 1))
    size = random.uniform(0.4, 0.7, (count, 1, 1))
    tilt = random.uniform(-0.3, 0.3, (count, 1, 1))
    x, y = (grid[None, None, :] - centre[0]) / size, (grid[None, :, None] - centre[1]) / size
    x, y = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    return (x + 1) % 2 - 1, (y + 1) % 2 - 1


def paint(mask, labels, random):
    """Blends a foreground and a background colour by the mask; adds a light from one side and noise."""
    front, back = (colours(labels * stride / len(CLASSES), random) for stride in (1, 3))
    image = back + mask[:, None] * (front - back)
    light = random.uniform(-0.3, 0.3, (len(mask), 1, 1, 1)) * np.linspace(-1, 1, SIDE)
    image = image + light + random.normal(0, 0.05, image.shape)
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def colours(hue, random):
    """RGB in [0, 1], (count, 3, 1, 1), of a hue around the given one and any saturation and brightness."""
    hue = hue + random.normal(0, 0.06, hue.shape)
    saturation, brightness = random.uniform(0.3, 1, hue.shape), random.uniform(0.2, 1, hue.shape)
    wheel = np.clip(abs((hue[:, None] + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1, 0, 1)  # full saturation
    return (brightness[:, None] * (1 - saturation[:, None] * (1 - wheel)))[:, :, None, None]


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


FORMS = {
    "disc": lambda x, y: inside(np.hypot(x, y) - 0.85),
    "ring": lambda x, y: inside(abs(np.hypot(x, y) - 0.7) - 0.2),
    "square": lambda x, y: inside(box(x, y, 0.8)),
    "frame": lambda x, y: inside(abs(box(x, y, 0.7)) - 0.18),
    "triangle": triangle,
    "cross": cross,
    "rows": lambda x, y: inside(np.sin(2 * np.pi * y) * 0.3),
    "columns": lambda x, y: inside(np.sin(2 * np.pi * x) * 0.3),
    "checks": lambda x, y: inside(np.sin(2 * np.pi * x) * np.sin(2 * np.pi * y) * 0.4),
    "waves": lambda x, y: inside(np.sin(2 * np.pi * x + 2 * np.sin(np.pi * y)) * 0.3),
}
