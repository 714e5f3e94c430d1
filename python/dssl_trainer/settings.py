"""Where a run's settings came from, how they are kept beside it, and which of them a resumed run may change."""

import dataclasses
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

import torch

from .config import Config, TrainerError, as_dict, show
from .files import replacing

# None of these alters what a step computes, but for the rounding of floats, which another device or number of
# threads may change.
FREE = {"out", "data", "download", "workers", "device", "threads", "max_steps", "resume", "on_collapse", "tensorboard"}
FREE |= {"knn_every", "knn_limit", "log_every", "checkpoint_every", "keep_every"}
INSTEAD = "use another --out or --resume false"


def origin(config):
    """{setting: 'default' or 'program'} of settings that a program made; `dssl train` knows better."""
    defaults = {spec.name: spec.default for spec in dataclasses.fields(Config)}
    return {name: "default" if value == defaults[name] else "program" for name, value in vars(config).items()}


def write(path, config, origin, about):
    """config.json: every setting with its value and origin, versions, and the data."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "dssl_ops": installed_version()}
    versions["commit"] = commit()
    record = {"settings": as_dict(config), "origin": origin, "versions": versions, "data": about}
    with replacing(path, "w") as file:
        file.write(json.dumps(record, indent=2) + "\n")


def refuse_other(config, before, path):
    """Raises TrainerError where the settings `before` of a checkpoint would give other steps."""
    own = as_dict(config)
    changed = [name for name in own if name not in FREE and own[name] != before.get(name)]
    if changed:
        was, now = (show(settings.get(changed[0])) for settings in (before, own))
        raise TrainerError(f"{path} was made with {changed[0]} {was}, not {now}; {INSTEAD}")


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
