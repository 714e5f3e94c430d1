"""The CIFAR-10 python batches: data_batch_1 to data_batch_5, test_batch, and batches.meta with the class names."""

import pickle

import numpy as np
import torch

from ..errors import TrainerError, one_line

TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = ("test_batch",)


def download(folder):
    from torchvision.datasets import CIFAR10

    try:
        CIFAR10(folder, download=True)
    except (OSError, RuntimeError) as error:  # no network, full disk, damaged archive
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
        data, labels = np.asarray(content[b"data"]), np.asarray(content[b"labels"])
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072 or not len(data):
            raise ValueError(f"expected data of shape (N, 3072) and type uint8; got {data.shape} {data.dtype}")
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
        return ArraysOnly(file, encoding="bytes").load()


class ArraysOnly(pickle.Unpickler):
    """Pickles can run code; a data file has no reason to name anything but NumPy arrays."""

    ALLOWED = frozenset({"_reconstruct", "_frombuffer", "ndarray", "dtype"})

    def find_class(self, module, name):
        if (module.split(".")[0] == "numpy" and name in self.ALLOWED) or (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")
