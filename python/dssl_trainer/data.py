"""Data sets: whole ones as uint8 tensors in memory, or files that are decoded when they are asked for (ImageNet).

`data` is the word 'drawn', hf:NAME (Hugging Face), or a path in one of the layouts of LAYOUTS (config.py); with
`download`, torchvision fetches the CIFAR-10 python batches into it first.
"""

import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import cifar, hugging_face
from .bar import bar
from .config import TrainerError
from .drawn import CLASSES, draw
from .trees import decode_one, open_split, same_size

EXPECTED = "train/ and test/ folders, a zip of both, train.zip and test.zip, or the CIFAR-10 python batches"


@dataclass(frozen=True)
class Images:
    """pixels: uint8 (N, 3, H, W); labels: int64 (N,). An image's sample id is its index here."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)

    @property
    def sides(self):
        return "{}x{}".format(*reversed(self.pixels.shape[2:]))

    def batch(self, ids):
        """uint8 (B, 3, H, W) of the images with these ids."""
        return self.pixels[ids]

    def plain(self, ids):
        """The same as evaluation sees them."""
        return self.pixels[ids]

    def crc(self, crc=0):
        """A checksum of all images and labels."""
        for tensor in (self.pixels, self.labels):
            crc = zlib.crc32(tensor.contiguous().numpy(), crc)
        return crc


class Files:
    """Image files of any sizes, decoded by `workers` threads (Pillow releases the GIL); an id is a place in `members`.

    A file that cannot be decoded ends the run with its name: a batch without it would be another one."""

    sides = "sizes as they come"

    def __init__(self, members, labels, size, workers):
        self.members, self.labels, self.size = members, labels, size
        self.pool = ThreadPoolExecutor(max(1, workers))

    def __len__(self):
        return len(self.members)

    def batch(self, ids):
        """A list of uint8 (3, H, W)."""
        images = self.pool.map(decode_one, (self.members[i] for i in ids.tolist()))
        return [torch.from_numpy(image).permute(2, 0, 1) for image in images]

    def plain(self, ids):
        """uint8 (B, 3, size, size) for evaluation: the shorter side to 8/7 of size, then the centre, as 256 and 224."""
        images = self.pool.map(self.centre, (self.members[i] for i in ids.tolist()))
        return torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2)

    def centre(self, member):
        image = Image.fromarray(decode_one(member))
        scale = round(self.size * 8 / 7) / min(image.size)
        image = image.resize([max(self.size, int(side * scale)) for side in image.size], Image.Resampling.BILINEAR)
        left, top = (round((side - self.size) / 2) for side in image.size)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))

    def crc(self, crc=0):
        """A checksum of the files' names and labels."""
        for member in self.members:
            crc = zlib.crc32(str(member).encode(), crc)
        return zlib.crc32(self.labels.numpy(), crc)


@dataclass(frozen=True)
class Dataset:
    train: Images | Files
    test: Images | Files
    classes: tuple[str, ...]
    source: str

    def crc(self):
        return self.test.crc(self.train.crc())

    @property
    def about(self):
        sizes = f"{len(self.train):,} train and {len(self.test):,} test images, {self.train.sides}"
        return f"{self.source}: {sizes}, {len(self.classes)} classes"


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
        return take(config, *hugging_face.find(config.data[3:]))
    place = Path(config.data).expanduser()
    if config.download:
        cifar.download(place)
    if not place.exists():
        raise TrainerError(f"data: no folder {place}")
    limits = (config.limit_train, config.limit_test)
    if (batches := cifar.find(place)) is not None:
        return read_batches(batches, limits)
    return read_trees(config, place)


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


def subset(count, limit):
    """Indices of the fixed random subset of `limit` out of `count`; the same for every seed."""
    if not limit or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:limit])


def read_trees(config, place):
    splits = [open_split(place, ("train",)), open_split(place, ("test", "val"))]
    if None in splits:
        raise TrainerError(
            f"data: {place} holds no {'train' if splits[0] is None else 'test'} images; expected {EXPECTED}"
        )
    kind = "zipped image folders" if splits[0][0].archive else "image folders"
    return take(config, splits, sorted({member.class_name for member in splits[0]}), f"{kind} in {place}")


def take(config, splits, classes, source):
    """The data set of members found: decoded now, or for ImageNet when asked for."""
    strangers = {member.class_name for member in splits[1]} - set(classes)
    if strangers:
        raise TrainerError(f"data: test class {min(strangers)!r} has no training images in {source}")
    parts, limits = [], (config.limit_train, config.limit_test)
    for members, limit in zip(splits, limits, strict=True):
        members = [members[i] for i in subset(len(members), limit)]
        index = {name: label for label, name in enumerate(classes)}
        labels = torch.tensor([index[m.class_name] for m in members])
        if config.dataset == "imagenet":
            parts.append(Files(members, labels, config.image_size, config.workers))
        else:
            parts.append(Images(decode(members), labels))
    return Dataset(*parts, tuple(classes), source)


def decode(members):
    """uint8 (N, 3, H, W)."""
    with ThreadPoolExecutor(2) as pool:
        images = pool.map(decode_one, members)
        decoded = bar(images, total=len(members), desc="decoding", unit=" images", leave=False)
        pixels = np.stack(list(same_size(decoded, members)))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
