"""Draws: Philox's known answers, compiled sampler = Python sampler, and the laws of what is drawn."""

import itertools
import math
from collections import Counter

import pytest
import torch
from checks import chi_square, needs_native

from dssl_ops.augment_sample import TRUNCATED, augment_sample_reference, philox
from dssl_ops.instructions import Listing
from dssl_ops.op_sets import OP_SETS
from dssl_ops.program import NAMES, OPCODES
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
    RandAugment,
    RandomApply,
    RandomResizedCrop,
    Solarize,
    StandardView,
    UniformAugment,
)

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    "counter, key, words",
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ONES,) * 4, (ONES,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_known_answers(counter, key, words):
    """Random123's own vectors (kat_vectors, philox4x32 10)."""
    assert " ".join(f"{word:08x}" for word in philox(counter, key)) == words


# Every kind of instruction, and values at their edges.
KINDS = {
    "fixed": Compose((HorizontalFlip(0.3), Grayscale(1.0), Solarize(127.5, 0.7), HorizontalFlip(0.0))),
    "crop": RandomResizedCrop((9, 13), (0.08, 1.0)),
    "crop that rarely fits": RandomResizedCrop(5, (0.9, 1.5), (0.1, 9.0), "bicubic", 12),
    "crop that never fits": RandomResizedCrop(5, (3.0, 4.0), (0.5, 0.6)),
    "crop of one ratio": RandomResizedCrop(5, (0.5, 0.5), (1.0, 1.0)),
    "jitter": ColorJitter(0.4, (0.2, 3.0), 0.4, 0.1, p=0.8),
    "jitter of two": ColorJitter(contrast=0.5, hue=(-0.5, 0.1)),
    "blur": GaussianBlur((0.1, 2.0), 0.5),
    "author16": RandAugment(3, 7.3),
    "author16 at 30": RandAugment(2, 30, interpolation="bicubic"),
    "author16 at 0": RandAugment(2, 0),
    "jigsaw": Jigsaw(4, 0.8),
    "large jigsaw": Compose((RandomResizedCrop(32), Jigsaw(31))),
    "choice": Choice((RandAugment(1), Compose(()), Compose((HorizontalFlip(), Jigsaw(2)))), (0.5, 0.1, 0.4)),
    "nested choice": Compose((Choice((Choice((Solarize(1), Solarize(2))), Solarize(3))), HorizontalFlip())),
    "ra14": Compose((RandomResizedCrop((32, 48)), RandAugment(4, 9, "ra14", "bilinear"))),
    "operations half of the time": RandAugment(3, 9, p=0.5),
    "uniform": UniformAugment(3, "author16"),
    "uniform ua15": Compose((RandomResizedCrop((32, 48)), UniformAugment())),
    "random apply": Compose((RandomApply((Solarize(1), HorizontalFlip()), 0.3), Solarize(2, 0.5))),
    "byol": MultiView(StandardView.byol(24), 4),
    "directed": DirectedViews(StandardView.imagenet(24), Compose((RandAugment(2, 5), Jigsaw(4)))),
    "directed choice": DirectedViews(StandardView(32), Choice((RandAugment(2, 9, "ra14"), Jigsaw(5)), (0.9, 0.1))),
    "multi": MultiView(Compose((StandardView.cifar10(), RandAugment())), 3),
}  # fmt: skip
SIZES = [(32, 32), (1, 1), (1, 64), (64, 1), (7, 31), (375, 500), (1600, 1200), (33, 32)]


def drawn(transform, sizes, **keys):
    program = transform.sample(sizes, **keys)
    return program.opcodes, program.step_offsets, program.values, program.value_offsets


@needs_native
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_sampler_equals_the_python_one(kind, monkeypatch):
    transform = KINDS[kind]
    for number, (seed, epoch) in enumerate([(0, 0), (1, 7), (2**64 - 1, 2**32 - 1), (-5, 800), (2**63, 3)]):
        for size in SIZES:
            if min(size) < {"jigsaw": 4, "choice": 2}.get(kind, 1):  # the grid must fit
                continue
            ids = torch.randint(-(2**62), 2**62, (24,), generator=torch.Generator().manual_seed(number))
            keys = dict(seed=seed, epoch=epoch, sample_ids=ids)
            got = drawn(transform, [size] * 24, **keys)
            with monkeypatch.context() as patch:
                patch.setattr("dssl_ops.augment_sample.native", lambda: False)
                expected = drawn(transform, [size] * 24, **keys)
            assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(got, expected)), (size, seed)


@needs_native
def test_samplers_agree_on_several_sizes_and_on_drawn_probabilities():
    """UniformAugment's words: ranges of magnitude and, at -1, a probability drawn for every slot."""
    listing = Listing(None, None)
    entries = [
        [OPCODES["Rotate"], 0, 0, 30, 1, 0],
        [OPCODES["Posterize"], 0, 4, 8, 0, 1],
        [OPCODES["Cutout"], 0, 0, 20, 0, 2],
        [OPCODES["Invert"], 0, 0, 0, 0, 3],
        [OPCODES["TranslateX"], 1.0, 0, 0.9, 1, 1],
        [OPCODES["Posterize"], 0, 0, 4, 0, 4],
    ]
    listing.add(4, 5, -1, 3, *itertools.chain(*entries))
    words = torch.tensor(listing.words, dtype=torch.float64)
    sizes = torch.tensor(SIZES * 50)
    ids = torch.arange(len(sizes))
    got = torch.ops.dssl_ops.augment_sample(words, ids, sizes, 3, 4)
    expected = augment_sample_reference(words, ids, sizes, 3, 4)
    assert all(torch.equal(a, b) for a, b in zip(got, expected))
    assert 0.4 < len(got[0]) / (5 * len(sizes)) < 0.6  # a probability uniform in [0, 1] applies half of the slots


def test_positions_in_the_counter_are_static():
    """A branch or a probability never shifts the draws of what follows it."""
    sizes = [(32, 32)] * 200
    tails = []
    for head in (HorizontalFlip(0.0), HorizontalFlip(1.0), Solarize(3, 0.5)):
        steps = Compose((head, Choice((Solarize(1), Jigsaw(2))), RandAugment(2, 5))).sample(sizes, seed=1)
        tails.append([steps.steps(i)[-3:] for i in range(200)])
    assert tails[0] == tails[1] == tails[2]


@pytest.mark.parametrize("op_set", OP_SETS)
def test_operations_and_signs_are_drawn_evenly(op_set):
    entries = OP_SETS[op_set](9, 32, 32)
    program = RandAugment(2, 9, op_set).sample([(32, 32)] * 8000, seed=11)
    firsts, seconds = ([program.steps(i)[slot] for i in range(len(program))] for slot in (0, 1))
    pairs = Counter((first[0], second[0]) for first, second in zip(firsts, seconds))
    names = [entry.name for entry in entries]
    assert chi_square(pairs, {pair: 8000 / len(names) ** 2 for pair in itertools.product(names, names)})
    for entry in entries:
        values = Counter(step[1][0] for step in firsts + seconds if step[0] == entry.name and step[1])
        if entry.signed:
            both = {entry.base + entry.low, entry.base - entry.low}
            both = {math.trunc(value) for value in both} if entry.kind == TRUNCATED else both
            assert chi_square(values, dict.fromkeys(both, sum(values.values()) / 2)), entry
        elif entry.name != "Cutout":
            assert len(values) <= 1, entry


def test_flip_jitter_and_blur_are_drawn_as_named():
    transform = Compose((HorizontalFlip(0.5), ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8), GaussianBlur((0.1, 2.0), 0.3)))
    program = transform.sample([(32, 32)] * 8000, seed=5)
    all_steps = [program.steps(i) for i in range(len(program))]
    named = [{name: values for name, values in steps} for steps in all_steps]
    for name, p in (("HorizontalFlip", 0.5), ("Hue", 0.8), ("GaussianBlur", 0.3)):
        assert abs(sum(name in steps for steps in named) - 8000 * p) < 4 * math.sqrt(8000 * p * (1 - p)), name
    jitter = ("Brightness", "Contrast", "Color", "Hue")
    orders = Counter(tuple(name for name, _ in steps if name in jitter) for steps in all_steps)
    del orders[()]
    assert chi_square(orders, dict.fromkeys(itertools.permutations(jitter), sum(orders.values()) / 24))
    ranges = {
        "Brightness": (0.6, 1.4),
        "Contrast": (0.6, 1.4),
        "Color": (0.6, 1.4),
        "Hue": (-0.1, 0.1),
        "GaussianBlur": (0.1, 2),
    }
    for name, (low, high) in ranges.items():
        parts = [(steps[name][0] - low) / (high - low) for steps in named if name in steps]
        assert min(parts) >= 0 and max(parts) < 1
        assert chi_square(Counter(int(part * 10) for part in parts), dict.fromkeys(range(10), len(parts) / 10)), name


@pytest.mark.parametrize("grid, side, arrangements", [(2, 32, 24), (3, 32, 96), (2, 33, 1)])
def test_jigsaw_is_uniform_among_tiles_of_one_size(grid, side, arrangements):
    """32 = 10 + 11 + 11, so a 3 x 3 cut has classes of 1, 2, 2 and 4 tiles; 33 = 16 + 17 has four of 1."""
    program = Jigsaw(grid).sample([(side, side)] * 6000, seed=2)
    counts = Counter(program.steps(i)[0][1] for i in range(len(program)))
    assert len(counts) == arrangements
    assert arrangements == 1 or chi_square(counts, dict.fromkeys(counts, 6000 / arrangements))


def test_choice_follows_its_probabilities():
    weights = {"Solarize": 0.45, "HorizontalFlip": 0.05, "Grayscale": 0.5}
    branches = (Solarize(3), HorizontalFlip(1.0), Grayscale(1.0))
    program = Choice(branches, tuple(weights.values())).sample([(8, 8)] * 6000, seed=0)
    counts = Counter(program.steps(i)[0][0] for i in range(len(program)))
    assert chi_square(counts, {name: 6000 * weight for name, weight in weights.items()})


def test_crop_is_uniform_in_area_place_and_log_ratio():
    program = RandomResizedCrop(8, (0.1, 0.2), (0.5, 2.0)).sample([(4000, 4000)] * 6000, seed=9)  # every try fits
    boxes = [program.steps(i)[0][1][:4] for i in range(len(program))]
    for parts in (
        [(height * width / 4000**2 - 0.1) / 0.1 for _, _, height, width in boxes],
        [(math.log2(width / height) + 1) / 2 for _, _, height, width in boxes],
        [top / (4001 - height) for top, _, height, _ in boxes],
        [left / (4001 - width) for _, left, _, width in boxes],
    ):
        cells = Counter(
            min(max(int(part * 10), 0), 9) for part in parts
        )  # sides are rounded, so an end may lie outside
        assert chi_square(cells, dict.fromkeys(range(10), 600))


def test_cutout_is_placed_as_the_authors_do():
    """Centre uniform between 1 and the side, box cut off at the top left, not moved, and at the bottom right."""
    program = RandAugment(1, 9).sample([(32, 32)] * 20000, seed=4)
    boxes = [values for steps in map(program.steps, range(len(program))) for name, values in steps if name == "Cutout"]
    centres = range(1, 32)
    starts = Counter(x0 for x0, *_ in boxes)
    # Side 12 at m = 9: x0 = trunc(max(0, centre - 6)), centre uniform in (1, 32].
    weights = {0.0: 6.0} | {float(centre - 6): 1.0 for centre in centres if centre >= 7}
    assert chi_square(starts, {x0: weight * len(boxes) / 31 for x0, weight in weights.items()})
    assert all(x1 == min(32, x0 + 12) and y1 == min(32, y0 + 12) for x0, y0, x1, y1 in boxes)


def test_opcodes_are_the_engine_s():
    """The numbers are the format of programs: they never change."""
    assert NAMES[0] == "Identity" and OPCODES["Cutout"] == 19 and OPCODES["Jigsaw"] == 22 and OPCODES["Emit"] == 24
