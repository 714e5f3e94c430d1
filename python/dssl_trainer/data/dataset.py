"""Data sets: whole ones as uint8 tensors in memory, or files that are decoded when they are asked for (ImageNet)."""

import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..bar import bar
from ..errors import TrainerError
from .image_folder import decode_one, same_size


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
            crc = zlib.crc32(tensor.contiguous().numpy().data, crc)
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
        shorter = round(self.size * 8 / 7)
        image = image.resize([side * shorter // min(image.size) for side in image.size], Image.Resampling.BILINEAR)
        left, top = (round((side - self.size) / 2) for side in image.size)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))

    def crc(self, crc=0):
        """A checksum of the files' names and labels, wherever the files are."""
        for member in self.members:
            crc = zlib.crc32(member.key.encode(), crc)
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


def subset(count, limit):
    """Indices of the fixed random subset of `limit` out of `count`; the same for every seed."""
    if not limit or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:limit])


def from_members(config, splits, classes, source):
    """The data set of members found: decoded now, or for ImageNet when asked for."""
    strangers = {member.class_name for member in splits[1]} - set(classes)
    if strangers:
        raise TrainerError(f"data: test class {min(strangers)!r} has no training images in {source}")
    train, test = (
        part_of(config, members, limit, classes)
        for members, limit in zip(splits, (config.limit_train, config.limit_test), strict=True)
    )
    return Dataset(train, test, tuple(classes), source)


def part_of(config, members, limit, classes):
    members = [members[i] for i in subset(len(members), limit)]
    index = {name: label for label, name in enumerate(classes)}
    labels = torch.tensor([index[m.class_name] for m in members])
    if config.dataset == "imagenet":
        return Files(members, labels, config.image_size, config.workers)
    return Images(decode(members), labels)


def decode(members):
    """uint8 (N, 3, H, W)."""
    with ThreadPoolExecutor(2) as pool:
        images = pool.map(decode_one, members)
        decoded = bar(images, total=len(members), desc="decoding", unit=" images", leave=False)
        pixels = np.stack(list(same_size(decoded, members)))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
