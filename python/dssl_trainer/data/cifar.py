"""The CIFAR-10 python batches: data_batch_1 to data_batch_5, test_batch, and batches.meta with the class names."""

import pickle
import shutil
import tarfile
import zlib

import numpy as np
import torch

from ..atomic import replacing
from ..errors import TrainerError, one_line

TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = ("test_batch",)


def download(folder):
    """By torchvision, which checks the archive's sum. Its own class would also extract and unpickle whatever is there:
    only the batches are taken out of it, under names of ours."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import download_url

    names, place = (*TRAIN, *TEST, "batches.meta"), folder / CIFAR10.base_folder
    if all((place / name).is_file() for name in names):
        return
    try:
        download_url(CIFAR10.url, str(folder), CIFAR10.filename, CIFAR10.tgz_md5)
        place.mkdir(parents=True, exist_ok=True)
        with tarfile.open(folder / CIFAR10.filename) as archive:
            for name in names:
                source = archive.extractfile(f"{CIFAR10.base_folder}/{name}")
                if source is None:
                    raise LookupError(f"{name} is not a file there")
                with source, replacing(place / name) as file:
                    shutil.copyfileobj(source, file)
    # no network, full disk, damaged archive
    except (OSError, RuntimeError, EOFError, zlib.error, tarfile.TarError, LookupError, TypeError) as error:
        raise TrainerError(f"data: torchvision could not download CIFAR-10 to {folder}: {one_line(error)}") from None


def find(folder):
    """The folder or its cifar-10-batches-py, whichever holds any batch; else None."""
    places = (folder, folder / "cifar-10-batches-py")
    return next((place for place in places if any((place / name).is_file() for name in TRAIN + TEST)), None)


def read(folder):
    """Pixels and labels of all training images, the same of the test images, and the class names."""
    missing = [name for name in TRAIN + TEST if not (folder / name).is_file()]
    if missing:
        raise TrainerError(f"data: {folder} lacks {missing[0]}")
    names = class_names(folder / "batches.meta")
    return join(folder, TRAIN, len(names)), join(folder, TEST, len(names)), names


def join(folder, names, classes):
    batches = [read_batch(folder / name, classes) for name in names]
    pixels, labels = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*batches, strict=True))
    return pixels.view(-1, 3, 32, 32), labels


def read_batch(path, classes):
    """(N, 3072) uint8 and N int64 labels below `classes`."""
    try:
        content = unpickle(path)
        data, labels = content[b"data"].values, np.asarray(content[b"labels"])
        if data.ndim != 2 or data.shape[1] != 3072 or not len(data):
            raise ValueError(f"expected data of shape (N, 3072); got {data.shape}")
        if labels.dtype.kind not in "iu" or labels.shape != data.shape[:1]:
            raise ValueError(f"expected {len(data)} integer labels; got {labels.shape} {labels.dtype}")
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError(f"labels go from {labels.min()} to {labels.max()}, classes from 0 to {classes - 1}")
    except Exception as error:  # a damaged pickle can raise anything
        raise TrainerError(f"data: {path} is not a CIFAR-10 python batch: {one_line(error)}") from None
    return data, labels.astype(np.int64)


def class_names(path):
    if not path.is_file():
        return tuple(map(str, range(10)))
    try:
        return tuple(name.decode() for name in unpickle(path)[b"label_names"])
    except Exception as error:  # as above
        raise TrainerError(f"data: {path} holds no class names: {one_line(error)}") from None


def unpickle(path):
    with open(path, "rb") as file:
        return Plain(file, encoding="bytes").load()


class Kind:
    """In place of numpy.dtype."""

    def __init__(self, code, *_):
        self.code = code

    def __setstate__(self, state):
        pass


class Bytes:
    """In place of a numpy.ndarray: values, uint8 of any shape."""

    def __init__(self, *_):
        self.values = np.empty(0, np.uint8)

    def __setstate__(self, state):
        _, shape, kind, by_columns, raw = state
        self.fill(raw, kind, shape, "F" if by_columns else "C")

    def fill(self, raw, kind, shape, order):
        if not isinstance(kind, Kind) or kind.code not in ("u1", b"u1") or order != "C":
            raise pickle.UnpicklingError("expected an array of type uint8, row by row")
        self.values = np.frombuffer(raw, np.uint8).reshape(shape)


def from_buffer(*state):
    found = Bytes()
    found.fill(*state)
    return found


STAND_INS = {"_reconstruct": Bytes, "ndarray": Bytes, "_frombuffer": from_buffer, "dtype": Kind}


class Plain(pickle.Unpickler):
    """Pickles can run code, and NumPy's own functions make arrays over any memory: whatever a batch names stands for
    a few lines of ours."""

    def find_class(self, module, name):
        if module.split(".")[0] == "numpy" and name in STAND_INS:
            return STAND_INS[name]
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 writes bytes
            return lambda text, _: text.encode("latin1")
        raise pickle.UnpicklingError(f"it names {module}.{name}")
