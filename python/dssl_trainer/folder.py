"""A finished or running run's folder, as the commands that look at one open it."""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

from torch import nn

from . import checkpoint, log
from .config import Config, TrainerError
from .device import resolve
from .learner import new_method


class Trained(NamedTuple):
    """The encoder of a checkpoint, in evaluation mode on the device; epochs: how many it has seen."""

    config: Config
    encoder: nn.Module
    path: Path
    step: int


class Record(NamedTuple):
    """What a run's folder tells without its weights: settings, a line about the data, rows of log.csv."""

    folder: Path
    config: Config
    about: str
    rows: list


def open_run(place, device="auto", data=None):
    """The Trained of RUN: a folder with checkpoint.pt, or one of its checkpoint files.

    Raises TrainerError where there is none, or where it holds another architecture."""
    path = checkpoint_of(place)
    state = checkpoint.load(path)
    with checkpoint.one_line(path):
        config = settings_of(state["config"], path)
        step = state["progress"]["step"]
    config = resolve(dataclasses.replace(config, device=device, data=data or config.data, download=False))
    method = new_method(config)
    checkpoint.load_weights(method, state["model"], path)
    return Trained(config, method.encoder.eval().requires_grad_(False), path, step)


def checkpoint_of(place):
    path = Path(place).expanduser()
    if path.is_dir():
        if not (path / "checkpoint.pt").is_file():
            raise TrainerError(f"{path} holds no checkpoint.pt: it is not the folder of a run, or none was saved yet")
        return path / "checkpoint.pt"
    if not path.exists():
        raise TrainerError(f"no run in {path}: expected the folder of `dssl train --out`, or a checkpoint in it")
    return path


def settings_of(values, path):
    """The Config that as_dict wrote."""
    known = {spec.name for spec in dataclasses.fields(Config)}
    if strange := sorted(values.keys() - known):
        raise TrainerError(f"{path} was made by another version: unknown setting {strange[0]}")
    return Config(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def read_record(place):
    """The Record of RUN. Raises TrainerError where config.json or log.csv are missing or damaged."""
    folder = Path(place).expanduser()
    try:
        kept = json.loads((folder / "config.json").read_text())
        config = settings_of(kept["settings"], folder / "config.json")
        rows = log.read(folder / "log.csv")
        return Record(folder, config, kept["data"], rows)
    except OSError as error:
        raise TrainerError(f"{folder} is not the folder of a run: {error.strerror}: {error.filename}") from None
    except (ValueError, LookupError, TypeError) as error:
        raise TrainerError(f"{folder}: its config.json or log.csv is damaged: {error}") from None
