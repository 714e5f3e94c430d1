"""Images of several sizes: a list or one buffer gives what the images give one at a time, bit for bit."""

import pickle

import pytest
import torch

from dssl_ops import RaggedImages
from dssl_ops.augment import Program, augment, augment_reference
from dssl_ops.transforms import (
    Compose,
    DirectedViews,
    Jigsaw,
    MultiView,
    Normalize,
    RandAugment,
    RandomResizedCrop,
    StandardView,
)

SIZES = [(1, 1), (1, 17), (23, 1), (2, 3), (40, 31), (375, 250), (31, 40), (64, 64), (64, 64)]
HEAVY = Compose((RandAugment(2, 9), Jigsaw(4)))
TRANSFORMS = {
    "standard": StandardView.imagenet(20),
    "directed": DirectedViews(StandardView.cifar10((24, 32)), HEAVY, Normalize(0.5, 0.2, torch.bfloat16)),
    "multi": MultiView(Compose((RandomResizedCrop(16, interpolation="bicubic"), RandAugment(3, 9, "ra14"))), 3),
    "before the crop": Compose((RandAugment(2, 20), RandomResizedCrop((9, 5)))),
}


def drawn(channels=3, sizes=SIZES):
    generator = torch.Generator().manual_seed(channels)
    return [torch.randint(0, 256, (channels, *size), dtype=torch.uint8, generator=generator) for size in sizes]


def laid_out(images):
    """The same images, each in another layout: as decoders, slices and transpositions leave them."""
    wide = [torch.stack([image, image], dim=-1) for image in images]
    layouts = [
        lambda i: images[i],
        lambda i: images[i].permute(1, 2, 0).contiguous().permute(2, 0, 1),
        lambda i: wide[i][..., 1],
        lambda i: images[i].transpose(1, 2).contiguous().transpose(1, 2),
        lambda i: images[i].flip(2).flip(2),
    ]
    return [layouts[i % len(layouts)](i) for i in range(len(images))]


def stacked(views):
    return views if isinstance(views, torch.Tensor) else torch.stack(list(views))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_ragged_images_give_what_each_gives_alone(name, channels, threads):
    images, transform = drawn(channels), TRANSFORMS[name]
    keys = dict(seed=3, epoch=2)
    alone = [stacked(transform(image, sample_ids=10 * i, **keys)) for i, image in enumerate(images)]
    expected = torch.stack(alone, dim=alone[0].dim() - 3)
    ids = [10 * i for i in range(len(images))]
    for source in (images, tuple(laid_out(images)), RaggedImages.from_list(laid_out(images))):
        for got in threads(lambda source=source: stacked(transform(source, sample_ids=ids, **keys))):
            assert torch.equal(got, expected)
    backwards = stacked(transform(images[::-1], sample_ids=ids[::-1], **keys))
    assert torch.equal(backwards.flip(expected.dim() - 4), expected)
    last = stacked(transform(images, sample_ids=ids, memory_format=torch.channels_last, **keys))
    assert torch.equal(last, expected)


def test_images_of_one_size_in_a_list_are_a_batch():
    images = torch.stack(drawn(sizes=[(32, 32)] * 5))
    assert torch.equal(HEAVY(list(images), seed=1), HEAVY(images, seed=1))
    assert torch.equal(HEAVY(RaggedImages.from_list(list(images)), seed=1), HEAVY(images, seed=1))


def test_source_steps_go_back_to_each_image_s_own_size():
    images = drawn()
    crops = [("ResizedCrop", (0, 0, *image.shape[1:], 6, 7, 3, 13)) for image in images]
    corner, again = ("ResizedCrop", (0, 0, 1, 1, 6, 7, 2, 13)), ("Source", ())
    steps = [[("Invert", ()), again, crop, ("Emit", (0,)), again, corner, ("Emit", (1,))] for crop in crops]
    program = Program.from_steps(steps, (6, 7))
    expected = augment_reference(images, program)
    for source in (images, RaggedImages.from_list(images)):
        assert torch.equal(augment(source, program), expected)
        assert torch.equal(augment_reference(source, program), expected)
        assert torch.equal(augment(source, Program.from_json(program.to_json())), expected)


def test_no_images():
    for empty, channels in (([], 3), (RaggedImages.from_list([]), 3)):
        views = TRANSFORMS["directed"](empty, seed=0)
        assert {view.shape for view in views} == {(0, channels, 24, 32)} and views.v.dtype == torch.bfloat16
        assert augment(empty, Program.from_steps([], (4, 6))).shape == (1, 0, channels, 4, 6)
    grey = RaggedImages(torch.empty(0, dtype=torch.uint8), torch.empty(0, 2, dtype=torch.int64), 1)
    assert StandardView(8)(grey, seed=0).shape == (0, 1, 8, 8)


def test_a_list_is_not_copied(monkeypatch):
    images = [
        image if i % 2 else image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for i, image in enumerate(drawn())
    ]

    def refuse(*_, **__):
        raise AssertionError("an image was copied")

    expected = StandardView(8)(images, seed=0)
    monkeypatch.setattr(torch.Tensor, "contiguous", refuse)
    monkeypatch.setattr(torch, "cat", refuse)
    monkeypatch.setattr(torch, "stack", refuse)
    assert torch.equal(StandardView(8)(images, seed=0), expected)


def test_ragged_images_are_a_sequence_of_views():
    images = drawn()
    ragged = RaggedImages.from_list(images)
    assert len(ragged) == len(images) and ragged.offsets[-1] == sum(image.numel() for image in images)
    for got in (ragged, pickle.loads(pickle.dumps(ragged)), ragged.share_memory_()):
        assert all(torch.equal(a, b) for a, b in zip(got, images, strict=True))
        assert torch.equal(got[-2], images[-2]) and got[4].data_ptr() == got.data.data_ptr() + int(got.offsets[4])
    assert ragged.data.is_shared() and "9 images" in repr(ragged)
    assert torch.equal(RaggedImages.from_list(image for image in images).data, ragged.data)
    with pytest.raises(IndexError):
        ragged[9]
    with pytest.raises(TypeError, match="slice"):
        ragged[:2]


BYTES, PAIR = torch.zeros(24, dtype=torch.uint8), torch.tensor([[2, 4]])
ERRORS = [
    (lambda: StandardView(8)([drawn(3)[0], drawn(1)[0]], seed=0), r"one list must all be grey or all RGB; got both"),
    (lambda: StandardView(8)([BYTES, BYTES], seed=0), r"image 0 of the list must be uint8 \(C, H, W\) .*uint8 \(24,\)"),
    (lambda: StandardView(8)([drawn()[0], 3], seed=0), r"image 1 of the list must be a uint8 .* tensor; got int"),
    (lambda: StandardView(8)([drawn()[0].float()], seed=0), r"image 0 of the list must be uint8 .*got float32 \(3, 1"),
    (
        lambda: StandardView(8)([drawn()[0].to_sparse()], seed=0),
        r"image 0 of the list must be a dense .*torch.sparse",
    ),
    (lambda: StandardView(8).sample([(8, 8), (32769, 1)], seed=0), r"sizes must be \(B, 2\) .* in 1..32768; got"),
    (lambda: HEAVY(drawn(), seed=0), r"Jigsaw: images must have one size here; put a RandomResizedCrop before it"),
    (lambda: augment(drawn(), Program.from_steps([[]] * 2, (4, 4))), r"one program per image; got 2 for 9 images"),
    (lambda: RaggedImages(BYTES.int(), PAIR, 3), r"RaggedImages: data must be .*torch.uint8 .*; got int32 \(24,\)"),
    (lambda: RaggedImages(BYTES, PAIR.int(), 3), r"RaggedImages: sizes must be .*torch.int64 .*; got int32 \(1, 2\)"),
    (lambda: RaggedImages(BYTES, PAIR, 2), r"RaggedImages: channels must be 1 or 3; got 2"),
    (lambda: RaggedImages(BYTES, PAIR, 1), r"RaggedImages: data must hold the 8 bytes of the sizes; got 24"),
    (lambda: RaggedImages(BYTES, PAIR * 0, 3), r"RaggedImages: sizes must be \(B, 2\) in 1..32768"),
    (lambda: RaggedImages.from_list([BYTES]), r"RaggedImages: image 0 of the list must be uint8 \(C, H, W\)"),
]


@pytest.mark.parametrize("bad, message", ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_bad_input_gives_one_clear_error(bad, message):
    with pytest.raises(ValueError, match=message) as caught:
        bad()
    assert len(str(caught.value).splitlines()) == 1
