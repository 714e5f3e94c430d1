"""Whole pipelines against Pillow and torchvision's PIL functions, what a view depends on, and every error's text."""

import random

import numpy as np
import pytest
import torch
from augment_cases import PIL_COMPAT, batches
from checks import needs_native
from PIL import Image, ImageFilter

from dssl_ops import transforms as T
from dssl_ops.augment import Program, augment, augment_reference
from dssl_ops.transforms import (
    Choice,
    ColorJitter,
    Compose,
    DirectedViews,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Jigsaw,
    MultiView,
    Normalize,
    RandAugment,
    RandomResizedCrop,
    Solarize,
    StandardView,
)

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
SIZES = [(32, 32), (16, 21), 7, (40, 64)]


def to_pillow(image):
    return Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())


def replayed_by_torchvision(functional, image, steps):
    """The steps of a standard view through torchvision's functions for PIL images."""
    adjust = {
        "Brightness": functional.adjust_brightness,
        "Contrast": functional.adjust_contrast,
        "Color": functional.adjust_saturation,
        "Hue": functional.adjust_hue,
    }
    for name, values in steps:
        if name == "ResizedCrop":
            top, left, height, width, *size = map(int, values[:6])
            mode = {2: functional.InterpolationMode.BILINEAR, 3: functional.InterpolationMode.BICUBIC}[values[6]]
            image = functional.resized_crop(image, top, left, height, width, size, mode)
        elif name == "HorizontalFlip":
            image = functional.hflip(image)
        elif name == "Grayscale":
            image = functional.rgb_to_grayscale(image, len(image.getbands()))
        elif name == "GaussianBlur":  # the authors' blur; torchvision's is another
            image = image.filter(ImageFilter.GaussianBlur(radius=values[0]))
        elif name == "Solarize":
            image = functional.solarize(image, *values)
        elif name != "Emit":
            image = adjust[name](image, *values)
    return image


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_standard_view_equals_torchvision_on_pillow(interpolation):
    functional = pytest.importorskip("torchvision.transforms.functional")
    for seed, images in enumerate(batches()):
        changes = dict(interpolation=interpolation, pil_compat=PIL_COMPAT)
        view = StandardView.imagenet(SIZES[seed % 4], **changes) if seed % 3 else StandardView.cifar10(**changes)
        program, got = view.sample(images, seed=seed), view(images, seed=seed)
        for index in range(len(images)):
            expected = replayed_by_torchvision(functional, to_pillow(images[index]), program.steps(index))
            assert to_pillow(got[index]) == expected, f"batch {seed}, image {index}: {program.steps(index)}"


@needs_native
@pytest.mark.parametrize("op_set, interpolation", [("author16", "nearest"), ("ra14", "nearest"), ("ra14", "bicubic")])
def test_directed_views_equal_pillow(op_set, interpolation):
    for seed, images in enumerate(batches()):
        standard = StandardView.imagenet(SIZES[seed % 4]) if seed % 2 else StandardView.cifar10(SIZES[seed % 4])
        heavy = Compose((RandAugment(2 + seed % 3, (seed * 7) % 31, op_set, interpolation), Jigsaw(4, 0.7)))
        views = DirectedViews(standard, heavy)
        expected = augment_reference(images, views.sample(images, seed=seed))
        for name, got, truth in zip(views(images, seed=seed)._fields, views(images, seed=seed), expected):
            different = (got != truth).flatten(1).any(1)
            assert not different.any(), f"{name} of batch {seed}, image {int(different.int().argmax())}"


def directed(op_set="author16", **changes):
    return DirectedViews(StandardView.cifar10(), Compose((RandAugment(2, 9, op_set), Jigsaw(4))), **changes)


def test_heavy_views_continue_their_standard_views():
    images, views = batches()[-2], directed()
    program, result = views.sample(images, seed=3), views(images, seed=3)
    standard = StandardView.cifar10()
    assert torch.equal(result.v, standard(images, seed=3)) and torch.equal(
        result.v_prime, standard(images, seed=3, view=1)
    )
    for light, heavy, (start, end) in ((result.v, result.heavy, (0, 2)), (result.v_prime, result.heavy_prime, (1, 3))):
        tails, alone = [], views.heavy.sample([(32, 32)] * len(images), seed=3, view=end)
        for index in range(len(images)):
            steps = program.steps(index)
            tails.append(steps[steps.index(("Emit", (start,))) + 1 : steps.index(("Emit", (end,)))])
            assert tails[-1] == alone.steps(index)[:-1]
        assert torch.equal(augment(light, Program.from_steps(tails, (32, 32)))[0], heavy)
        assert not torch.equal(light, heavy)
    assert [steps.count(("Source", ())) for steps in map(program.steps, range(3))] == [1, 1, 1]


def test_multi_view_draws_every_view_on_its_own():
    images, transform = batches()[-2], Compose((StandardView.cifar10(), RandAugment(1, 9)))
    views = MultiView(transform, 3)(images, seed=1, epoch=2)
    for number, view in enumerate(views):
        assert torch.equal(view, transform(images, seed=1, epoch=2, view=number))
    assert not torch.equal(views[0], views[1]) and not torch.equal(views[1], views[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_normalised_views_equal_torchvision(dtype):
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    for images in batches()[-4:]:
        mean, std = (MEAN, STD) if images.shape[1] == 3 else (MEAN[:1], STD[:1])
        normalize = Normalize(mean, std, dtype)
        compose = Compose((StandardView.cifar10(), normalize))
        results = [*directed(normalize=normalize)(images, seed=1), compose(images, seed=1)]
        for got, plain in zip(results, [*directed()(images, seed=1), StandardView.cifar10()(images, seed=1)]):
            scaled = functional.to_dtype(plain, torch.float32, scale=True)
            assert torch.equal(got, functional.normalize(scaled, list(mean), list(std)).to(dtype))


TRANSFORMS = {
    "directed author16": directed(),
    "directed ra14": directed("ra14", normalize=Normalize(MEAN, STD)),
    "multi": MultiView(Choice((StandardView.imagenet(20), RandomResizedCrop(20)), (0.6, 0.4)), 2),
}


def views_of(name, images, **keys):
    return torch.stack(list(TRANSFORMS[name](images, **keys)))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_same_key_same_view(name, threads):
    """Whatever the split, the order, the threads and the layout; and other keys give other views."""
    images = batches()[-2]
    ids = torch.randint(0, 2**40, (len(images),), generator=torch.Generator().manual_seed(0))
    keys = dict(seed=5, epoch=6)
    expected = views_of(name, images, sample_ids=ids, **keys)
    for got in threads(lambda: views_of(name, images, sample_ids=ids, **keys)):
        assert torch.equal(got, expected)
    parts = [
        views_of(name, images[part], sample_ids=ids[part], **keys)
        for part in (slice(0, 1), slice(1, 30), slice(30, 44))
    ]
    assert torch.equal(torch.cat(parts, dim=1), expected)
    assert torch.equal(views_of(name, images.flip(0), sample_ids=ids.flip(0), **keys).flip(1), expected)
    some = torch.tensor([7, 3, 3, 40])
    assert torch.equal(views_of(name, images[some], sample_ids=ids[some], **keys), expected[:, some])
    channels_last = images.to(memory_format=torch.channels_last)
    turned = images.transpose(2, 3).contiguous().transpose(2, 3)
    for layout in (channels_last, turned):
        assert torch.equal(views_of(name, layout, sample_ids=ids, **keys), expected)
    last = views_of(name, images, sample_ids=ids, memory_format=torch.channels_last, **keys)
    assert torch.equal(last, expected)
    alone = TRANSFORMS[name](images[9], sample_ids=int(ids[9]), **keys)
    assert torch.equal(torch.stack(list(alone)), expected[:, 9])
    for other in (dict(seed=6, epoch=6), dict(seed=5, epoch=7), dict(seed=5, epoch=6, sample_ids=ids + 1)):
        differs = (views_of(name, images, **{"sample_ids": ids, **other}) != expected).flatten(2).any(2)
        assert differs.float().mean() > 0.5  # constant images are among them


def test_views_keep_their_memory_format():
    images = batches()[-2]
    for view in directed()(images, seed=0, memory_format=torch.channels_last):
        assert view.is_contiguous(memory_format=torch.channels_last) and not view.is_contiguous()
    assert all(view.is_contiguous() for view in directed()(images.to(memory_format=torch.channels_last), seed=0))


def test_view_number_draws_anew():
    images, view = batches()[-2], StandardView.cifar10()
    assert not torch.equal(view(images, seed=0), view(images, seed=0, view=1))


def test_global_random_state_is_untouched():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    directed()(batches()[-2], seed=0)
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


@pytest.mark.parametrize("channels", [1, 3])
def test_empty_batch_gives_empty_views(channels):
    images = torch.empty(0, channels, 40, 36, dtype=torch.uint8)
    normalize = Normalize(0.5, 0.5, torch.float16)
    for view in directed("ra14", normalize=normalize)(images, seed=0):
        assert view.shape == (0, channels, 32, 32) and view.dtype == torch.float16
    assert len(StandardView.cifar10().sample([], seed=0)) == 0


@pytest.mark.parametrize("transform", [
    directed(), *TRANSFORMS.values(), StandardView.imagenet(), Choice((Jigsaw(3), Compose(()))),
    Compose((ColorJitter(0.4, (0.1, 2.0), hue=0.1, p=0.3), Solarize(3), GaussianBlur(), Grayscale(), HorizontalFlip())),
])  # fmt: skip
def test_repr_makes_the_transform_again(transform):
    assert eval(repr(transform)) == transform


def test_transforms_given_lists_are_still_values():
    assert T.StandardView(32, jitter=[0.4, 0.4, 0.4, 0.1], scale=[0.2, 1.0]) == T.StandardView(32)
    assert T.RandomResizedCrop([8, 9], [0.2, 1.0]) == T.RandomResizedCrop((8, 9), (0.2, 1.0))
    assert hash(T.GaussianBlur([0.1, 2.0])) == hash(T.GaussianBlur((0.1, 2.0)))


@pytest.mark.parametrize("source", [[], torch.empty(0, 2, dtype=torch.int64)], ids=["list", "tensor"])
@pytest.mark.parametrize("transform", [T.HorizontalFlip(), T.Jigsaw(2), T.RandAugment(2, 5, op_set="ra14")], ids=str)
def test_programs_of_no_images_are_none(transform, source):
    assert len(transform.sample(source, seed=0)) == 0


@needs_native
def test_the_most_operations_that_a_draw_can_key_run():
    images = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    assert len(T.RandAugment(2048, 5).sample(images, seed=0).steps(0)) == 2048 + 1
