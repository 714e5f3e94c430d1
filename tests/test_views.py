"""BYOL's views, the authors' harder ones, pairs of standard views, and transforms that run with a probability."""

import math
from collections import Counter

import pytest
import torch
from augment_cases import PIL_COMPAT, batches
from checks import chi_square, needs_native
from test_transforms import replayed_by_torchvision, to_pillow

from dssl_ops import transforms as T
from dssl_ops.augment import augment_reference


def test_byol_s_pair_equals_torchvision_on_pillow():
    functional = pytest.importorskip("torchvision.transforms.functional")
    seen = Counter()
    for seed, images in enumerate(batches()):
        pair = T.StandardView.byol((24, 31), pil_compat=PIL_COMPAT)
        views = T.DirectedViews(pair, T.Compose(()))
        program, got = views.sample(images, seed=seed), views(images, seed=seed)
        for index in range(len(images)):
            steps = program.steps(index)
            middle = steps.index(("Source", ()))
            for view, part in ((got.v, steps[:middle]), (got.v_prime, steps[middle + 1 :])):
                expected = replayed_by_torchvision(functional, to_pillow(images[index]), part)
                assert to_pillow(view[index]) == expected, f"batch {seed}, image {index}: {part}"
                seen.update((name, view is got.v) for name, _ in part)
    assert seen["Solarize", True] == 0 and seen["GaussianBlur", True] == 2200
    for name, p in (("Solarize", 0.2), ("GaussianBlur", 0.1)):
        assert abs(seen[name, False] - 2200 * p) < 4 * math.sqrt(2200 * p * (1 - p)), name


def test_byol_s_pair_has_the_paper_s_numbers():
    v, v_prime = T.StandardView.byol(96, grayscale=0.0)
    for view in (v, v_prime):
        assert view.size == 96 and view.scale == (0.08, 1.0) and view.jitter == (0.4, 0.4, 0.2, 0.1)
        assert view.interpolation == "bicubic" and view.sigma == (0.1, 2.0) and view.grayscale == 0
        assert (view.flip, view.jitter_p) == (0.5, 0.8)
    assert (v.blur, v.solarize, v_prime.blur, v_prime.solarize) == (1.0, 0.0, 0.1, 0.2)


def test_a_pair_makes_v_by_its_first_and_v_prime_by_its_second():
    images, (first, second) = batches()[-2], T.StandardView.byol(32)
    heavy = T.UniformAugment()
    views = T.DirectedViews((first, second), heavy)(images, seed=4)
    assert torch.equal(views.v, first(images, seed=4)) and torch.equal(views.v_prime, second(images, seed=4, view=1))
    assert torch.equal(T.DirectedViews(first, heavy)(images, seed=4).heavy, views.heavy)
    four = T.MultiView([first, second], 4)(images, seed=4)
    for number, view in enumerate(four):
        assert torch.equal(view, (first, second)[number % 2](images, seed=4, view=number))
    assert T.DirectedViews([first], heavy) == T.DirectedViews(first, heavy)


@needs_native
def test_the_authors_harder_byol_views():
    """RA(2, 9) and T on the whole image; v^ goes on from v through RA(8, 16), a second crop and, in 1 of 10, JigSaw."""
    views = T.DirectedViews.byol_harder(32)
    jigsaws = 0
    for seed, images in enumerate(batches()[10:]):
        program, got = views.sample(images, seed=seed), views(images, seed=seed)
        assert torch.equal(torch.stack(list(got)), augment_reference(images, program)), seed
        for index in range(len(images)):
            names = [name for name, _ in program.steps(index)]
            light, heavy = names[: names.index("Emit")], names[names.index("Emit") + 1 : names.index("Source")]
            assert light.index("ResizedCrop") == 2 and heavy.index("ResizedCrop") == 8
            jigsaws += heavy[-2] == "Jigsaw"
    count = 40 * 44
    assert abs(jigsaws - count / 10) < 4 * math.sqrt(count * 0.09)
    jitters = [view.transforms()[2].brightness for view in (views.standard.transforms[1], views.heavy.transforms[1])]
    assert jitters == [0.4, 0.5]


def test_the_authors_choice_of_randaugment_or_jigsaw():
    choice = T.Choice.ra_or_jigsaw()
    assert choice == T.Choice((T.RandAugment(2, 5, "author16"), T.Jigsaw(4)), (0.9, 0.1))
    program = choice.sample([(32, 32)] * 5000, seed=0)
    kinds = Counter(tuple(name for name, _ in program.steps(i)).count("Jigsaw") for i in range(5000))
    assert chi_square(kinds, {0: 4500, 1: 500})


def test_random_apply_runs_all_or_none():
    both = T.RandomApply([T.Solarize(7), T.HorizontalFlip(1.0)], 0.3)
    program = both.sample([(8, 8)] * 5000, seed=0)
    runs = Counter(tuple(name for name, _ in program.steps(i)[:-1]) for i in range(5000))
    assert chi_square(runs, {(): 3500, ("Solarize", "HorizontalFlip"): 1500})


def test_each_operation_of_randaugment_has_probability_p():
    program = T.RandAugment(3, 5, p=0.25).sample([(8, 8)] * 5000, seed=0)
    applied = Counter(len(program.steps(i)) - 1 for i in range(5000))
    assert chi_square(applied, {k: 5000 * math.comb(3, k) * 0.25**k * 0.75 ** (3 - k) for k in range(4)})


VIEW = T.StandardView(32)
ERRORS = [
    (lambda: T.StandardView(32, solarize=1.5), r"Solarize: p must be a probability in \[0, 1\]; got 1.5"),
    (lambda: T.UniformAugment(0), r"UniformAugment: num_ops must be in 1..2048; got 0"),
    (lambda: T.UniformAugment(op_set="ra"), r"UniformAugment: op_set must be one of author16, ra14, ua15; got 'ra'"),
    (lambda: T.UniformAugment(op_set=14), r"UniformAugment: op_set must be one of .*; got 14"),
    (lambda: T.RandAugment(p=-0.1), r"RandAugment: p must be a probability in \[0, 1\]; got -0.1"),
    (lambda: T.UniformAugment().sample([(8, 8), (9, 9)], seed=0), r"ua15 translates by a part of the side"),
    (lambda: T.RandomApply((VIEW,), 0.5).sample([(8, 8)], seed=0), r"RandomApply: all transforms must give one size"),
    (lambda: T.RandomApply(VIEW), r"RandomApply: expected a list of transforms; got StandardView"),
    (lambda: T.RandomApply((VIEW,), 2), r"RandomApply: p must be a probability in \[0, 1\]; got 2"),
    (lambda: T.DirectedViews((VIEW,) * 3, VIEW), r"DirectedViews: standard must be one transform or two; got 3"),
    (lambda: T.DirectedViews((VIEW, 3), VIEW), r"DirectedViews: expected a transform; got int"),
    (lambda: T.MultiView(()), r"MultiView: transform must not be empty"),
    (lambda: T.StandardView.byol(0), r"RandomResizedCrop: size must be .*; got 0"),
]


@pytest.mark.parametrize("call, message", ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_errors_name_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
