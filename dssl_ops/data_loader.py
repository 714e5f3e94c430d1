"""Transforms where existing code has a place for them: a DataLoader's collate_fn, or an nn.Module in a model.

loader = DataLoader(Indexed(dataset), 256, shuffle=True, num_workers=8, collate_fn=Collate(views, seed=0))
for epoch in range(epochs):
    loader.collate_fn.set_epoch(epoch)
    for (v, v_prime, v_heavy, v_heavy_prime), labels in loader: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from .images import PIL_HINT
from .program import require


class Indexed(Dataset):
    """The dataset with every item's index beside it, (index, item): the index is the sample id that keys the draws."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # torch's Dataset leaves __len__ to its subclasses

    def __getitem__(self, index: int) -> tuple[int, Any]:
        index = int(index)
        return index, self.dataset[index]


class Collate:
    """A collate_fn that makes a batch's views in one call, in the worker that loaded it: (views, ...).

    Items come from an Indexed dataset and are an image or a tuple (image, ...): uint8 (C, H, W) tensors, tv_tensors
    among them, of any sizes where the transform starts with a resized crop. The rest is collated by torch's
    default_collate. Items whose image is None, as ImageFiles gives for a file that cannot be read, are left out. Views
    are plain tensors; as uint8, to be normalised where they are used, they pass between processes four times as fast.

    A view depends on (seed, epoch, index) alone, so it is the same in any worker, forked or spawned, and in the main
    process. The epoch, which set_epoch changes before an epoch's iteration starts, lies in shared memory: persistent
    workers see it.

    Raises:
        ValueError: for other items.
    """

    def __init__(self, transform: Callable, seed: int, memory_format: torch.memory_format = torch.contiguous_format):
        self.transform, self.seed, self.memory_format = transform, seed, memory_format
        self._epoch = torch.zeros((), dtype=torch.int64, device="cpu").share_memory_()

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """The views of the iterations that start from now on draw with this epoch, 0..2^32-1."""
        require(isinstance(epoch, int) and 0 <= epoch < 2**32, f"Collate: epoch must be in 0..2^32-1; got {epoch!r}")
        self._epoch.fill_(epoch)

    def __call__(self, samples: Sequence[tuple[int, Any]]) -> Any:
        ids, images, rests = zip(*map(_parts, samples))
        kept = [place for place, image in enumerate(images) if image is not None]
        views = self.transform(
            [images[place] for place in kept],
            seed=self.seed,
            epoch=self.epoch,
            sample_ids=[ids[place] for place in kept],
            memory_format=self.memory_format,
        )
        rests = [rests[place] for place in kept or [0]]
        alone = [rest is None for rest in rests]
        require(all(alone) or not any(alone), "Collate: an image must come alone in all items or in none; got both")
        if alone[0]:
            return views
        return (views, *(part if kept else _none_of(part) for part in default_collate(rests)))


def _parts(sample: Any) -> tuple[int, Tensor | None, tuple | None]:
    """Index, image and the rest, None where the item is the image alone."""
    indexed = isinstance(sample, tuple) and len(sample) == 2 and isinstance(sample[0], int)
    require(indexed, "Collate: items must come with their index: give the DataLoader Indexed(dataset)")
    index, item = sample
    image, rest = (item[0], tuple(item[1:])) if isinstance(item, (tuple, list)) and item else (item, None)
    require(
        image is None or isinstance(image, Tensor),
        f"Collate: an item must be a uint8 (C, H, W) tensor or a tuple that starts with one; got "
        f"{type(image).__name__}{PIL_HINT if hasattr(image, 'getbands') else ''}",
    )
    return index, image if image is None else image.as_subclass(Tensor), rest


def _none_of(part: Any) -> Any:
    """What default_collate made of one item's part, for no items."""
    if isinstance(part, Mapping):
        return {name: _none_of(value) for name, value in part.items()}
    if isinstance(part, (list, tuple)) and not isinstance((*part, "")[0], (str, bytes)):
        return [_none_of(value) for value in part]
    return part[:0]


class AsModule(torch.nn.Module):
    """The transform as a module: call k of `module(images)` draws with epoch k, which the state_dict carries on.

    images as the transform takes them, on the CPU; sample_ids default to 0..B-1, so where several processes train,
    give each a seed of its own, or the ids. Training and evaluation mode make no difference.
    """

    def __init__(self, transform: Callable, seed: int = 0):
        super().__init__()
        self.transform, self.seed, self.calls = transform, seed, 0

    def forward(self, images: Any, sample_ids: Tensor | Sequence[int] | None = None) -> Any:
        views = self.transform(images, seed=self.seed, epoch=self.calls, sample_ids=sample_ids)
        self.calls += 1
        return views

    def get_extra_state(self) -> Tensor:
        """The number of calls: a tensor, as everything else in a state_dict, but never moved to a device."""
        return torch.tensor(self.calls, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        self.calls = int(state)

    def extra_repr(self) -> str:
        return f"{self.transform}, seed={self.seed}"
