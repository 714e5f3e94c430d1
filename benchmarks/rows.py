"""Rows of measurements in CSV files, one file a room.

op, impl and version, mode (what a call does), shape, dtype, device: what was measured; all but version are its key, and
the last row of a key counts. items: images or samples a call. first_ms: the first call, with what torch.compile
compiles, but without our JIT build, which is done before. median, p20 and p80 in milliseconds, of `rounds` calls.
peak_mb: memory that a call adds at its peak, measured (machine.py). of_limit: the time that copy bandwidth or matrix
rate, as measured in the same run, need for the least that the op must move and compute, divided by the median. threads
of the implementation; load: the machine's load average before the run (well above 0: others were working, and the row
is a ratio at best). hardware, torch, commit, date.
"""

import csv
import datetime
import importlib.metadata
from pathlib import Path

import numpy as np
import torch

from dssl_ops import _build

from . import machine

RESULTS = Path(__file__).resolve().parent / "results"
KEY = ("op", "impl", "mode", "shape", "dtype", "device")
NUMBERS = ("items", "first_ms", "median_ms", "p20_ms", "p80_ms", "rounds", "peak_mb", "of_limit", "threads", "load")
COLUMNS = ("op", "impl", "version", *KEY[2:], *NUMBERS, "hardware", "torch", "commit", "date")


def key(row):
    return tuple(row[name] for name in KEY)


def case_columns():
    """The key without the implementation: rows that share it were timed in turns."""
    return tuple(name for name in KEY if name != "impl")


def case_of(row):
    return tuple(row[name] for name in case_columns())


def append(folder, room, rows):
    """Adds rows, all or none of them, to folder/room.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{room}.csv"
    text = path.read_text() if path.exists() else ",".join(COLUMNS) + "\n"
    fresh = path.with_suffix(".part")
    with open(fresh, "w", newline="") as file:
        file.write(text)
        csv.DictWriter(file, COLUMNS, lineterminator="\n").writerows(rows)
    fresh.replace(path)


def read(path):
    """The last row of each key, in the order of the first, numbers as float, None where there is none."""
    found = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if tuple(row) != COLUMNS:
                raise SystemExit(f"benchmarks: {path} must have the columns {', '.join(COLUMNS)}; got {', '.join(row)}")
            found[key(row)] = row | {name: float(row[name]) if row[name] else None for name in NUMBERS}
    return list(found.values())


def read_all(folder=RESULTS):
    """{room: rows} of a folder."""
    return {path.stem: read(path) for path in sorted(folder.glob("*.csv"))}


def stamp(row, measured):
    """The row as text, with the figures of the calls' milliseconds and where and when it was measured."""
    figures = dict(zip(("median_ms", "p20_ms", "p80_ms"), quantiles(measured)))
    now = {"torch": torch.__version__, "commit": machine.commit(), "date": datetime.date.today().isoformat()}
    return {name: as_text(value) for name, value in (row | figures | now).items()}


def as_text(value):
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def quantiles(measured):
    """Median, 20th and 80th percentile."""
    return np.quantile(measured, (0.5, 0.2, 0.8)).tolist()


def version(package):
    """Raises ImportError, as importing would, where it is not installed. Ours may run from the tree."""
    if package == "dssl_ops":
        return _build.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(f"{package} is not installed") from None
