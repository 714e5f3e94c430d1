"""Transforms inside a DataLoader's workers, forked and spawned, inside a model, and of tv_tensors."""

import copy
import pickle

import pytest
import torch
from checks import needs_native
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset

from dssl_ops import transforms as T

VIEWS = T.DirectedViews(T.StandardView(24), T.Compose((T.RandAugment(2, 9), T.Jigsaw(4))))
COUNT = 45


class Drawn(Dataset):
    """(image, label) pairs as uint8 tensors; of many sizes, or all 33 x 40."""

    def __init__(self, ragged=True, tv=False):
        self.ragged, self.tv = ragged, tv

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        size = (20 + index % 17, 25 + index % 9) if self.ragged else (33, 40)
        image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
        if self.tv:
            from torchvision.tv_tensors import Image as TvImage

            image = TvImage(image)
        return image, {"label": index % 10}


def views_of(dataset, ids, epoch, seed=3):
    """Truth: image by image in this process."""
    made = [VIEWS(dataset[i][0], seed=seed, epoch=epoch, sample_ids=i) for i in ids]
    return [torch.stack(list(views)) for views in zip(*made)]


def loaded(loader):
    """All views and labels of an iteration, in the order of labels' arrival."""
    views, labels = zip(*((torch.stack(list(views)), rest["label"]) for views, rest in loader))
    assert all(isinstance(part, torch.Tensor) and type(part) is torch.Tensor for part in views)
    return torch.cat(views, dim=1), torch.cat(labels)


@needs_native
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_make_the_views_of_the_main_process(context, threads):
    """Two persistent workers, two epochs, other batches and another order: every view is that of its key."""
    dataset = Drawn()
    threads(
        lambda: VIEWS([dataset[i][0] for i in range(COUNT)], seed=0)
    )  # a parent that forks has run threads of its own
    loader = DataLoader(
        T.Indexed(dataset), 8, num_workers=2, collate_fn=T.Collate(VIEWS, seed=3), multiprocessing_context=context,
        persistent_workers=True, sampler=(order := torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))),
    )  # fmt: skip
    for epoch in (4, 9):
        loader.collate_fn.set_epoch(epoch)
        got, labels = loaded(loader)
        assert torch.equal(labels, order % 10)
        assert torch.equal(got, torch.stack(views_of(dataset, order.tolist(), epoch)))


def test_batches_do_not_matter_in_the_main_process_either():
    dataset = Drawn(ragged=False)
    results = [
        loaded(DataLoader(T.Indexed(dataset), batch, collate_fn=T.Collate(VIEWS, seed=5)))[0] for batch in (1, 7, 45)
    ]
    assert torch.equal(results[0], results[1]) and torch.equal(results[1], results[2])
    assert torch.equal(results[0], torch.stack(views_of(dataset, range(COUNT), 0, seed=5)))


def test_samples_are_counted_in_the_dataset_that_is_indexed():
    whole = T.Indexed(Drawn())
    part = DataLoader(Subset(whole, [30, 3, 8]), 3, collate_fn=T.Collate(VIEWS, seed=1))
    assert torch.equal(loaded(part)[0], torch.stack(views_of(Drawn(), [30, 3, 8], 0, seed=1)))


def test_tv_tensors_come_back_as_plain_tensors():
    tv_tensors = pytest.importorskip("torchvision.tv_tensors")
    plain, marked = Drawn(ragged=False), Drawn(ragged=False, tv=True)
    assert isinstance(marked[0][0], tv_tensors.Image)
    loaders = [DataLoader(T.Indexed(dataset), 9, collate_fn=T.Collate(VIEWS, seed=5)) for dataset in (plain, marked)]
    assert torch.equal(*(loaded(loader)[0] for loader in loaders))
    batch = torch.stack([plain[i][0] for i in range(5)])
    for images, expected in ((batch, VIEWS(batch, seed=0)), (batch[0], VIEWS(batch[0], seed=0))):
        for got, view in zip(VIEWS(tv_tensors.Image(images), seed=0), expected):
            assert type(got) is torch.Tensor and torch.equal(got, view)
    listed = VIEWS([marked[i][0] for i in range(5)], seed=0)
    assert all(type(got) is torch.Tensor and torch.equal(got, view) for got, view in zip(listed, VIEWS(batch, seed=0)))


def test_collate_takes_images_alone_and_leaves_out_what_could_not_be_read():
    collate, image = T.Collate(T.StandardView(8), seed=0), Drawn()[0][0]
    alone = collate([(7, image), (9, image)])
    assert torch.equal(alone, T.StandardView(8)([image, image], seed=0, sample_ids=[7, 9]))
    views, labels, names = collate([(7, (image, 1, "a")), (8, (None, 2, "b")), (9, (image, 3, "c"))])
    assert torch.equal(views, alone) and labels.tolist() == [1, 3] and list(names) == ["a", "c"]
    views, labels, names = collate([(8, (None, 2, "b"))])
    assert views.shape == (0, 3, 8, 8) and labels.shape == (0,) and list(names) == []
    rest = collate([(8, (None, {"box": (1, 2), "name": "b"}))])[1]
    assert [part.shape for part in rest["box"]] == [(0,), (0,)] and list(rest["name"]) == []


def test_collate_is_pickled_and_copied_with_its_epoch():
    collate = T.Collate(VIEWS, seed=3)
    collate.set_epoch(6)
    for other in (pickle.loads(pickle.dumps(collate)), copy.deepcopy(collate)):
        assert (other.transform, other.seed, other.epoch) == (VIEWS, 3, 6)


def test_module_counts_its_calls_and_resumes():
    images = torch.stack([Drawn(ragged=False)[i][0] for i in range(6)])
    model = torch.nn.ModuleDict({"augment": T.AsModule(T.StandardView(16), seed=2), "net": torch.nn.Linear(2, 2)})
    first = [model["augment"](images) for _ in range(3)]
    for epoch, view in enumerate(first):
        assert torch.equal(view, T.StandardView(16)(images, seed=2, epoch=epoch))
    state = pickle.loads(pickle.dumps(model.state_dict()))
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    again = torch.nn.ModuleDict({"augment": T.AsModule(T.StandardView(16), seed=2), "net": torch.nn.Linear(2, 2)})
    again.load_state_dict(state)
    ids = [9, 8, 7, 6, 5, 4]
    expected = T.StandardView(16)(images, seed=2, epoch=3, sample_ids=ids)
    assert torch.equal(again["augment"](images, ids), expected) and torch.equal(model["augment"](images, ids), expected)
    assert "StandardView(size=16" in repr(model) and "seed=2" in repr(model)


IMAGE = torch.zeros(3, 9, 9, dtype=torch.uint8)
COLLATE = T.Collate(T.StandardView(8), seed=0)
ERRORS = [
    (lambda: COLLATE([(IMAGE, 3)]), r"Collate: items must come with their index: give the DataLoader Indexed"),
    (lambda: COLLATE([IMAGE]), r"Collate: items must come with their index"),
    (
        lambda: COLLATE([(0, Image.new("RGB", (9, 9)))]),
        r"Collate: an item must be .*got Image: torchvision.*PILToTensor",
    ),
    (lambda: VIEWS([Image.new("RGB", (9, 9))], seed=0), r"must be a uint8 .* got Image: torchvision.*PILToTensor"),
    (lambda: VIEWS(Image.new("RGB", (9, 9)), seed=0), r"must be a uint8 .* got Image: torchvision.*PILToTensor"),
    (lambda: COLLATE([(0, ("a", 3))]), r"Collate: an item must be a uint8 \(C, H, W\) tensor or .*; got str$"),
    (lambda: COLLATE([(0, ())]), r"Collate: an item must be .*; got tuple"),
    (lambda: COLLATE([(0, IMAGE.float())]), r"must be uint8 \(C, H, W\).*got float32"),
    (lambda: COLLATE([(0, IMAGE), (1, (IMAGE, 3))]), r"Collate: an image must come alone in all items or in none"),
    (lambda: COLLATE.set_epoch(-1), r"Collate: epoch must be in 0..2\^32-1; got -1"),
    (lambda: COLLATE.set_epoch(1.5), r"Collate: epoch must be in 0..2\^32-1; got 1.5"),
]


@pytest.mark.parametrize("call, message", ERRORS, ids=[message[:50] for _, message in ERRORS])
def test_errors_name_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
