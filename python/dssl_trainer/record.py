"""config.json, a run's record of itself: settings with their origins, versions, data. Reports need it and log.csv."""

import dataclasses
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import NamedTuple

import torch

from . import log
from .atomic import replacing
from .config import Config, as_dict, from_dict
from .data.views import op_sets, uses_policy
from .errors import TrainerError


class Record(NamedTuple):
    """What a run's folder tells without its weights; about: a line about the data, rows: those of log.csv."""

    folder: Path
    config: Config
    origin: dict
    versions: dict
    about: str
    rows: list


def origin(config):
    """{setting: 'default' or 'program'} of settings that a program made; `dssl train` knows better."""
    defaults = {spec.name: spec.default for spec in dataclasses.fields(Config)}
    return {name: "default" if value == defaults[name] else "program" for name, value in vars(config).items()}


def write(path, config, origin, about, images):
    """config.json: every setting with its value and origin, versions, the data in words, and the images' checksum."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "dssl_ops": installed_version()}
    versions["commit"] = commit()
    record = {"settings": as_dict(config), "origin": origin, "versions": versions, "data": about, "images": images}
    with replacing(path, "w") as file:
        file.write(json.dumps(record, indent=2) + "\n")


def installed_version():
    try:
        return importlib.metadata.version("dssl_ops")
    except importlib.metadata.PackageNotFoundError:
        return "source tree"


def commit():
    """Of the source tree that this runs from, with -dirty where files were changed; None when installed elsewhere."""
    tree = Path(__file__).resolve().parents[2]
    if not (tree / ".git").exists():
        return None
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def read_record(place):
    """The Record of RUN. Raises TrainerError where config.json or log.csv are missing or damaged."""
    folder = Path(place).expanduser()
    try:
        kept = json.loads((folder / "config.json").read_text())
        config = from_dict(kept["settings"], folder / "config.json")
        rows = log.read(folder / "log.csv")
        return Record(folder, config, kept["origin"], kept["versions"], kept["data"], rows)
    except OSError as error:
        raise TrainerError(f"{folder} is not the folder of a run: {error.strerror}: {error.filename}") from None
    except (ValueError, LookupError, TypeError) as error:
        raise TrainerError(f"{folder}: its config.json or log.csv is damaged: {error}") from None


def subtitle(config, about):
    """What a figure may never be without: scale, seed, epochs, op set, data (a line about them)."""
    sets = op_sets(config)
    heavy = f"{config.heavy}{' of ' * bool(sets)}{' and '.join(sets)}" if uses_policy(config) else "none"
    steps = f", at most {config.max_steps} steps" if config.max_steps else ""
    run = f"{config.method}-{config.dataset}, scale {config.scale}, seed {config.seed}, {config.epochs} epochs"
    return f"{run}{steps}, heavy: {heavy}; {about}"
