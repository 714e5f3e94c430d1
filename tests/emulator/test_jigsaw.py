"""The kernel of jigsaw against the CPU op: bytes, whatever their width and alignment."""

import pytest
import torch
from checks import needs_native
from test_jigsaw import DTYPES, SHAPES, draw_permutations

from dssl_ops import jigsaw
from emulator import ORDERS, EmulatorError, emulated

pytestmark = [needs_native, pytest.mark.usefixtures("poisoned_memory")]


def run(images, grid, permutation, **how):
    """The launch that jigsaw_cuda.cpp makes."""
    out = torch.empty_like(images)
    batch, channels, height, width = images.shape
    planar, element = images.is_contiguous(), images.element_size()
    planes, pixel = (channels, element) if planar else (1, channels * element)
    emulated("jigsaw").jigsaw_launch(images, out, permutation, batch, planes, height, width, pixel, grid, **how)
    return out


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_equals_the_cpu(rng, memory_format, order):
    for dtype in DTYPES:
        for channels, height, width, grid in SHAPES:
            if width > 100 and dtype not in (torch.uint8, torch.float16):
                continue  # the width of an access depends on bytes, which these have seen
            images = torch.from_numpy(rng.integers(0, 200, (3, channels, height, width))).to(dtype)
            images = images.contiguous(memory_format=memory_format)
            permutation = draw_permutations(rng, 3, height, width, grid)
            assert torch.equal(run(images, grid, permutation, order=order), jigsaw(images, grid, permutation))


@pytest.mark.parametrize("offset", [0, 1, 2, 4, 8])
def test_images_at_any_address(rng, offset):
    memory = torch.randint(0, 256, (2 * 3 * 64 * 64 + offset,), dtype=torch.uint8)
    images = memory[offset:].view(2, 3, 64, 64)
    permutation = draw_permutations(rng, 2, 64, 64, 4)
    assert torch.equal(run(images, 4, permutation), jigsaw(images, 4, permutation))


@pytest.mark.parametrize("source", [-1, 4, 2**62, 2 - 2**32, 1])  # tile 1 is wider than tile 0, tile 2 is not
def test_a_tile_that_does_not_fit_stops_the_kernel(source):
    with pytest.raises(EmulatorError, match=r"jigsaw_cuda\.cu:\d+: __trap"):
        run(torch.zeros(1, 1, 8, 9), 2, torch.tensor([[source, 1, 2, 3]]))
