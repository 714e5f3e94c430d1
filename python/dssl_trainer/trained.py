"""The encoder of a run, for the commands that use it: evaluate, export, detect."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from torch import nn

from . import checkpoint
from .config import Config, from_dict
from .device import resolve
from .errors import TrainerError
from .learner import new_method


class Trained(NamedTuple):
    """The encoder of a checkpoint, in evaluation mode on the device; step: how many it has trained."""

    config: Config
    encoder: nn.Module
    path: Path
    step: int


def open_run(place, device="auto", data=None):
    """The Trained of RUN: a folder with checkpoint.pt, or one of its checkpoint files.

    Raises TrainerError where there is none, or where it holds another architecture."""
    path = checkpoint_of(place)
    state = checkpoint.load(path)
    with checkpoint.reading(path):
        config = from_dict(state["config"], path)
        step = state["progress"]["step"]
    elsewhere = {"device": device, "data": data or config.data, "download": False, "cuda_graph": False}
    config = resolve(dataclasses.replace(config, **elsewhere))
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
