"""Every step of the engine against Pillow, bit for bit, and the form of programs. See augment_cases for the images."""

import numpy as np
import pytest
import torch
from augment_cases import PIL_COMPAT, batches, on_every_seed, permutations, values_of
from checks import needs_native, photographs
from PIL import Image

from dssl_ops import transforms as T
from dssl_ops.augment import OPCODES, Program, augment, augment_reference, image_op, normalization_table
from dssl_ops.jigsaw import jigsaw

AFFINE = ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"]
PLAIN = [name for name in OPCODES if name not in (*AFFINE, "ResizedCrop", "Jigsaw", "Source", "Emit")]


def assert_same(got, expected, what):
    different = (got != expected).flatten(1).any(1) if len(got) else torch.zeros(0)
    assert got.shape == expected.shape and got.dtype == expected.dtype, what
    assert not different.any(), (
        f"{what}: {int(different.sum())} of {len(got)} images differ, first {different.int().argmax()}"
    )


def through_pillow(images, name, values, interpolation=None):
    """image_op, but the programs are run by Pillow."""
    rows = [()] * len(images) if values is None else values.reshape(len(images), -1).tolist()
    tail = () if interpolation is None else (interpolation,)
    program = Program.from_steps([[(name, (*row, *tail))] for row in rows], images.shape[2:])
    return augment_reference(images, program)[0]


@needs_native
@on_every_seed
@pytest.mark.parametrize("name", PLAIN)
def test_step_equals_pillow(name, seed):
    rng = np.random.default_rng([OPCODES[name], seed])
    for images in batches(seed):
        values = values_of(name, rng, images)
        assert_same(
            image_op(images, name, values), through_pillow(images, name, values), f"{name} {tuple(images.shape)}"
        )


@needs_native
@on_every_seed
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("name", AFFINE)
def test_affine_step_equals_pillow(name, interpolation, seed):
    rng = np.random.default_rng([OPCODES[name], seed])
    number = {"nearest": 0, "bilinear": 2, "bicubic": 3}[interpolation]
    for images in batches(seed):
        values = values_of(name, rng, images)
        got = image_op(images, name, values, interpolation=interpolation)
        assert_same(got, through_pillow(images, name, values, number), f"{name} {interpolation} {tuple(images.shape)}")


def crop_and_resize(image, box, size, resample):
    top, left, height, width = box
    pil = Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())
    pil = pil.crop((left, top, left + width, top + height)).resize((size[1], size[0]), resample)
    return torch.from_numpy(np.array(pil)).reshape(*size, -1).permute(2, 0, 1)


@on_every_seed
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resized_crop_equals_pillow(interpolation, seed):
    """Also of the reference, which takes one axis at a time: here Pillow does both at once, in its own order."""
    rng = np.random.default_rng([1, seed])
    number = {"bilinear": 2, "bicubic": 3}[interpolation]
    for images in batches(seed):
        boxes, size = values_of("ResizedCrop", rng, images), tuple(map(int, rng.integers(1, 65, 2)))
        tail = (*size, number, PIL_COMPAT)
        program = Program.from_steps([[("ResizedCrop", (*box, *tail))] for box in boxes.tolist()], size)
        expected = torch.stack([crop_and_resize(*pair, size, number) for pair in zip(images, boxes.tolist())])
        what = f"ResizedCrop {interpolation} {tuple(images.shape)} to {size}"
        assert_same(augment(images, program)[0], expected, what)
        assert_same(augment_reference(images, program)[0], expected, "reference: " + what)
        if PIL_COMPAT == 13:
            assert_same(image_op(images, "ResizedCrop", boxes, size=size, interpolation=interpolation), expected, what)


@needs_native
def test_resized_crop_of_older_pillow_differs_only_where_the_pass_order_does():
    rng, differing = np.random.default_rng(2), 0
    for images in batches():
        box, size = (0, 0, *images.shape[2:]), tuple(map(int, rng.integers(1, 33, 2)))
        by_version = []
        for pil_compat in (12, 13):
            program = Program.from_steps([[("ResizedCrop", (*box, *size, 2, pil_compat))]] * len(images), size)
            by_version.append(augment(images, program)[0])
            assert_same(by_version[-1], augment_reference(images, program)[0], f"pil_compat {pil_compat}")
        differing += int((by_version[0] != by_version[1]).any())
    assert differing > 0


@on_every_seed
@pytest.mark.parametrize("grid", [1, 2, 3, 4, 7])
def test_jigsaw_step_equals_the_jigsaw_op_and_pillow(grid, seed):
    rng = np.random.default_rng([grid, seed])
    for images in batches(seed):
        if min(images.shape[2:]) >= grid:
            permutation = permutations(rng, len(images), grid, *images.shape[2:])
            got = image_op(images, "Jigsaw", permutation)
            assert_same(got, jigsaw(images, grid, permutation), f"jigsaw op, grid {grid}")
            assert_same(got, through_pillow(images, "Jigsaw", permutation), f"Pillow, grid {grid}")


def test_posterize_to_no_bits_is_black_and_values_are_per_image():
    images = batches()[-2][:3]
    assert image_op(images, "Posterize", 0).sum() == 0
    got = image_op(images, "Brightness", [0.0, 1.0, 0.5])
    assert got[0].sum() == 0 and torch.equal(got[1], images[1])
    assert torch.equal(got[2], image_op(images, "Brightness", 0.5)[2])
    assert torch.equal(
        image_op(images, "Cutout", (0, 0, 1, 1))[1, :, 0, 0], torch.tensor([125, 123, 114], dtype=torch.uint8)
    )


MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_table_normalises_every_byte_and_layout_is_kept(dtype, memory_format):
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    images = torch.arange(256, dtype=torch.uint8).repeat(2, 3, 1).reshape(2, 3, 16, 16).contiguous()
    program = Program.from_steps([[("Emit", (0,)), ("Invert", ()), ("Emit", (1,))]] * 2, (16, 16))
    table = normalization_table(MEAN, STD, 3, dtype)
    for run in (augment, augment_reference):
        views = run(images, program, table=table, memory_format=memory_format)
        for view, plain in zip(views, (images, 255 - images)):
            scaled = functional.to_dtype(plain, torch.float32, scale=True)
            assert torch.equal(view, functional.normalize(scaled, MEAN, STD).to(dtype))
            assert view.dtype == dtype and view.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("name", ["Equalize", "Rotate", "Sharpness", "Color", "HorizontalFlip"])
def test_layouts_and_strides_change_nothing(name):
    images = batches()[-2]
    values = values_of(name, np.random.default_rng(0), images)
    expected = image_op(images, name, values)
    wide = torch.zeros(len(images) * 2, 3, images.shape[2], images.shape[3] * 3, dtype=torch.uint8)
    wide[::2, :, :, 1::3] = images
    for layout in (
        images.to(memory_format=torch.channels_last),
        wide[::2, :, :, 1::3],
        images.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        assert torch.equal(layout, images) and torch.equal(image_op(layout, name, values), expected)


def test_program_is_replayed_from_its_text():
    images = batches()[-2][:2]
    steps = [[("Brightness", (0.1 + 0.2,)), ("Emit", (1,)), ("Source", ()), ("Rotate", (1 / 3, 2)), ("Emit", (0,))]] * 2
    program = Program.from_steps(steps, images.shape[2:])
    again = Program.from_json(program.to_json())
    assert len(again) == 2 and again.views == 2 and again.steps(1) == program.steps(1) == steps[1]
    assert Program.from_json(T.MultiView(T.Solarize(), 3).sample([], seed=0).to_json()).views == 3
    assert again.steps(-1) == steps[1] and "Rotate(0.333333, 2) > Emit(0)" in repr(program)
    assert torch.equal(augment(images, again), augment(images, program))
    assert torch.equal(augment(images, program)[0], image_op(images, "Rotate", 1 / 3, interpolation="bilinear"))
    assert torch.equal(augment(images, program)[1], image_op(images, "Brightness", 0.1 + 0.2))


@needs_native
def test_opcheck():
    images = batches()[-2][:2]
    program = Program.from_steps(
        [[("Equalize", ()), ("Emit", (0,)), ("Invert", ()), ("Emit", (1,))]] * 2, images.shape[2:]
    )
    tensors = (program.opcodes, program.step_offsets, program.values, program.value_offsets)
    sizes = torch.tensor([images.shape[2:]] * 2)
    table, out = normalization_table(MEAN, STD, 3), torch.empty(2, *images.shape)
    for source in (([images], None), (list(images), None), ([images.flatten()], sizes)):
        torch.library.opcheck(torch.ops.dssl_ops.augment.default, (*source, *tensors, table, out))
    torch.library.opcheck(torch.ops.dssl_ops.augment.default, ([images], None, *tensors, None, out.byte()))


def test_empty_batch_gives_an_empty_result():
    for channels in (1, 3):
        images = torch.empty(0, channels, 5, 7, dtype=torch.uint8)
        assert image_op(images, "Equalize").shape == (0, channels, 5, 7)
        assert image_op(images, "Brightness", 0.5).dtype == torch.uint8
        assert image_op(images, "ResizedCrop", torch.empty(0, 4), size=(3, 2)).shape == (0, channels, 3, 2)
        assert augment(images, Program.from_steps([], (4, 6))).shape == (1, 0, channels, 4, 6)


def test_natural_crops_come_from_photographs():
    photos = photographs()
    if photos is None:
        pytest.skip("no photographs beside the repository: drawn scenes stand in for natural crops")
    assert len(photos) == 50 and {photo.shape[0] for photo in photos} <= {1, 3}
