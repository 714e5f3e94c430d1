"""The interpreter of the augmentation engine against the CPU op: bits, whatever the program."""

import numpy as np
import pytest
import torch
from augment_cases import permutations, values_of
from checks import needs_native

from dssl_ops import transforms as T
from dssl_ops.augment import OPCODES, Program, augment, normalization_table
from dssl_ops.program import AFFINE_OPS
from emulator import ORDERS, emulated

pytestmark = [needs_native, pytest.mark.usefixtures("poisoned_memory")]


def lowered(program, images, channels):
    """What augment_cuda.cpp sends to the device, and the bytes of an arena."""
    tensors = (program.opcodes, program.step_offsets, program.values, program.value_offsets)
    room = 48 * len(images) + 80 * len(program.opcodes) + 8 * len(program.values)
    words, found = torch.empty(room, dtype=torch.uint8), torch.empty(2, dtype=torch.int64)
    emulated("augment").augment_lower(images, len(images), channels, *tensors, words, found)
    return stored(words[: found[0]].view(torch.int64).tolist()), int(found[1])


def stored(words):
    """These words of the host on the device, as a CUDA graph's capture sends them."""
    there = torch.empty(len(words), dtype=torch.int64)
    emulated("augment").augment_store(words, there.nbytes, there)
    return there


def launch(memory, images, program, channels, table=None, memory_format=torch.contiguous_format, **how):
    """The launches that augment_cuda.cpp makes; images: rows of origin in `memory`, height, width, channels_last."""
    count, kernels, arch = len(images), emulated("augment"), {"arch": how.get("arch", "9.0")}
    words, arena = lowered(program, images, channels)
    dtype = torch.uint8 if table is None else table.dtype
    out = torch.empty(program.views * count, channels, program.height, program.width, dtype=dtype)
    out = out.contiguous(memory_format=memory_format)
    blocks = torch.empty(1, dtype=torch.int64)
    kernels.augment_blocks(count, arena, blocks, **arch)
    blocks = int(blocks)
    workspace = torch.empty(blocks * arena, dtype=torch.uint8) if blocks else None
    last, shape = memory_format == torch.channels_last, (channels, program.height, program.width)
    kernels.augment_launch(
        words, memory, count, arena, table, out, *shape, out.element_size(), last, workspace, blocks, **how
    )
    return out.unflatten(0, (program.views, count)), blocks


def run(images, program, **how):
    """Of images in one tensor."""
    _, channels, height, width = images.shape
    planar = images.is_contiguous()
    rows = [[i * channels * height * width, height, width, not planar] for i in range(len(images))]
    return launch(images, torch.tensor(rows), program, channels, **how)[0]


def scenes(rng, batch, channels, height, width):
    """Random bytes, few levels, and one level: what histograms differ by."""
    images = rng.integers(0, 256, (batch, channels, height, width), dtype=np.uint8)
    images[1::4] = images[1::4] // 32 * 9
    images[2::7] = images[2::7, :, :1, :1]
    return torch.from_numpy(images)


def values_for(name, rng, images, interpolation):
    rows = values_of(name, rng, images)
    rows = np.zeros((len(images), 0)) if rows is None else rows.reshape(len(images), -1).numpy()
    if name == "Jigsaw":
        return permutations(rng, len(images), min(3, *images.shape[2:]), *images.shape[2:]).numpy()
    tail = [interpolation] if name in AFFINE_OPS else []
    tail = [9, 12, interpolation or 2, 13 - len(images) % 2] if name == "ResizedCrop" else tail
    return np.concatenate([rows, np.tile(tail, (len(rows), 1))], axis=1)


STEPS = [name for name in OPCODES if name not in ("Source", "Emit")]
SIDES = [(1, 1), (2, 5), (9, 12), (16, 16), (33, 17)]


@pytest.mark.parametrize("name", STEPS)
def test_step_equals_the_cpu(rng, name):
    """Alone, and between operations that leave a table and a histogram behind."""
    for (height, width), channels, order in zip(SIDES, (3, 1, 3, 3, 1), (*ORDERS, *ORDERS), strict=False):
        for interpolation in (0, 2, 3) if name in AFFINE_OPS else (2,):
            images = scenes(rng, 7, channels, height, width)
            values = values_for(name, rng, images, interpolation).tolist()
            size = (9, 12) if name == "ResizedCrop" else (height, width)
            before = [("Solarize", (99.5,)), ("Equalize", ())]
            steps = [[(name, row), ("Emit", (0,))] for row in values[:3]]
            steps += [[*before, (name, row), ("AutoContrast", ()), ("Emit", (0,))] for row in values[3:]]
            program = Program.from_steps(steps, size)
            what = f"{name} {interpolation} {tuple(images.shape)}"
            assert torch.equal(run(images, program, order=order), augment(images, program)), what


HEAVY = T.Compose((T.RandAugment(2, 5), T.Jigsaw(4)))
SMALL = (12, 16)
POLICIES = {
    "author16": T.RandAugment(3, 18),
    "ra14": T.RandAugment(3, 20, "ra14", "bilinear"),
    "uniform": T.UniformAugment(3),
    "standard": T.StandardView.imagenet(SMALL),
    "directed": T.DirectedViews(T.StandardView.cifar10(SMALL), HEAVY),
    "byol": T.DirectedViews(T.StandardView.byol(SMALL), HEAVY),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_thousand_random_programs_equal_the_cpu(name):
    for seed in range(10):
        size = ((12, 16), (8, 8), (15, 9))[seed % 3]
        images = scenes(np.random.default_rng(seed), 100, 3 if seed % 4 else 1, *size)
        program = POLICIES[name].sample(images, seed=seed)
        got = run(images, program, order=ORDERS[seed // 2 % 3], seed=seed)
        assert torch.equal(got, augment(images, program)), f"{name}, seed {seed}"


@pytest.mark.parametrize("count", [0, 1, 479, 480, 481, 5000])
def test_messages_of_any_length_reach_the_device(rng, count):
    words = rng.integers(-(2**63), 2**63, count).tolist()
    assert stored(words).tolist() == words


DTYPES = [torch.uint8, torch.float32, torch.bfloat16, torch.float16]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_views_of_any_dtype_and_layout(rng, dtype):
    for channels in (1, 3):
        table = None if dtype == torch.uint8 else normalization_table((0.4,), (0.2,), channels, dtype)
        for size in ((8, 8), (5, 7)):
            images = scenes(rng, 3, channels, *size)
            program = Program.from_steps([[("Invert", ()), ("Emit", (1,)), ("Source", ()), ("Emit", (0,))]] * 3, size)
            expected = augment(images, program, table=table)
            for layout in LAYOUTS:
                for source in LAYOUTS:
                    given = images.contiguous(memory_format=source)
                    assert torch.equal(run(given, program, table=table, memory_format=layout), expected)


def ragged(rng, channels):
    """Images of several sizes here and there in one memory, some channels_last, and their places."""
    sizes = [(7, 9), (16, 5), (12, 12), (1, 3), (40, 11)]
    memory = torch.from_numpy(rng.integers(0, 256, 4096, dtype=np.uint8))
    origins, images, rows = [1003, 16, 2999, 0, 1600], [], []
    for index, (origin, (height, width)) in enumerate(zip(origins, sizes)):
        flat = memory[origin : origin + channels * height * width]
        last = index % 2
        shape = (height, width, channels) if last else (channels, height, width)
        image = flat.view(shape)
        images.append(image.permute(2, 0, 1) if last else image)
        rows.append([origin, height, width, last])
    return memory, images, torch.tensor(rows)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_several_sizes(rng, channels):
    memory, images, rows = ragged(rng, channels)
    maker = T.DirectedViews(T.StandardView.byol(SMALL), HEAVY)
    for seed, order in enumerate(ORDERS):
        program = maker.sample(images, seed=seed)
        got, _ = launch(memory, rows, program, channels, order=order)
        assert torch.equal(got, augment(images, program)), seed


def test_images_beyond_shared_memory_lie_in_a_workspace(rng):
    """More images than blocks, of which one runs on each of the 4 multiprocessors."""
    images = scenes(rng, 11, 3, 104, 112)
    steps = [("ResizedCrop", (3, 2, 90, 99, 104, 112, 3, 13)), ("Equalize", ()), ("GaussianBlur", (1.3,))]
    steps += [("Sharpness", (1.7,)), ("Jigsaw", (3, 1, 2, 0)), ("Emit", (0,))]
    program = Program.from_steps([steps[b % 4 :] for b in range(11)], (104, 112))
    rows = torch.tensor([[b * 3 * 104 * 112, 104, 112, 0] for b in range(11)])
    got, blocks = launch(images, rows, program, 3, arch="7.5")
    assert blocks == 4 and torch.equal(got, augment(images, program))


def test_a_shared_memory_of_its_limit_is_used(rng):
    """104 x 104 RGB twice, taps and a plane fit 99 KiB less what the block keeps beside, 128 x 128 does not."""
    for side, expected in ((104, 0), (128, 1)):
        images = scenes(rng, 1, 3, side, side)
        program = Program.from_steps([[("Sharpness", (0.3,)), ("Emit", (0,))]], (side, side))
        got, blocks = launch(images, torch.tensor([[0, side, side, 0]]), program, 3, arch="8.6")
        assert blocks == expected and torch.equal(got, augment(images, program))
