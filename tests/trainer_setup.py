"""A run that takes a second, and ways to look at what it left."""

import contextlib
import dataclasses
import fcntl
import os
import sys

from dssl_trainer import checkpoint, log
from dssl_trainer.config import show
from dssl_trainer.presets import PRESETS

METHODS = ("simsiam", "byol", "simclr", "mocov2", "barlow")
VARIANTS = ("baseline", "heavy", "dssl", "soft")
SMALL = PRESETS["simsiam-cifar10"]["small"]
TINY = dataclasses.replace(
    SMALL, data="drawn", limit_train=48, limit_test=20, batch_size=16, epochs=2, encoder="resnet10_eighth",
    projector=(32, 32), predictor=16, queue=64, precision="fp32", device="cpu", threads=1, knn_k=5, log_every=1,
)  # fmt: skip


def tiny(folder, method="simsiam", **changes):
    """Two epochs of three steps on drawn images, in `folder`; what the method needs is its small recipe's."""
    own = ("method", "projector_norm", "normalize", "temperature", "ema", "lambd", "bn_splits", "lr")
    recipe = {name: getattr(PRESETS[f"{method}-cifar10"]["small"], name) for name in own}
    return dataclasses.replace(TINY, **recipe | {"out": str(folder)} | changes)


@contextlib.contextmanager
def held_by_another(folder):
    """The lock of a run's folder, as another process would hold it: it belongs to an open file."""
    folder.mkdir(exist_ok=True)
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def losses(folder):
    """{step: loss}, every digit that log.csv has: repr of a float64."""
    return {row["step"]: row["loss"] for row in log.read(folder / "log.csv") if "loss" in row}


def weights(folder):
    return checkpoint.load(folder / "checkpoint.pt")["model"]


def tiny_command(out, *more, config=TINY):
    """`dssl train` with the settings of `config`, TINY or another tiny one."""
    options = [*options_for(config), "--data", config.data, "--out", str(out)]
    return [sys.executable, "-m", "dssl_trainer", "train", f"{config.method}-cifar10", *options, *more]


def options_for(config):
    """What turns the small recipe into `config`, on the command line; data and out aside."""
    preset = PRESETS[f"{config.method}-cifar10"]["small"]
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in ("data", "out")}
    changed = {name: show(value) for name, value in values.items() if value != getattr(preset, name)}
    return [text for name, value in changed.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def environment():
    """For child processes: the packages where this process found them."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
