"""Images to augment: drawn ones of any size, or photographs from $DSSL_TEST_PHOTOS, a folder or zip file."""

import functools
import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

PHOTO = (375, 500)  # ImageNet's most common size: where the views of 224 pixels are cropped from


def scenes(count, height, width):
    """uint8 (count, 3, height, width): soft fields with a little noise, so that no step meets a flat image."""
    field = F.interpolate(torch.rand(count, 3, 6, 6), (height, width), mode="bicubic").clamp(0, 1)
    return (field * 235 + torch.rand(count, 3, height, width) * 20).to(torch.uint8)


def kind():
    """What `photographs` gives."""
    return "photographs" if os.environ.get("DSSL_TEST_PHOTOS") else "drawn images"


@functools.lru_cache
def photographs(count):
    """`count` uint8 (3, H, W) of differing sizes, decoded: real ones if there are any, or drawn."""
    if place := os.environ.get("DSSL_TEST_PHOTOS"):
        return read(place, count)
    sides = np.random.default_rng(0).uniform(0.7, 1.4, (count, 2)) * PHOTO
    return [scenes(1, *map(int, side[:: 1 if i % 2 else -1]))[0] for i, side in enumerate(sides)]


def read(place, count):
    """`count` images of a folder or zip file, spread over its names."""
    archive = zipfile.ZipFile(place) if Path(place).is_file() else None
    names = archive.namelist() if archive else [str(path) for path in Path(place).rglob("*")]
    names = sorted(name for name in names if name.lower().endswith((".jpg", ".jpeg", ".png")))
    if not names:
        raise SystemExit(f"benchmarks: DSSL_TEST_PHOTOS: there are no photographs in {place}")
    chosen = (names[i * len(names) // count] for i in range(count))
    decoded = (Image.open(archive.open(name) if archive else name).convert("RGB") for name in chosen)
    return [torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous() for image in decoded]
