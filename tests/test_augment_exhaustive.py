"""Full pipelines on more than 10,000 images each, bit for bit against Pillow: `pytest -m exhaustive`.

The standard views are replayed by torchvision's functions for PIL images, the rest by Pillow step by step. The single
steps are in test_augment.py, the classes of values in augment_cases.py.
"""

import numpy as np
import pytest
import torch
from augment_cases import MORE_SEEDS, PIL_COMPAT, batches, photo_crop, smooth
from checks import needs_native, photographs
from test_transforms import replayed_by_torchvision, to_pillow

from dssl_ops import transforms as T
from dssl_ops.augment import augment_reference

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive, needs_native]
LEAST = 10_000


def photos():
    """250 photographs, or 50 drawn scenes of their size where they are not at hand: a list of (C, H, W) per colour."""
    images = photographs(1)
    if images is None:
        rng = np.random.default_rng(0)
        images = [
            torch.from_numpy(smooth(rng, channels, *rng.integers(100, 500, 2))) for channels in [3] * 48 + [1] * 2
        ]
    return [[image for image in images if image.shape[0] == channels] for channels in (3, 1)]


def small_photos():
    rng = np.random.default_rng(1)
    return torch.from_numpy(np.stack([photo_crop(rng, 3, 32, 32) for _ in range(500)]))


def assert_equal(got, expected, program, what):
    different = (got != expected).flatten(2).any(2)
    if different.any():
        view, image = different.nonzero()[0].tolist()
        raise AssertionError(f"{what}: view {view} of image {image}: {program.steps(image)}")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_cifar_view(interpolation):
    functional = pytest.importorskip("torchvision.transforms.functional")
    view, images, count = T.StandardView.cifar10(interpolation=interpolation, pil_compat=PIL_COMPAT), small_photos(), 0
    for epoch in range(21):
        program, got = view.sample(images, seed=0, epoch=epoch), view(images, seed=0, epoch=epoch)
        for index, image in enumerate(images):
            expected = replayed_by_torchvision(functional, to_pillow(image), program.steps(index))
            assert to_pillow(got[index]) == expected, f"epoch {epoch}, image {index}: {program.steps(index)}"
            count += 1
    assert count >= LEAST


def test_imagenet_view_of_photographs():
    functional = pytest.importorskip("torchvision.transforms.functional")
    view, count, epoch = T.StandardView.imagenet(pil_compat=PIL_COMPAT), 0, 0
    while count < LEAST:
        for images in photos():
            program, got = view.sample(images, seed=1, epoch=epoch), view(images, seed=1, epoch=epoch)
            for index, image in enumerate(images):
                expected = replayed_by_torchvision(functional, to_pillow(image), program.steps(index))
                assert to_pillow(got[index]) == expected, f"epoch {epoch}, image {index}: {program.steps(index)}"
            count += len(images)
        epoch += 1


POLICIES = {
    "RA author16": lambda n, m: T.RandAugment(n, m),
    "RA author16 bilinear": lambda n, m: T.RandAugment(n, m, interpolation="bilinear"),
    "RA ra14": lambda n, m: T.RandAugment(n, m, "ra14"),
    "RA ra14 bicubic": lambda n, m: T.RandAugment(n, m, "ra14", "bicubic"),
    "UA": lambda n, m: T.UniformAugment(n),
    "RA + Jigsaw": lambda n, m: T.Compose((T.RandAugment(n, m), T.Jigsaw(4))),
}


@pytest.mark.parametrize("name", POLICIES)
def test_heavy_policy(name):
    """On every size and content, n from 1 to 8 and every magnitude."""
    count = 0
    for seed in MORE_SEEDS:
        for number, images in enumerate(batches(seed)):
            if name == "RA + Jigsaw" and min(images.shape[2:]) < 4:
                images = images.repeat(1, 1, 4, 4)
            policy = POLICIES[name](1 + number % 8, (number * 7 + seed) % 31)
            keys = dict(seed=seed, epoch=number)
            program = policy.sample(images, **keys)
            assert_equal(policy(images, **keys)[None], augment_reference(images, program), program, policy)
            count += len(images)
    assert count >= LEAST


@pytest.mark.parametrize("op_set", ["author16", "ra14"])
def test_directed_views(op_set):
    """On every size and content: four views of each image."""
    count = 0
    for seed in MORE_SEEDS:
        for number, images in enumerate(batches(seed)):
            heavy = T.Compose((T.RandAugment(1 + number % 8, (number * 7) % 31, op_set), T.Jigsaw(4)))
            views = T.DirectedViews(T.StandardView.imagenet(24) if number % 2 else T.StandardView.cifar10(), heavy)
            program = views.sample(images, seed=seed)
            got = torch.stack(list(views(images, seed=seed)))
            assert_equal(got, augment_reference(images, program), program, views)
            count += len(images)
    assert count >= LEAST


def test_directed_views_of_photographs():
    """RA(2, 5) on author16, then Jigsaw(4), at 224 x 224: four views of each photograph, ten times."""
    views = T.DirectedViews(T.StandardView.imagenet(), T.Compose((T.RandAugment(2, 5), T.Jigsaw(4))))
    count, epoch = 0, 0
    while count < LEAST:
        for images in photos():
            keys = dict(seed=2, epoch=epoch)
            program, got = views.sample(images, **keys), torch.stack(list(views(images, **keys)))
            assert_equal(got, augment_reference(images, program), program, views)
            count += got.shape[0] * got.shape[1]
        epoch += 1
