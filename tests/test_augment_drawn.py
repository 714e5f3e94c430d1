"""Programs drawn as they run: the same views as those of the programs drawn first, refusals, and what is kept."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from augment_cases import batches
from checks import needs_native

from dssl_ops import RaggedImages
from dssl_ops import transforms as T
from dssl_ops.augment import Program, augment, augment_reference, normalization_table
from dssl_ops.instructions import Listing

DIRECTED = T.DirectedViews(T.StandardView.imagenet(24), T.Compose((T.RandAugment(2, 9), T.Jigsaw(4))))
MAKERS = {
    "directed": DIRECTED,
    "multi": T.MultiView(T.Compose((T.StandardView.cifar10(16), T.RandAugment(3, 20, "ra14"))), 3),
    "choice": T.MultiView(T.Choice.ra_or_jigsaw(jigsaw=0.4), 1),
    "uniform": T.MultiView(T.UniformAugment(3), 2),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_call_runs_the_programs_that_sample_draws_also_from_their_text(name):
    maker = MAKERS[name]
    for seed, images in enumerate(batches()[-8:]):
        keys = dict(seed=seed, epoch=3, sample_ids=torch.arange(5, 5 + len(images)))
        program, views = maker.sample(images, **keys), torch.stack(list(maker(images, **keys)))
        assert torch.equal(augment(images, program), views)
        replayed = Program.from_json(json.loads(json.dumps(program.to_json())))
        assert [replayed.steps(i) for i in range(len(images))] == [program.steps(i) for i in range(len(images))]
        assert torch.equal(augment(images, replayed), views)
        some = [3, 40]
        alone = Program.from_steps([program.steps(i) for i in some], (program.height, program.width))
        assert torch.equal(augment_reference(images[some], alone), views[:, some])


def test_without_a_compiler_the_views_are_the_same(monkeypatch):
    images = batches()[-2]
    sources = (images, images[0], list(images[:3]), RaggedImages.from_list(list(images[:3])))
    expected = [torch.stack(list(DIRECTED(source, seed=2))) for source in sources]
    for module in ("instructions", "augment_sample"):
        monkeypatch.setattr(f"dssl_ops.{module}.native", lambda device=None: False)
    for source, views in zip(sources, expected):
        assert torch.equal(torch.stack(list(DIRECTED(source, seed=2))), views)


def listed(*kinds):
    listing = Listing(8, 8)
    for name, *values in kinds:
        listing.fixed(name, *values)
    return torch.tensor(listing.words, dtype=torch.float64)


RGB = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)


def drawn(words, ids=3, size=8, views=1, **changes):
    out = torch.empty(views, 3, 3, size, size, dtype=torch.uint8)
    arguments = dict(images=[RGB], sizes=None, instructions=words, sample_ids=torch.arange(ids), seed=0, epoch=0)
    torch.ops.dssl_ops.augment_drawn(**{**arguments, "table": None, "out": out, **changes})
    return out


@needs_native
@pytest.mark.parametrize(
    "bad, message",
    [
        (lambda: drawn(listed(("Emit", 0))[:-1]), "augment_sample: instructions are malformed"),
        (lambda: drawn(listed(("Emit", 0)), ids=2), "sample_ids must be for 3 images; got 2"),
        (lambda: drawn(listed(("Emit", 0)), size=7), r"augment: step 0 of image 0, Emit\(0\), must .*views of 7x7"),
        (lambda: drawn(listed(("Invert",))), "the program of image 0 must emit each of its 1 views"),
        (lambda: drawn(listed(("Posterize", 9), ("Emit", 0))), r"step 0 of image 0, Posterize\(9\), must be in range"),
        (lambda: drawn(listed(("Emit", 0)), epoch=-1), r"epoch must be in 0..2\^32-1; got -1"),
        (lambda: drawn(listed(("Emit", 0)), images=[RGB, RGB]), "augment: out must be for 6 images; got 3"),
        (lambda: drawn(listed(("Emit", 0)), images=[RGB.int()]), "augment: images must be uint8"),
        (lambda: drawn(listed(("Emit", 0)), images=[RGB[..., ::2]]), "images must be contiguous or channels_last"),
        (lambda: drawn(listed(("Emit", 0)), table=torch.zeros(3, 256)), "augment: table has the wrong dtype"),
        (lambda: drawn(listed(("Emit", 0)), out=RGB[None].transpose(3, 4)[..., :4]), "view of out must be contiguous"),
    ],
)
def test_the_op_refuses_what_would_leave_memory(bad, message):
    with pytest.raises(RuntimeError, match=message):
        bad()


@needs_native
def test_packed_sizes_must_fit_their_buffer():
    data, words = RGB.flatten(), listed(("Emit", 0))
    assert torch.equal(drawn(words, images=[data], sizes=torch.tensor([[8, 8]] * 3))[0], RGB)
    for sizes in ([[8, 8]] * 2 + [[8, 9]], [[8, 8]] * 2 + [[8, 7]], [[8, 8], [8, 8], [16, -4]], [[0, 8]] * 3):
        with pytest.raises(RuntimeError, match="augment: sizes must"):
            drawn(words, images=[data], sizes=torch.tensor(sizes))
    with pytest.raises(RuntimeError, match="augment: sizes go with one packed buffer"):
        drawn(words, images=[data, data], sizes=torch.tensor([[8, 8]] * 3))


@needs_native
def test_opcheck():
    listing = Listing(8, 8)
    DIRECTED._build(listing)
    words, ids = torch.tensor(listing.words, dtype=torch.float64), torch.arange(3)
    out = torch.empty(4, 3, 3, 24, 24)
    table = normalization_table((0.5,), (0.2,), 3)
    for source in (([RGB], None), (list(RGB), None), ([RGB.flatten()], torch.tensor([[8, 8]] * 3))):
        torch.library.opcheck(torch.ops.dssl_ops.augment_drawn.default, (*source, words, ids, 7, 1, table, out))
    torch.library.opcheck(torch.ops.dssl_ops.augment_sample.default, (words, ids, torch.tensor([[8, 8]] * 3), 7, 1))


def test_what_is_kept_from_call_to_call_depends_on_transform_size_view_and_table():
    """Equal transforms share their instructions; another field, size of image, view or normalisation does not."""
    images = batches()[-2]
    makers = [
        T.Compose((T.RandAugment(2, m, op_set), T.Normalize(mean, 0.5)))
        for m in (9, 10) for op_set in ("author16", "ra14") for mean in (0.5, 0.4)
    ]  # fmt: skip
    sources = [images, images[:, :, :30, :31], images[:, :1]]
    before = [maker(source, seed=1, view=view) for maker in makers for source in sources for view in (0, 1)]
    after = [maker(source, seed=1, view=view) for maker in makers for source in sources for view in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(before, after))
    for i, one in enumerate(before):
        assert not any(one.shape == other.shape and torch.equal(one, other) for other in before[:i])


ODD = [
    float("nan"),
    float("inf"),
    float("-inf"),
    -1.0,
    0.0,
    0.5,
    3.0,
    7.0,
    64.0,
    65.0,
    2.0**15,
    2.0**31,
    2.0**63,
    1e300,
]


@needs_native
@pytest.mark.parametrize("name", MAKERS)
def test_damaged_instructions_and_programs_end_in_an_error_or_in_views(name):
    """Never outside of memory: a few words of what the op is given are replaced by anything."""
    listing, generator, outcomes = Listing(24, 24), np.random.default_rng(0), Counter()
    MAKERS[name]._build(listing)
    images = torch.zeros(2, 3, 24, 24, dtype=torch.uint8)
    program = MAKERS[name].sample(images, seed=0)
    tensors = (program.opcodes, program.step_offsets, program.values, program.value_offsets)
    for _ in range(1500):
        words = torch.tensor(listing.words, dtype=torch.float64)
        damaged = [tensor.clone() for tensor in tensors]
        for part in (words, damaged[generator.integers(4)]):
            for _ in range(generator.integers(1, 3)):
                odd = ODD[generator.integers(len(ODD))]
                whole = int(min(max(odd, -(2.0**31)), 2.0**31 - 1)) if odd == odd else 0
                part[generator.integers(len(part))] = odd if part.is_floating_point() else whole
        out = torch.empty(listing.views, 2, 3, *listing.size, dtype=torch.uint8)
        for op, arguments in (
            (torch.ops.dssl_ops.augment_drawn, (words, torch.arange(2), 5, 0)),
            (torch.ops.dssl_ops.augment, damaged),
        ):
            try:
                op([images], None, *arguments, None, out)
                outcomes[op, "views"] += 1
            except RuntimeError as error:
                assert str(error).startswith("augment"), error
                outcomes[op, "error"] += 1
    assert len(outcomes) == 4 and min(outcomes.values()) > 50, outcomes
