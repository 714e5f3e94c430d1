"""Data sets of Hugging Face's `datasets`, where that package is installed."""

from dataclasses import dataclass
from typing import Any

from ..errors import TrainerError, one_line

IMAGE, LABEL = ("image", "img"), ("label", "labels", "fine_label")
TEST = ("test", "validation", "valid")


@dataclass(frozen=True)
class Row:
    """An image of a split; `open` gives Pillow's."""

    split: Any
    index: int
    column: str
    class_name: str
    name: str

    def open(self):
        return self.split[self.index][self.column]

    @property
    def key(self):
        return str(self)

    def __str__(self):
        return f"row {self.index} of {self.name}"


def find(name):
    """Rows of the training and of the test split, class names in the order of the labels, and where it is from."""
    try:
        import datasets
    except ImportError:
        raise TrainerError(f"data: hf:{name} needs the package datasets; it is not installed") from None
    if int(datasets.__version__.split(".")[0]) < 4:
        raise TrainerError("data: hf: needs datasets 4 or later; earlier ones run programs that come with the data")
    try:
        splits = datasets.load_dataset(name)
    except Exception as error:  # no network, no such name, damage: some twenty kinds
        raise TrainerError(f"data: datasets could not load {name!r}: {one_line(error)}") from None
    test = next((split for split in TEST if split in splits), None)
    if test is None or "train" not in splits:
        raise TrainerError(f"data: hf:{name} has no train and test split; it has {', '.join(splits)}")
    names = splits["train"].features[column(splits["train"], LABEL, name)].names
    parts = [rows(splits[split], names, f"{split} of hf:{name}") for split in ("train", test)]
    return parts, names, f"Hugging Face {name}"


def rows(split, names, name):
    image, label = column(split, IMAGE, name), column(split, LABEL, name)
    return [Row(split, i, image, names[number], name) for i, number in enumerate(split[label])]


def column(split, candidates, name):
    found = next((c for c in candidates if c in split.features), None)
    if found is None:
        raise TrainerError(f"data: {name} has no column {' or '.join(candidates)}; it has {', '.join(split.features)}")
    return found
