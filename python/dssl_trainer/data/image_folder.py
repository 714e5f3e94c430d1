"""Image files in folders and zips: finding and decoding them."""

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dssl_ops.image_files import FORMATS, MAX_BYTES, TooLarge, check_pixels, read_member

from ..errors import TrainerError, one_line

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"}


@dataclass(frozen=True)
class Member:
    """An image file, in a folder or in an open zip archive."""

    path: str
    class_name: str
    archive: zipfile.ZipFile | None = None

    @property
    def key(self):
        """What it is called in any place: <class>/<file>."""
        return f"{self.class_name}/{self.name}"

    @property
    def name(self):
        return self.path.rpartition("/")[2]

    def read(self):
        if self.archive:
            return read_member(self.archive, self.path)
        if (size := Path(self.path).stat().st_size) > MAX_BYTES:
            raise TooLarge(f"{size} bytes")
        return Path(self.path).read_bytes()

    def open(self):
        """Pillow's image, its header read; no format that runs another program, as that of EPS would."""
        image = Image.open(io.BytesIO(self.read()), formats=FORMATS)
        check_pixels(image)
        return image

    def __str__(self):
        return f"{self.path} in {self.archive.filename}" if self.archive else self.path


def open_split(place, names):
    """Sorted members of the first of `names` that exists as a zip, in a zip or as a folder with images; else None."""
    for name in names:
        if place.is_file():
            members = [m for m in zip_members(place) if parts_of(m.path)[-3:-2] == [name]]
        elif (path := place / f"{name}.zip").is_file():
            members = zip_members(path)
        else:
            members = [Member(str(f), f.parent.name) for f in (place / name).glob("*/*")]
        members = [member for member in members if is_image(member)]
        if members:
            return sorted(members, key=lambda member: (member.class_name, member.name))
    return None


def is_image(member):
    """By its name; macOS puts ._x.jpg beside x.jpg, in zips under __MACOSX/."""
    visible = not member.name.startswith(".") and "__MACOSX" not in parts_of(member.path)
    return visible and os.path.splitext(member.name)[1].lower() in SUFFIXES


def parts_of(path):
    """As Path.parts, at a sixth of its price: a zip may have a million."""
    return [part for part in path.split("/") if part not in ("", ".")]


def zip_members(path):
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise TrainerError(f"data: {path} is not a readable zip: {error}") from None
    return [Member(name, parts[-2], archive) for name in archive.namelist() if len(parts := parts_of(name)) > 1]


def decode_one(member):
    """(H, W, 3) uint8; grey and palette images become RGB."""
    try:
        with member.open() as image:
            return np.array(image.convert("RGB"))  # a copy: torch wants to be able to write
    except UnidentifiedImageError:  # its own words hold the address of a buffer
        raise TrainerError(f"data: cannot decode {member}: not an image that Pillow knows") from None
    except Exception as error:  # zipfile, zlib and Pillow's decoders raise some ten kinds
        raise TrainerError(f"data: cannot decode {member}: {one_line(error)}") from None


def same_size(images, members):
    shape = None
    for image, member in zip(images, members, strict=True):
        shape = shape or image.shape
        if image.shape != shape:
            sizes = f"{image.shape[1]}x{image.shape[0]}, others are {shape[1]}x{shape[0]}"
            raise TrainerError(f"data: images must have one size; {member} is {sizes}")
        yield image
