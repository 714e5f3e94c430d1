"""dssl_ops.adapters.torchvision against torchvision's own code on Pillow images, after the same torch.manual_seed."""

import inspect
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as theirs
from torchvision.transforms import InterpolationMode

from dssl_ops.adapters import torchvision as ours

NEAREST, BILINEAR, BICUBIC = InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC
CASES = [
    ((), ("RGB", "L")),
    ((4, 30, 31, BILINEAR, 7), ("RGB", "L")),
    ((3, 17, 31, BICUBIC, (3, 200.7, 90)), ("RGB",)),
    ((3, 3, 9, NEAREST, [128]), ("RGB", "L")),
    ((3, 1, 9, BILINEAR, 0), ("RGB",)),
    ((2, 1, 2, NEAREST, None), ("L",)),
    ((0, 0), ("RGB",)),
]


def picture(mode, rng):
    height, width = rng.integers(3, 50, 2)
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))


def drawn(transform, image, seed):
    """The image, and the state in which the global generator is left."""
    torch.manual_seed(seed)
    return transform(image), torch.random.get_rng_state()


def test_signature_and_repr_are_torchvisions():
    mine, other = (inspect.signature(module.RandAugment).parameters for module in (ours, theirs))
    assert [(p.name, p.default) for p in mine.values()] == [(p.name, p.default) for p in other.values()]
    assert repr(ours.RandAugment(3)) == repr(theirs.RandAugment(3))


@pytest.mark.parametrize("arguments, mode", [(given, mode) for given, modes in CASES for mode in modes], ids=str)
def test_same_seed_same_image_and_same_draws(arguments, mode, rng):
    mine, other = ours.RandAugment(*arguments), theirs.RandAugment(*arguments)
    for seed in range(60):
        image = picture(mode, rng)
        (got, after), (wanted, state) = drawn(mine, image, seed), drawn(other, image, seed)
        assert (got.mode, got.size) == (wanted.mode, wanted.size)
        assert np.array_equal(np.array(got), np.array(wanted)) and torch.equal(after, state)


@pytest.mark.parametrize("shape", [(3, 20, 31), (4, 1, 9, 9), (2, 3, 3, 16, 12), (0, 3, 8, 8)], ids=str)
@pytest.mark.parametrize("fill", [None, 90])
def test_tensors_get_the_pixels_of_their_pillow_images(shape, fill, rng):
    images = torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))
    mine, other = ours.RandAugment(3, 9, fill=fill), theirs.RandAugment(3, 9, fill=fill)
    for seed in range(10):
        got = drawn(mine, images, seed)[0]
        assert got.shape == shape and got.dtype == torch.uint8
        for one, image in zip(got.reshape(-1, *shape[-3:]), images.reshape(-1, *shape[-3:]), strict=True):
            pixels = image.permute(1, 2, 0).squeeze(2).numpy()
            wanted = torch.from_numpy(np.array(drawn(other, Image.fromarray(pixels), seed)[0]))
            assert torch.equal(one, wanted.reshape(*shape[-2:], -1).permute(2, 0, 1))


def test_works_in_a_compose_and_is_pickled(rng):
    both = [
        theirs.Compose([theirs.RandomHorizontalFlip(), module.RandAugment(2, 9), theirs.PILToTensor()])
        for module in (ours, theirs)
    ]
    image = picture("RGB", rng)
    assert torch.equal(*(drawn(pickle.loads(pickle.dumps(transform)), image, 3)[0] for transform in both))


ERRORS = [
    (lambda: ours.RandAugment(-1), "num_ops must be at least 0; got -1"),
    (lambda: ours.RandAugment(2, 31), r"magnitude must be in 0\.\.30; got 31"),
    (lambda: ours.RandAugment(2, 0, 1), "num_magnitude_bins must be at least 2; got 1"),
    (
        lambda: ours.RandAugment(interpolation=InterpolationMode.LANCZOS),
        "interpolation must be one of .*; got 'lanczos'",
    ),
    (lambda: ours.RandAugment()(Image.new("RGBA", (9, 9))), "img must be of mode L or RGB; got RGBA"),
    (lambda: ours.RandAugment()("x.png"), "img must be a Pillow image or a tensor; got str"),
    (lambda: ours.RandAugment()(torch.zeros(3, 9, 9)), "must be uint8"),
    (
        lambda: ours.RandAugment()(torch.zeros(9, 9, dtype=torch.uint8)),
        r"img must be .*\(\.\.\., C, H, W\).*; got \(9, 9\)",
    ),
]


@pytest.mark.parametrize("call, message", ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_errors_name_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
