"""Steps across channels, on every colour there is: the engine computes hue in integers, Pillow in floats."""

import numpy as np
import pytest
import torch
from checks import needs_native
from PIL import Image, ImageEnhance

from dssl_ops import image_op

pytestmark = needs_native


@pytest.fixture(scope="module")
def every_colour():
    colours = np.arange(2**24, dtype=np.uint32).reshape(4096, 4096)
    return np.stack([(colours >> shift).astype(np.uint8) for shift in (16, 8, 0)], axis=-1)


def equals_pillow(pixels, step, value, expected):
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    got = image_op(images, step, value)[0].permute(1, 2, 0).numpy()
    return np.array_equal(got, np.asarray(expected))


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.37, 0.5])
def test_hue(every_colour, shift):
    hue, saturation, value = Image.fromarray(every_colour).convert("HSV").split()
    turned = np.asarray(hue) + np.array(int(shift * 255) % 256, dtype=np.uint8)
    expected = Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")
    assert equals_pillow(every_colour, "Hue", shift, expected)


def test_grayscale(every_colour):
    grey = Image.fromarray(every_colour).convert("L")
    assert equals_pillow(every_colour, "Grayscale", None, Image.merge("RGB", (grey, grey, grey)))


@pytest.mark.parametrize("factor", [0.16, 0.4, 1.9])
def test_color(every_colour, factor):
    assert equals_pillow(
        every_colour, "Color", factor, ImageEnhance.Color(Image.fromarray(every_colour)).enhance(factor)
    )
