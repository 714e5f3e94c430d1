"""log.csv: a row every few steps and at each epoch's end; columns that a row did not measure stay empty."""

import csv
import os

from .atomic import naming, replacing
from .errors import TrainerError

COLUMNS = (
    "epoch", "step", "loss", "loss_symmetric", "loss_directed", "lr", "ema", "grad_norm", "sv_sv", "sv_hv", "hv_hv",
    "constant", "knn", "rankme", "std", "alarm", "images_per_second", "views_per_second", "data_share", "seconds",
)  # fmt: skip


def append(path, row):
    """Adds a row, and the heading to a new file; on the disk before the checkpoint that counts on it."""
    new = not path.exists()
    with naming(path), open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow({name: text(value) for name, value in row.items()})
        file.flush()
        os.fsync(file.fileno())


def text(value):
    """Nine digits: all of a float32, such as the loss of one step, and no more of a float64 than anyone needs."""
    return f"{value:.9g}" if isinstance(value, float) else value


def append_tensorboard(folder, row):
    """The same row as scalars for TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TrainerError("tensorboard: the package tensorboard is not installed") from None
    with SummaryWriter(str(folder)) as writer:
        for name, value in row.items():
            if name not in ("step", "epoch"):
                writer.add_scalar(name, value, row["step"])


def read(path):
    """Rows as dictionaries of floats; empty cells are left out."""
    with open(path, newline="") as file:
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]


def cut_after(path, step, least):
    """Drops torn rows and those that a killed run wrote after its last checkpoint; resuming writes them again.

    Raises TrainerError where the rows do not reach step `least`."""
    try:
        with open(path, newline="") as file:
            rows = [row for row in csv.DictReader(file) if is_whole(row) and int(row["step"]) <= step]
        if not rows or int(rows[-1]["step"]) < least:
            raise ValueError(f"it has no row of step {least}")
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TrainerError(f"log: cannot continue {path}: {reason}; use another --out or --resume false") from None
    with replacing(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def is_whole(row):
    return row.keys() == set(COLUMNS) and None not in row.values()
