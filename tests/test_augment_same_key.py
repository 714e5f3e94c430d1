"""Same key, same view: seed, epoch, sample id and view decide, and nothing else that a caller or a loader does."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from augment_cases import batches
from checks import needs_native

from dssl_ops import RaggedImages, instructions, op_sets
from dssl_ops import transforms as T
from dssl_ops.augment import Program, augment, image_op, normalization_table

STANDARD, HEAVY = T.StandardView.imagenet((20, 24)), T.Compose((T.RandAugment(2, 9), T.Jigsaw(4)))
MAKERS = {
    "standard": lambda norm: STANDARD if norm is None else T.Compose((STANDARD, norm)),
    "directed": lambda norm: T.DirectedViews(STANDARD, HEAVY, norm),
    "byol": lambda norm: T.DirectedViews(T.StandardView.byol((20, 24)), T.UniformAugment(), norm),
    "multi": lambda norm: T.MultiView(T.Choice((STANDARD, T.RandomResizedCrop((20, 24)))), 2, norm),
}
LAYOUTS = [
    lambda part: part,
    lambda part: part.to(memory_format=torch.channels_last),
    lambda part: part.transpose(2, 3).contiguous().transpose(2, 3),
    lambda part: torch.stack([part, part], -1)[..., 1],
    lambda part: list(part),
    lambda part: list(part.to(memory_format=torch.channels_last)),
    lambda part: RaggedImages.from_list(list(part)),
]
DTYPES = [torch.uint8, torch.float32, torch.bfloat16, torch.float16]


def stacked(views):
    """(views, B, C, H, W)."""
    return views[None] if isinstance(views, torch.Tensor) else torch.stack(list(views))


def random_parts(rng, count):
    """The samples in any order, cut into any batches."""
    order = rng.permutation(count)
    cuts = np.sort(rng.integers(0, count + 1, rng.integers(0, 5)))
    return [part for part in np.split(order, cuts) if len(part)]


def run(rng, maker, images, ids, dtype):
    """The views of these samples in a layout, memory format, number of threads and destination that chance decides."""
    keys = dict(seed=2**63 + 7, epoch=12, sample_ids=ids)
    source = LAYOUTS[rng.integers(len(LAYOUTS))](images)
    torch.set_num_threads(int(rng.integers(1, 4)))
    if rng.random() < 0.5:
        formats = torch.contiguous_format, torch.channels_last
        return stacked(maker(source, memory_format=formats[rng.integers(2)], **keys))
    lead = {"StandardView": (), "Compose": (), "DirectedViews": (4,), "MultiView": (2,)}[type(maker).__name__]
    shape = (*lead, len(images), images.shape[1], 20, 24)
    return stacked(maker(source, out=torch.full(shape, 55, dtype=dtype), **keys))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", MAKERS)
def test_split_order_threads_layout_destination_and_dtype_change_nothing(name, dtype, threads):
    """The truth is one image at a time, in uint8; the fixture puts the thread count back."""
    rng = np.random.default_rng(DTYPES.index(dtype))
    for images in batches()[-2:]:
        count, channels = len(images), images.shape[1]
        ids = torch.from_numpy(rng.integers(-(2**62), 2**62, count))
        alone = MAKERS[name](None)
        keys = dict(seed=2**63 + 7, epoch=12)
        expected = torch.cat(
            [stacked(alone(images[i : i + 1], sample_ids=ids[i : i + 1], **keys)) for i in range(count)], 1
        )
        norm = None if dtype == torch.uint8 else T.Normalize(0.4, 0.3, dtype)
        if norm is not None:
            expected = normalization_table((0.4,), (0.3,), channels, dtype)[0][expected.long()]
        for _ in range(6):
            for part in random_parts(rng, count):
                got = run(rng, MAKERS[name](norm), images[part], ids[part], dtype)
                assert torch.equal(got, expected[:, part])


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_make_the_views_of_one_process(world):
    """Rank r takes samples r, r + world, ...: what a DistributedSampler hands out."""
    images, maker = batches()[-2], MAKERS["directed"](None)
    expected = stacked(maker(images, seed=1, epoch=2))
    for rank in range(world):
        ids = torch.arange(rank, len(images), world)
        assert torch.equal(stacked(maker(images[ids], seed=1, epoch=2, sample_ids=ids)), expected[:, ids])


def test_calls_from_several_python_threads_do_not_meet():
    maker, images = MAKERS["byol"](T.Normalize(0.5, 0.5)), batches()[-2]
    expected = [stacked(maker(images, seed=seed)) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda seed: stacked(maker(images, seed=seed)), range(12))
    assert all(torch.equal(got, views) for got, views in zip(results, expected))


def test_every_part_of_the_key_counts():
    """Seeds are 64 bits wide, ids too, epochs 32; one bit anywhere gives other views."""
    images, maker = batches()[-2][:8], MAKERS["directed"](None)
    seen = []
    for seed, epoch, first in [
        (0, 0, 0),
        (1, 0, 0),
        (2**32, 0, 0),
        (2**63, 0, 0),
        (0, 1, 0),
        (0, 2**31, 0),
        (0, 0, 8),
        (0, 0, 2**32),
    ]:
        views = stacked(maker(images, seed=seed, epoch=epoch, sample_ids=torch.arange(first, first + 8)))
        assert not any(torch.equal(views, other) for other in seen)
        seen.append(views)
    assert torch.equal(stacked(maker(images, seed=-1)), stacked(maker(images, seed=2**64 - 1)))  # the same 64 bits


GOLDEN = {
    "standard": "5d2b6bafa37d7ada",
    "directed": "84c88d47e7aabe61",
    "byol": "7f56645c3d0bd052",
    "multi": "dc3f63f0f247d210",
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_views_of_a_key_stay_what_they_were(name):
    """A seed that a paper names must give its views in every later version: change these sums only with the version."""
    y, x, b, c = (
        torch.arange(n).view([-1 if d == k else 1 for d in range(4)]) for k, n in ((2, 40), (3, 36), (0, 16), (1, 3))
    )
    images = ((x * (b + 2) + y * (c + 3) + x * y // (b + 1)) % 256).to(torch.uint8)
    views = stacked(MAKERS[name](None)(images, seed=2022, epoch=5, sample_ids=torch.arange(100, 116)))
    assert hashlib.sha256(views.numpy().tobytes()).hexdigest()[:16] == GOLDEN[name]


def fresh(call):
    """The result of call(), with nothing kept from calls before."""
    for kept in (instructions._list_once, instructions._table_once, op_sets.ra14, op_sets.spread):
        kept.cache_clear()
    return call()


@pytest.mark.parametrize("native", [pytest.param(True, marks=needs_native), False])
def test_torch_s_defaults_do_not_matter(native, monkeypatch):
    """Neither torch.set_default_device nor set_default_dtype, also not through what is kept for later calls."""
    if not native:
        for module in ("instructions", "augment_sample"):
            monkeypatch.setattr(f"dssl_ops.{module}.native", lambda *_: False)
    images = batches()[-2][:5]
    heavy = T.Compose((T.RandAugment(2, 7, "ra14"), T.UniformAugment()))
    views = T.DirectedViews(STANDARD, heavy, T.Normalize((0.4, 0.5, 0.6), (0.3, 0.2, 0.1)))

    def made():
        program = views.sample(images, seed=1)
        replayed = augment(images, Program.from_json(program.to_json()), memory_format=torch.channels_last)
        ragged = views(RaggedImages.from_list(list(images)), seed=1, sample_ids=[4, 0, 1, 2, 3])
        return (
            torch.stack(list(views(images, seed=1))),
            torch.stack(list(ragged)),
            replayed,
            image_op(images, "Hue", 0.1),
        )

    expected = fresh(made)
    for altered in (torch.device("meta"), DefaultDtype(torch.float64), DefaultDtype(torch.bfloat16)):
        with altered:
            got = fresh(made)
        for ours, later, truth in zip(got, made(), expected, strict=True):
            assert torch.equal(ours, truth) and torch.equal(later, truth)


class DefaultDtype:
    def __init__(self, dtype):
        self.dtype = dtype

    def __enter__(self):
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *_):
        torch.set_default_dtype(torch.float32)
