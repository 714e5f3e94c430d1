"""Image files of a folder or a zip as uint8 tensors, for the transforms of images of any sizes."""

from __future__ import annotations

import io
import itertools
import logging
import operator
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from .program import MAX_SIDE, require

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF", "GIF")  # none that runs another program
BY_TORCHVISION = ("JPEG", "MPO")  # its PNG decoder ends the process at some damaged files
MAX_BYTES, MAX_PIXELS = 1 << 28, 1 << 26  # of one file, and of one image: 64 Mi pixels are 192 MiB of RGB
REASONS = ("", "cannot be read", "is truncated, corrupt or no image", "is too large")
UNREADABLE, CORRUPT, TOO_LARGE = range(1, 4)
log = logging.getLogger("dssl_ops")


class _Bad(Exception):
    """Why a file is skipped: its number in REASONS, and the words of whoever noticed."""


class ImageFiles(Dataset):
    """(image, label) of every image file below `root`: uint8 (3, H, W) of the file's own size, and its class's number.

    A class is a folder, leading folders that all files share aside; files beside each other are one class. Grey,
    palette and CMYK images become RGB. torchvision decodes JPEG, Pillow the other formats, and JPEG with the same bits
    where torchvision is not installed. Links are followed, rotation tags are not, as in torchvision's ImageFolder.

    A file that cannot be read, is truncated or corrupt, has more than 256 MiB or 64 Mi pixels, gives (None, label),
    which transforms.Collate leaves out: it is named once on the logger "dssl_ops" and counted in `skipped`, also when
    another process met it. What the decoder itself repairs is not noticed: a few wrong bytes inside a JPEG's scan,
    though in a zip its checksum tells.

    Args:
        root: a folder, a zip, or one image file.
        folder: the part of it to take.
        classes: their names in the order of the labels; by default those found, sorted.

    Raises:
        OSError, ValueError: where there is no such place or no image in it.
    """

    def __init__(self, root: str | os.PathLike, folder: str = "", classes: Sequence[str] | None = None):
        self.root, self.folder = os.fspath(root), folder.strip("/")
        alone = Path(self.root).stem
        self._zipped = self.root.lower().endswith(".zip")
        self._archive: tuple[int, zipfile.ZipFile] | None = None  # the process that opened it
        if os.path.isfile(self.root) and not self._zipped:
            self.root, name = os.path.split(self.root)
            names = [name]
        else:
            names = sorted(name for name in self._names() if name.lower().endswith(SUFFIXES))
        where = os.path.join(self.root, self.folder) if self.folder else self.root
        require(len(names) > 0, f"ImageFiles: no image ({', '.join(SUFFIXES)}) below {where}")
        found = _classes(names, alone)
        self.classes = tuple(sorted(set(found)) if classes is None else classes)
        numbers = {name: number for number, name in enumerate(self.classes)}
        unknown = sorted(set(found) - set(numbers))
        require(
            not unknown, f"ImageFiles: class {(unknown or [''])[0]!r} in {where} is none of the {len(numbers)} given"
        )
        self.labels = torch.tensor([numbers[name] for name in found], device="cpu")
        # One array of bytes: a million Python strings would be copied into every forked worker, count by count.
        self._paths = np.array([os.fsencode(name) for name in names])
        self._reasons = torch.zeros(len(names), dtype=torch.uint8, device="cpu").share_memory_()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Tensor | None, int]:
        index = range(len(self))[operator.index(index)]
        label = int(self.labels[index])
        try:
            return decode(self._read(self.path(index))), label
        except _Bad as bad:
            reason, words = bad.args
        if not self._reasons[index]:
            self._reasons[index] = reason
            log.warning("skipped %s in %s, which %s: %s", self.path(index), self.root or ".", REASONS[reason], words)
        return None, label

    def path(self, index: int) -> str:
        """Where image `index` is below root."""
        return os.fsdecode(self._paths[index])

    @property
    def skipped(self) -> dict[str, str]:
        """Path and reason of every file that has been skipped so far, by any process that shares this object."""
        indices = self._reasons.nonzero().flatten().tolist()
        return {self.path(index): REASONS[self._reasons[index]] for index in indices}

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_archive": None}

    def _names(self) -> Iterator[str]:
        if self._zipped:
            below = f"{self.folder}/" if self.folder else ""
            yield from (name for name in self._opened().namelist() if name.startswith(below))
            return
        yield from (os.path.relpath(path, self.root) for path in _files(os.path.join(self.root, self.folder)))

    def _opened(self) -> zipfile.ZipFile:
        """The archive, opened by this process: processes that shared one would share its position in the file."""
        if self._archive is None or self._archive[0] != os.getpid():
            try:
                self._archive = (os.getpid(), zipfile.ZipFile(self.root))
            except zipfile.BadZipFile as error:
                raise ValueError(f"ImageFiles: {self.root} is no zip that can be read: {error}") from None
        return self._archive[1]

    def _read(self, path: str) -> bytes:
        full = os.path.join(self.root, path)
        try:
            if self._zipped:
                return read_member(self._opened(), path)
            if (size := _size(full)) > MAX_BYTES:
                raise _Bad(TOO_LARGE, f"{size} bytes")
            return Path(full).read_bytes()
        except TooLarge as error:
            raise _Bad(TOO_LARGE, error) from None
        except zipfile.BadZipFile as error:  # its checksum
            raise _Bad(CORRUPT, error) from None
        except (OSError, RuntimeError, NotImplementedError, zlib.error, EOFError, KeyError, ValueError) as error:
            raise _Bad(UNREADABLE, error) from None


class TooLarge(ValueError):
    """More bytes or pixels than an image file of a training set has."""


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of a zip's member, at most MAX_BYTES, which is checked before anything is decompressed.

    Raises TooLarge, and NotImplementedError for methods that make megabytes of every byte before they can be stopped.
    """
    info = archive.getinfo(name)
    if info.file_size > MAX_BYTES:
        raise TooLarge(f"{info.file_size} bytes")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError("it is neither stored nor deflated")
    with archive.open(info) as file:
        return file.read(info.file_size)  # no more, whatever the stream holds; read() would expand all of it


def check_pixels(image: Image.Image) -> None:
    """Raise TooLarge where the header says more than MAX_PIXELS or a side above MAX_SIDE; nothing is decoded yet."""
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise TooLarge(f"{width}x{height} pixels")


def _files(place: str, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Every file below; links are followed, but none back to a folder above it. Folders that cannot be read raise."""
    here = os.path.realpath(place)
    if here in above:
        return
    with os.scandir(place) as entries:
        for entry in entries:
            yield from _files(entry.path, above | {here}) if entry.is_dir() else (entry.path,)


def _size(path: str) -> int:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no regular file")  # reading a pipe would wait for ever
    return status.st_size


def _classes(names: Sequence[str], alone: str) -> list[str]:
    """The first folder of every name below those that all of them share."""
    folders = [name.replace(os.sep, "/").split("/")[:-1] for name in names]
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(min(folders), max(folders)))
    shared = [name for name, _ in pairs]
    return [(path[len(shared) :] or shared[-1:] or [alone])[0] for path in folders]


def decode(data: bytes) -> Tensor:
    """uint8 (3, H, W) of an image file's bytes; raises _Bad where they are not one that we read."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:  # the header alone
            check_pixels(image)
            if image.format in BY_TORCHVISION and (by_torchvision := _torchvision()):
                return by_torchvision(data)
            return _by_pillow(image)
    except (TooLarge, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _Bad(TOO_LARGE, error) from None
    except UnidentifiedImageError:
        raise _Bad(CORRUPT, f"no {', '.join(FORMATS)}") from None
    except _Bad:
        raise
    except Exception as error:  # decoders raise nearly anything at bytes that mean harm: struct.error, KeyError, ...
        words = re.sub(r"^\w+, \S+:\d+, ", "", str(error))  # torchvision begins with its function and source line
        raise _Bad(CORRUPT, words.split("\n")[0]) from None


def _by_pillow(image: Image.Image) -> Tensor:
    pixels = np.array(image if image.mode.startswith("I;16") else image.convert("RGB"))
    if pixels.ndim == 2:  # 16 bits of grey, of which the upper 8 count; convert would cut off at 255
        pixels = np.repeat((pixels >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    return torch.from_numpy(pixels).permute(2, 0, 1)


@lru_cache
def _torchvision() -> Callable[[bytes], Tensor] | None:
    """A function from a JPEG's bytes to uint8 (3, H, W), or None where torchvision, or its decoder, is not there."""
    try:
        from torchvision.io import ImageReadMode

        decode_jpeg = torch.ops.image.decode_jpeg  # what its Python function calls, after a warning of deprecation
    except (ImportError, AttributeError):
        return None
    return lambda data: decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB.value)
