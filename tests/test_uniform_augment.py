"""What UniformAugment draws: operations, probabilities, magnitudes and signs, each law by chi-square to about 4 sigma.

Its pictures are compared with Pillow's in test_op_sets.py.
"""

from collections import Counter

import pytest
from checks import chi_square

from dssl_ops.augment_sample import philox, uniform
from dssl_ops.op_sets import OP_SETS
from dssl_ops.transforms import UniformAugment

IMAGES, HEIGHT, WIDTH = 12000, 40, 64
ENHANCE = (0.1, 1.9)
# The range of each operation's number over magnitudes 0 to 30, typed from the lists' sources; None: a whole number,
# whose law is given beside.
COMMON = {"Rotate": (-30, 30), "ShearX": (-0.3, 0.3), "ShearY": (-0.3, 0.3), "Solarize": (0, 256)}
COMMON |= dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), ENHANCE)
RANGES = {
    "author16": COMMON | {"SolarizeAdd": (0, 110), "TranslateX": (-100, 100), "TranslateY": (-100, 100)},
    "ra14": COMMON | {"Solarize": (0, 255)},
    "ua15": COMMON | {"TranslateX": (-0.45 * WIDTH, 0.45 * WIDTH), "TranslateY": (-0.45 * HEIGHT, 0.45 * HEIGHT)},
}
BITS = {
    "author16": {1: 1 / 2, 2: 1 / 4, 3: 1 / 4},  # max(1, int(v)), v in [0, 4)
    "ra14": {4: 1 / 8, 5: 1 / 4, 6: 1 / 4, 7: 1 / 4, 8: 1 / 8},  # 8 - round(m / 7.5), m in [0, 30)
    "ua15": {4: 1 / 4, 5: 1 / 4, 6: 1 / 4, 7: 1 / 4},  # int(v), v in [4, 8)
}


def drawn(op_set, num_ops=2):
    program = UniformAugment(num_ops, op_set).sample([(HEIGHT, WIDTH)] * IMAGES, seed=21)
    return [program.steps(index)[:-1] for index in range(IMAGES)]


@pytest.fixture(scope="module", params=OP_SETS)
def steps_of(request):
    return request.param, drawn(request.param)


def values_of(steps, name):
    return [values for image in steps for other, values in image if other == name]


def test_operations_are_uniform_and_half_of_them_run(steps_of):
    op_set, steps = steps_of
    names = [entry.name for entry in OP_SETS[op_set](5, HEIGHT, WIDTH)]
    applied = Counter(len(image) for image in steps)
    assert chi_square(applied, {0: IMAGES / 4, 1: IMAGES / 2, 2: IMAGES / 4})
    both = Counter((a[0], b[0]) for a, b in (image for image in steps if len(image) == 2))
    assert chi_square(both, {(a, b): applied[2] / len(names) ** 2 for a in names for b in names})


def test_an_operation_s_probability_is_uniform():
    """It is word 3 of a slot's first block, and the coin word 0 of its second: in cell k of 10, k / 10 + 0.05 apply."""
    cells, applied = Counter(), Counter()
    for index, steps in enumerate(drawn("author16", num_ops=1)):
        block = [philox((index, 0, 0, b), (21, 0)) for b in (0, 1)]
        probability, coin = uniform(block[0][3]), uniform(block[1][0])
        assert (len(steps) == 1) == (coin < probability)
        cells[int(probability * 10)] += 1
        applied[int(probability * 10)] += len(steps)
    assert chi_square(cells, dict.fromkeys(range(10), IMAGES / 10))
    for cell, count in cells.items():
        p = (cell + 0.5) / 10
        assert abs(applied[cell] - count * p) < 4 * (count * p * (1 - p)) ** 0.5 + 1


def test_magnitudes_are_uniform_over_each_range(steps_of):
    op_set, steps = steps_of
    for name, (low, high) in RANGES[op_set].items():
        parts = [(values[0] - low) / (high - low) for values in values_of(steps, name)]
        assert len(parts) > 600 and min(parts) >= 0 and max(parts) <= 1, name
        assert chi_square(
            Counter(min(int(part * 10), 9) for part in parts), dict.fromkeys(range(10), len(parts) / 10)
        ), name


def test_bits_follow_the_rounding_of_each_set(steps_of):
    op_set, steps = steps_of
    bits = Counter(values[0] for values in values_of(steps, "Posterize"))
    assert chi_square(bits, {bit: share * sum(bits.values()) for bit, share in BITS[op_set].items()})


def test_ra14_translates_by_whole_pixels():
    steps = drawn("ra14")
    for name, side in (("TranslateX", WIDTH), ("TranslateY", HEIGHT)):
        most, pixels = 150 / 331 * side, [abs(values[0]) for values in values_of(steps, name)]
        counts = Counter(pixels)
        expected = {k: min(1.0, most - k) / most * len(pixels) for k in range(int(most) + 1)}
        assert chi_square(counts, expected), name


@pytest.mark.parametrize("op_set, largest", [("author16", 40), ("ua15", 0.2 * WIDTH)])
def test_cutouts_have_uniform_sides(op_set, largest):
    steps = drawn(op_set)
    whole = [x1 - x0 for x0, y0, x1, y1 in values_of(steps, "Cutout") if x1 < WIDTH and y1 < HEIGHT]
    assert 0 < min(whole) < 0.05 * largest and max(whole) < largest
    if op_set == "ua15":  # so small that few are cut off at the border, which favours none much
        assert 0.45 * largest < sum(whole) / len(whole) < 0.55 * largest
