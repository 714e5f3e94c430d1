"""Memory: images that cannot be written, how much is needed beside them, and requests for too much."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from augment_cases import batches
from checks import needs_native

from dssl_ops import transforms as T
from dssl_ops.augment import Program, augment, augment_reference

VIEWS = T.DirectedViews(T.StandardView.imagenet(24), T.Compose((T.RandAugment(4, 9), T.Jigsaw(4))))


def views_of(images):
    return torch.stack(list(VIEWS(images, seed=1)))


def mapped_by_torch(path, shape):
    return torch.from_file(str(path), shared=False, size=int(np.prod(shape)), dtype=torch.uint8).view(shape)


def mapped_read_only(path, shape):
    """A write to these pages would end the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch warns that writing is undefined; nothing writes
        return torch.from_numpy(np.memmap(path, np.uint8, "r", shape=tuple(shape)))


@pytest.mark.parametrize("mapped", [mapped_by_torch, mapped_read_only])
@pytest.mark.parametrize("channels", [3, 1])
def test_images_mapped_from_a_file(mapped, channels, tmp_path):
    images = batches()[-2 if channels == 3 else -1]
    path = tmp_path / "images"
    images.numpy().tofile(path)
    from_file = mapped(path, images.shape)
    assert torch.equal(views_of(from_file), views_of(images))
    assert torch.equal(views_of(list(from_file[:, :, 3:])), views_of(list(images[:, :, 3:])))
    assert path.read_bytes() == images.numpy().tobytes()


def test_read_only_arrays_are_read_only():
    array = batches()[-2].numpy().copy()
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        images = torch.from_numpy(array)
    before = array.copy()
    assert torch.equal(views_of(images), views_of(batches()[-2]))
    assert (array == before).all()


GROWTH = """
import resource, sys, torch
from dssl_ops import transforms as T
count, side, threads = map(int, sys.argv[1:])
torch.set_num_threads(threads)
images = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8).repeat(count, 1, 1, 1)
heavy = T.Compose((T.RandAugment(4, 9), T.GaussianBlur((1, 2)), T.Jigsaw(4)))
views = T.DirectedViews(T.StandardView.imagenet(side), heavy)
out = torch.ones(4, count, 3, side, side, dtype=torch.uint8)
views(images[:1, :, :9, :9], seed=0, out=torch.ones(4, 1, 3, side, side, dtype=torch.uint8))  # loads the kernels

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

open("/proc/self/clear_refs", "w").write("5")  # the peak starts again from here
before = peak()
views(images, seed=0, out=out)
print(peak() - before)
"""


@needs_native
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("threads", [1, 2])
def test_memory_beside_images_and_views_is_that_of_a_few_images_a_thread(threads):
    """Two buffers of an image, and for each of its pixels 4 bytes of warp sources and 2 of blur; the rest is slack for
    stacks and the allocator. The batch is 24 times as large."""
    count, side = 96, 256
    image = 3 * side * side
    run = subprocess.run(
        [sys.executable, "-c", GROWTH, *map(str, (count, side, threads))], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    bound = threads * (2 * image + 6 * side * side) + (4 << 20)
    assert int(run.stdout) < bound < count * image / 2


HUGE = 1 << 15


def program_of(*steps, size=(4, 4), batch=1):
    return Program.from_steps([list(steps)] * batch, size)


@pytest.mark.parametrize("run", [pytest.param(augment, marks=needs_native), augment_reference])
@pytest.mark.parametrize("pil_compat", [12, 13])
@pytest.mark.parametrize(
    "shape, first",
    [((8, 8), (0, 0, 8, 8, HUGE, HUGE)), ((8, 8), (0, 0, 8, 8, 4097, 4096)), ((1, 8), (0, 0, 1, 8, HUGE, 513))],
)
def test_images_on_the_way_may_not_be_huge(run, pil_compat, shape, first):
    images = torch.zeros(1, 3, *shape, dtype=torch.uint8)
    steps = [("ResizedCrop", (*first, 2, pil_compat)), ("ResizedCrop", (0, 0, 4, 4, 4, 4, 2, 13))]
    with pytest.raises((ValueError, RuntimeError), match=r"augment: .*ResizedCrop.* more than 16777216 pixels"):
        run(images, program_of(*steps))


@pytest.mark.parametrize("run", [pytest.param(augment, marks=needs_native), augment_reference])
def test_what_lies_between_the_passes_may_not_be_huge_either(run):
    """A column of 32768 pixels to a row of as many: through 2^30 pixels in Pillow 12's order, through one in 13's."""
    images = torch.full((1, 1, HUGE, 1), 9, dtype=torch.uint8)
    step = (0, 0, HUGE, 1, 1, HUGE, 2)
    with pytest.raises((ValueError, RuntimeError), match=r"augment: .*ResizedCrop.* more than 16777216 pixels"):
        run(images, program_of(("ResizedCrop", (*step, 12)), size=(1, HUGE)))
    assert (run(images, program_of(("ResizedCrop", (*step, 13)), size=(1, HUGE))) == 9).all()


def test_large_sources_and_views_are_no_abuse():
    """The limit is on what lies between them."""
    images = torch.zeros(1, 1, 4096, 4200, dtype=torch.uint8)
    steps = [("ResizedCrop", (0, 0, 4096, 4200, 4100, 4190, 2, 13)), ("ResizedCrop", (0, 0, 9, 9, 4, 4, 2, 13))]
    assert augment(images, program_of(*steps)).shape == (1, 1, 1, 4, 4)
