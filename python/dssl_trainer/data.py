"""Whole data sets as uint8 tensors in memory.

`data` is the word 'drawn' or a path in one of the layouts of LAYOUTS (config.py); with `download`,
torchvision fetches the CIFAR-10 python batches into it first.
"""

import io
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from . import cifar
from .bar import bar
from .config import TrainerError
from .drawn import CLASSES, draw

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"}
EXPECTED = "train/ and test/ folders, a zip of both, train.zip and test.zip, or the CIFAR-10 python batches"


@dataclass(frozen=True)
class Images:
    """pixels: uint8 (N, 3, H, W); labels: int64 (N,). An image's sample id is its index here."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)

    def batch(self, ids, decoders=None):
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


@dataclass(frozen=True)
class Dataset:
    train: Images
    test: Images
    classes: tuple[str, ...]
    source: str

    def crc(self):
        return self.test.crc(self.train.crc())

    @property
    def about(self):
        height, width = self.train.pixels.shape[2:]
        sizes = f"{len(self.train):,} train and {len(self.test):,} test images, {width}x{height}"
        return f"{self.source}: {sizes}, {len(self.classes)} classes"


def load(config):
    """The data set that the settings name; TrainerError where it is missing, unknown, damaged or of another size."""
    dataset = read(config)
    for name, part in (("train", dataset.train), ("test", dataset.test)):
        height, width = part.pixels.shape[2:]
        if (height, width) != (config.image_size, config.image_size):
            raise TrainerError(f"data: {name} images are {width}x{height}, but image_size is {config.image_size}")
    return dataset


def read(config):
    if config.data == "drawn":
        return drawn_dataset(config.limit_train or 5000, config.limit_test or 1000)
    place = Path(config.data).expanduser()
    if config.download:
        cifar.download(place)
    if not place.exists():
        raise TrainerError(f"data: no folder {place}")
    limits = (config.limit_train, config.limit_test)
    if (batches := cifar.find(place)) is not None:
        return read_batches(batches, limits)
    return read_trees(place, limits)


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


# ---- image folders and zips of them


def read_trees(place, limits):
    splits = [open_split(place, ("train",)), open_split(place, ("test", "val"))]
    if None in splits:
        raise TrainerError(
            f"data: {place} holds no {'train' if splits[0] is None else 'test'} images; expected {EXPECTED}"
        )
    classes = sorted({member.class_name for member in splits[0]})
    strangers = {member.class_name for member in splits[1]} - set(classes)
    if strangers:
        raise TrainerError(f"data: test class {min(strangers)!r} has no training images in {place}")
    train, test = (decode(split, classes, limit) for split, limit in zip(splits, limits, strict=True))
    kind = "zipped image folders" if splits[0][0].archive else "image folders"
    return Dataset(train, test, tuple(classes), f"{kind} in {place}")


@dataclass(frozen=True)
class Member:
    """An image file, in a folder or in an open zip archive."""

    path: str
    class_name: str
    archive: zipfile.ZipFile | None = None

    def read(self):
        return self.archive.read(self.path) if self.archive else Path(self.path).read_bytes()

    def __str__(self):
        return f"{self.path} in {self.archive.filename}" if self.archive else self.path


def open_split(place, names):
    """Sorted members of the first of `names` that exists as a zip, in a zip or as a folder with images; else None."""
    for name in names:
        if place.is_file():
            members = [m for m in zip_members(place) if Path(m.path).parts[-3:-2] == (name,)]
        elif (path := place / f"{name}.zip").is_file():
            members = zip_members(path)
        else:
            members = [Member(str(f), f.parent.name) for f in (place / name).glob("*/*")]
        members = [m for m in members if is_image(Path(m.path))]
        if members:
            return sorted(members, key=lambda m: (m.class_name, Path(m.path).name))
    return None


def is_image(path):
    """By its name; macOS puts ._x.jpg beside x.jpg, in zips under __MACOSX/."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and "__MACOSX" not in path.parts


def zip_members(path):
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise TrainerError(f"data: {path} is not a readable zip: {error}") from None
    names = [Path(name) for name in archive.namelist()]
    return [Member(str(name), name.parent.name, archive) for name in names if len(name.parts) >= 2]


def decode(members, classes, limit):
    members = [members[i] for i in subset(len(members), limit)]
    with ThreadPoolExecutor(2) as pool:
        images = pool.map(decode_one, members)
        decoded = bar(images, total=len(members), desc="decoding", unit=" images", leave=False)
        pixels = np.stack(list(same_size(decoded, members)))
    index = {name: label for label, name in enumerate(classes)}
    labels = torch.tensor([index[m.class_name] for m in members])
    return Images(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels)


def decode_one(member):
    """(H, W, 3) uint8; grey and palette images become RGB."""
    try:
        with Image.open(io.BytesIO(member.read())) as image:
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:  # its own words hold the address of a buffer
        raise TrainerError(f"data: cannot decode {member}: not an image that Pillow knows") from None
    except Exception as error:  # zipfile, zlib and Pillow's decoders raise some ten kinds
        raise TrainerError(f"data: cannot decode {member}: {cifar.one_line(error)}") from None


def same_size(images, members):
    shape = None
    for image, member in zip(images, members, strict=True):
        shape = shape or image.shape
        if image.shape != shape:
            sizes = f"{image.shape[1]}x{image.shape[0]}, others are {shape[1]}x{shape[0]}"
            raise TrainerError(f"data: images must have one size; {member} is {sizes}")
        yield image
