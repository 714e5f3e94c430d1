"""jigsaw against tiles cut with numpy, edges from an integer linspace as in albumentations' RandomGridShuffle."""

import numpy as np
import pytest
import torch
from checks import needs_native
from torch.library import opcheck

from dssl_ops import jigsaw, jigsaw_reference

DTYPES = [
    torch.uint8,
    torch.bool,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex128,
]
# (C, H, W, grid): divisible, prime sides, one row, more tiles than are needed to see an order, grid equal to the side
SHAPES = [(3, 32, 32, 4), (1, 8, 8, 2), (3, 13, 17, 3), (2, 7, 7, 7), (5, 1, 9, 1), (3, 224, 220, 4), (4, 11, 10, 5)]
IMAGES, FINE = torch.zeros(2, 3, 8, 8), torch.arange(4).repeat(2, 1)
pytestmark = pytest.mark.usefixtures("poisoned_memory")
implementations = pytest.mark.parametrize(
    "implementation", [pytest.param(jigsaw, marks=needs_native), jigsaw_reference]
)


def tiles(height, width, grid):
    rows, columns = np.linspace(0, height, grid + 1, dtype=int), np.linspace(0, width, grid + 1, dtype=int)
    return [(y0, y1, x0, x1) for y0, y1 in zip(rows, rows[1:]) for x0, x1 in zip(columns, columns[1:])]


def draw_permutations(rng, batch, height, width, grid):
    sizes = [(y1 - y0, x1 - x0) for y0, y1, x0, x1 in tiles(height, width, grid)]
    rows = np.tile(np.arange(grid * grid), (batch, 1))
    for row in rows:
        for size in set(sizes):
            members = [k for k, other in enumerate(sizes) if other == size]
            row[members] = rng.permutation(members)
    return torch.from_numpy(rows)


@implementations
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equals_cut_and_joined_tiles(dtype, memory_format, implementation):
    rng = np.random.default_rng(0)
    for channels, height, width, grid in SHAPES:
        images = torch.from_numpy(rng.integers(0, 2 if dtype == torch.bool else 200, (5, channels, height, width))).to(
            dtype
        )
        images = images.contiguous(memory_format=memory_format)
        permutation = draw_permutations(rng, 5, height, width, grid)
        got = implementation(images, grid, permutation)
        boxes = tiles(height, width, grid)
        for b in range(5):
            for k, (y0, y1, x0, x1) in enumerate(boxes):
                v0, v1, u0, u1 = boxes[permutation[b, k]]
                assert torch.equal(got[b, :, y0:y1, x0:x1], images[b, :, v0:v1, u0:u1])
        assert got.dtype == dtype and got.is_contiguous(memory_format=memory_format)


@needs_native
@pytest.mark.parametrize(("dtype", "width"), [(torch.uint8, 32), (torch.bfloat16, 16), (torch.float64, 4)], ids=str)
@pytest.mark.parametrize("height", [4, 8, 12, 20, 32, 40])
def test_tiles_of_eight_bytes_a_row(dtype, width, height):
    """The case of registers, at heights of a tile that fill them and that do not; every tile visits every place."""
    rng = np.random.default_rng(2)
    images = torch.from_numpy(rng.integers(0, 256, (48, 3, height, width))).to(dtype)
    shifts = (torch.arange(16) + torch.arange(16)[:, None]) % 16
    permutation = torch.cat([shifts, draw_permutations(rng, 32, height, width, 4)])
    assert torch.equal(jigsaw(images, 4, permutation), jigsaw_reference(images, 4, permutation))


@needs_native
def test_strided_images_and_permutations():
    rng = np.random.default_rng(1)
    images = torch.rand(6, 3, 20, 24)[::2, :, 2:18, ::2]
    permutation = draw_permutations(rng, 6, 16, 12, 4)[::2]
    assert torch.equal(
        jigsaw(images, 4, permutation), jigsaw_reference(images.contiguous(), 4, permutation.contiguous())
    )


@needs_native
@pytest.mark.parametrize("shape", [(2, 3, 4, 1), (1, 3, 4, 4), (2, 1, 4, 4), (2, 3, 1, 4)])
def test_channels_last_images_with_a_side_of_one(shape):
    images = torch.rand(shape).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)[:, :, ::1]
    images = images.as_strided(shape, [7 if side == 1 else step for side, step in zip(shape, images.stride())])
    permutation = torch.zeros(shape[0], 1, dtype=torch.int64)
    assert torch.equal(jigsaw(images, 1, permutation), images)


@needs_native
def test_the_raw_op_refuses_a_grid_beyond_the_side():
    with pytest.raises(RuntimeError, match=r"jigsaw: grid must be in 1..8; got 4294967296"):
        torch.ops.dssl_ops.jigsaw(IMAGES, 2**32, torch.zeros(2, 0, dtype=torch.int64))


@implementations
def test_empty_batch(implementation):
    assert implementation(torch.zeros(0, 3, 8, 8), 2, torch.zeros(0, 4, dtype=torch.int64)).shape == (0, 3, 8, 8)


@implementations
def test_gradient_comes_home(implementation):
    images = torch.rand(3, 2, 9, 7, requires_grad=True)
    permutation = draw_permutations(np.random.default_rng(2), 3, 9, 7, 3)
    upstream = torch.randn(3, 2, 9, 7)
    (gradient,) = torch.autograd.grad(implementation(images, 3, permutation), images, upstream)
    # <J x, u> = <x, J^T u> for every x holds only for the transposed permutation.
    probe = torch.randn(3, 2, 9, 7)
    assert torch.allclose(
        (jigsaw_reference(probe, 3, permutation) * upstream).sum(), (probe * gradient).sum(), rtol=1e-5
    )


@needs_native
def test_thread_count_changes_no_bit(threads):
    images = torch.randint(0, 256, (64, 3, 65, 67), dtype=torch.uint8)
    permutation = draw_permutations(np.random.default_rng(3), 64, 65, 67, 5)
    first, *others = threads(lambda: jigsaw(images, 5, permutation))
    assert all(torch.equal(first, other) for other in others)


@needs_native
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own reading
def test_opcheck_and_compile():
    images = torch.rand(3, 2, 8, 8, requires_grad=True)
    permutation = draw_permutations(np.random.default_rng(4), 3, 8, 8, 2)
    opcheck(torch.ops.dssl_ops.jigsaw.default, (images, 2, permutation))
    opcheck(torch.ops.dssl_ops.jigsaw.default, (images.detach().to(memory_format=torch.channels_last), 2, permutation))
    compiled = torch.compile(lambda x: jigsaw(x * 2, 2, permutation) + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(images), jigsaw(images * 2, 2, permutation) + 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((IMAGES[0], 2, FINE), r"images must be \(B, C, H, W\); got \(3, 8, 8\)"),
        ((IMAGES, 9, FINE), "grid must be an int in 1..8, the shorter side; got 9"),
        ((IMAGES, 0, FINE), "grid must be.*got 0"),
        ((IMAGES, 2.0, FINE), "grid must be an int.*got 2.0"),
        ((IMAGES, 2, FINE.float()), r"permutation must be \(2, 4\) int64; got \(2, 4\) torch.float32"),
        (([1], 2, FINE), "images must be a tensor; got list"),
        ((IMAGES, 2, [[0, 1, 2, 3]] * 2), "permutation must be a tensor; got list"),
        ((IMAGES, 2, FINE[:1]), r"permutation must be \(2, 4\) int64; got \(1, 4\)"),
        ((IMAGES, 2, FINE.to("meta")), "permutation must be on cpu; got meta"),
    ],
)
def test_bad_input_gives_one_clear_error(arguments, message):
    with pytest.raises((ValueError, TypeError), match="jigsaw: " + message):
        jigsaw(*arguments)


@implementations
@pytest.mark.parametrize("row", [[0, 1, 2, 2], [0, 1, 2, 4], [-1, 1, 2, 3], [1, 0, 2, 3]])
def test_a_row_that_is_no_permutation_of_equal_tiles(row, implementation):
    images = torch.zeros(2, 3, 8, 9)  # columns of 4 and 5 pixels: tiles 0 and 1 cannot change places
    with pytest.raises(RuntimeError, match="jigsaw: row 1 of permutation"):
        implementation(images, 2, torch.tensor([[0, 1, 2, 3], row]))
