"""Whole data sets as uint8 tensors in memory.

`data` is a folder in one of four layouts, or the word 'drawn':
- train/<class>/<image> and test/<class>/<image> (an ImageFolder tree; val is accepted for test),
- train.zip and test.zip holding such trees,
- the CIFAR-10 python batches (data_batch_1 .. test_batch, or a folder cifar-10-batches-py holding them),
- anything, with `download`: torchvision fetches the batches into it.
"""

import io
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .bar import bar
from .config import TrainerError
from .drawn import CLASSES, draw

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"}
LAYOUTS = "train/ and test/ folders, train.zip and test.zip, or the CIFAR-10 python batches"


@dataclass(frozen=True)
class Images:
    """pixels: uint8 (N, 3, H, W); labels: int64 (N,). An image's sample id is its index here."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    train: Images
    test: Images
    classes: tuple[str, ...]
    source: str

    @property
    def about(self):
        height, width = self.train.pixels.shape[2:]
        sizes = f"{len(self.train):,} train and {len(self.test):,} test images, {width}x{height}"
        return f"{self.source}: {sizes}, {len(self.classes)} classes"


def load(config):
    """The data set that the settings name; TrainerError where it is missing, unknown or damaged."""
    if config.data == "drawn":
        return drawn_dataset(config.limit_train or 5000, config.limit_test or 1000)
    folder = Path(config.data).expanduser()
    if config.download:
        download_cifar10(folder)
    if not folder.is_dir():
        raise TrainerError(f"data: no folder {folder}")
    limits = (config.limit_train, config.limit_test)
    if (batches := find_batches(folder)) is not None:
        return read_batches(batches, limits)
    return read_trees(folder, limits)


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


def read_trees(folder, limits):
    splits = [open_split(folder, ("train",)), open_split(folder, ("test", "val"))]
    if None in splits:
        raise TrainerError(
            f"data: {folder} holds no {'train' if splits[0] is None else 'test'} images; expected {LAYOUTS}"
        )
    classes = sorted({member.class_name for member in splits[0]})
    strangers = {member.class_name for member in splits[1]} - set(classes)
    if strangers:
        raise TrainerError(f"data: test class {min(strangers)!r} has no training images in {folder}")
    train, test = (decode(split, classes, limit) for split, limit in zip(splits, limits, strict=True))
    kind = "zips of image folders" if splits[0][0].archive else "image folders"
    return Dataset(train, test, tuple(classes), f"{kind} in {folder}")


@dataclass(frozen=True)
class Member:
    """An image file, in a folder or in an open zip archive."""

    path: str
    class_name: str
    archive: zipfile.ZipFile | None = None

    def read(self):
        return self.archive.read(self.path) if self.archive else Path(self.path).read_bytes()


def open_split(folder, names):
    """Sorted members of the first of `names` that exists as a zip or a folder with images; else None."""
    for name in names:
        if (path := folder / f"{name}.zip").is_file():
            members = zip_members(path)
        else:
            members = [Member(str(f), f.parent.name) for f in (folder / name).glob("*/*")]
        members = [m for m in members if Path(m.path).suffix.lower() in SUFFIXES]
        if members:
            return sorted(members, key=lambda m: (m.class_name, Path(m.path).name))
    return None


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
    except (OSError, zipfile.BadZipFile, SyntaxError, ValueError) as error:
        raise TrainerError(f"data: cannot decode {member.path}: {error}") from None


def same_size(images, members):
    shape = None
    for image, member in zip(images, members, strict=True):
        shape = shape or image.shape
        if image.shape != shape:
            sizes = f"{image.shape[1]}x{image.shape[0]}, others are {shape[1]}x{shape[0]}"
            raise TrainerError(f"data: images must have one size; {member.path} is {sizes}")
        yield image


# ---- the CIFAR-10 python batches


def download_cifar10(folder):
    from torchvision.datasets import CIFAR10

    try:
        CIFAR10(folder, download=True)
    except (OSError, RuntimeError) as error:  # no network, full disk, damaged archive
        raise TrainerError(f"data: torchvision could not download CIFAR-10 to {folder}: {error}") from None


def find_batches(folder):
    places = (folder, folder / "cifar-10-batches-py")
    return next((place for place in places if (place / "data_batch_1").is_file()), None)


def read_batches(folder, limits):
    train = [read_batch(folder / f"data_batch_{i}") for i in range(1, 6) if (folder / f"data_batch_{i}").is_file()]
    parts = []
    for batches, limit in ((train, limits[0]), ([read_batch(folder / "test_batch")], limits[1])):
        pixels = torch.cat([torch.from_numpy(data).view(-1, 3, 32, 32) for data, _ in batches])
        labels = torch.cat([torch.tensor(label) for _, label in batches])
        chosen = torch.from_numpy(subset(len(labels), limit))
        parts.append(Images(pixels[chosen], labels[chosen]))
    return Dataset(*parts, class_names(folder), f"CIFAR-10 python batches in {folder}")


def read_batch(path):
    """(N, 3072) uint8 and a list of N labels."""
    try:
        content = unpickle(path)
        return np.ascontiguousarray(content[b"data"], dtype=np.uint8), content[b"labels"]
    except (OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise TrainerError(f"data: {path} is not a CIFAR-10 python batch: {error}") from None


def class_names(folder):
    if not (folder / "batches.meta").is_file():
        return tuple(map(str, range(10)))
    return tuple(name.decode() for name in unpickle(folder / "batches.meta")[b"label_names"])


def unpickle(path):
    with open(path, "rb") as file:
        return ArraysOnly(file, encoding="bytes").load()


class ArraysOnly(pickle.Unpickler):
    """Pickles can run code; a data file has no reason to name anything but NumPy arrays."""

    ALLOWED = frozenset({"_reconstruct", "_frombuffer", "ndarray", "dtype"})

    def find_class(self, module, name):
        if (module.split(".")[0] == "numpy" and name in self.ALLOWED) or (module, name) == (
            "_codecs",
            "encode",
        ):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")
