"""What several tests share."""

import contextlib
import io
import math
import os
import warnings
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dssl_ops._library import native

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos" / "photos.zip"
PHOTOS = Path(os.environ.get("DSSL_TEST_PHOTOS", BESIDE))

needs_native = pytest.mark.skipif(not native(), reason="no compiled kernels: no C++ compiler, or references forced")


@lru_cache
def photographs(step=5):
    """Every `step`th photograph as uint8 (C, H, W) with C 1 or 3, or None where the data is not at hand."""
    if not PHOTOS.exists():
        return None
    with zipfile.ZipFile(PHOTOS) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".JPEG"))[::step]
        images = [Image.open(io.BytesIO(archive.read(name))) for name in names]
        arrays = [np.array(image if image.mode == "L" else image.convert("RGB")) for image in images]
    return [torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1).contiguous() for array in arrays]


def chi_square(counts, expected):
    """Whether the counts are what the expected numbers allow, to about 4 sigma."""
    statistic = sum((counts.get(key, 0) - n) ** 2 / n for key, n in expected.items())
    freedom = len(expected) - 1
    return set(counts) <= set(expected) and statistic < freedom + 4 * math.sqrt(2 * freedom)


# As csrc/common/dtype.h numbers the types that losses take.
CODES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}

# Relative errors (norm of the difference over norm of the truth) that a loss and its gradient may have against float64
# on the same rounded inputs. Sums run in float32 or wider whatever the dtype, so values are good to a few float32 ulp;
# gradients of half types are rounded twice to their own type: when written and when scaled by the upstream gradient.
TOLERANCE = {
    torch.float64: (1e-14, 1e-14),
    torch.float32: (1e-6, 1e-6),
    torch.bfloat16: (1e-6, 2 * 2**-9 * 1.05),
    torch.float16: (1e-6, 2 * 2**-12 * 1.05),
}


def relative_error(got, truth):
    truth = truth.double()
    difference = (got.double() - truth).norm()
    return 0.0 if difference == 0 else float(difference / truth.norm())


@contextlib.contextmanager
def never_waiting():
    """Where there is a GPU, what makes the host wait for it raises."""
    if not torch.cuda.is_available():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says once that this mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
