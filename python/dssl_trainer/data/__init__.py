"""From files to batches of views: `load` gives the data set, loader.py a step's batches of it.

The setting `data` is the word 'drawn', hf:NAME (Hugging Face), or a path in one of the layouts of LAYOUTS (config.py);
with `download`, torchvision fetches the CIFAR-10 python batches into it first.
"""

from pathlib import Path

import torch

from ..errors import TrainerError
from . import cifar, hugging_face
from .dataset import Dataset, Images, from_members, subset
from .drawn import CLASSES, draw
from .image_folder import open_split

EXPECTED = "train/ and test/ folders, a zip of both, train.zip and test.zip, or the CIFAR-10 python batches"


def load(config):
    """The data set that the settings name; TrainerError where it is missing, unknown, damaged or of another size."""
    dataset = read(config)
    for name, part in (("train", dataset.train), ("test", dataset.test)):
        side = config.image_size
        if config.dataset == "cifar10" and part.sides != f"{side}x{side}":
            raise TrainerError(f"data: {name} images are {part.sides}, but image_size is {side}")
    return dataset


def read(config):
    if config.data == "drawn":
        return drawn_dataset(config.limit_train or 5000, config.limit_test or 1000)
    if config.data.startswith("hf:"):
        return from_members(config, *hugging_face.find(config.data[3:]))
    place = Path(config.data).expanduser()
    if config.download:
        cifar.download(place)
    if not place.exists():
        raise TrainerError(f"data: no folder {place}")
    limits = (config.limit_train, config.limit_test)
    if (batches := cifar.find(place)) is not None:
        return read_batches(batches, limits)
    return read_folders(config, place)


def read_batches(folder, limits):
    *parts, names = cifar.read(folder)
    chosen = [torch.from_numpy(subset(len(labels), limit)) for (_, labels), limit in zip(parts, limits, strict=True)]
    train, test = (Images(pixels[ids], labels[ids]) for (pixels, labels), ids in zip(parts, chosen, strict=True))
    return Dataset(train, test, names, f"CIFAR-10 python batches in {folder}")


def drawn_dataset(train, test):
    """Synthetic images: train and test differ in every draw."""
    pixels, labels = draw(train + test, seed=0)
    parts = Images(pixels[:train], labels[:train]), Images(pixels[train:], labels[train:])
    return Dataset(*parts, CLASSES, "synthetic images drawn by this package")


def read_folders(config, place):
    splits = [open_split(place, ("train",)), open_split(place, ("test", "val"))]
    if None in splits:
        raise TrainerError(
            f"data: {place} holds no {'train' if splits[0] is None else 'test'} images; expected {EXPECTED}"
        )
    kind = "zipped image folders" if splits[0][0].archive else "image folders"
    return from_members(config, splits, sorted({member.class_name for member in splits[0]}), f"{kind} in {place}")
