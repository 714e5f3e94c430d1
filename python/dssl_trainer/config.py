"""The settings of one run: one frozen dataclass, every field of which the command line can override."""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass, field


class TrainerError(Exception):
    """Something the user can put right; the command line prints it as one line and exits with 2."""


LAYOUTS = """\
train/<class>/<image> and test/<class>/<image> (an ImageFolder tree; val is accepted for test),
one zip of that tree, or a folder holding train.zip and test.zip,
the CIFAR-10 python batches (data_batch_1 .. test_batch, or a folder cifar-10-batches-py holding them)"""


def setting(default, about, choices=None, minimum=None, maximum=None):
    """A field with its one-line explanation and, where it has any, its allowed values or range."""
    rules = {"about": about, "choices": choices, "minimum": minimum, "maximum": maximum}
    return field(default=default, metadata=rules)


@dataclass(frozen=True)
class Config:
    """One run. The defaults are the small scale of simsiam-cifar10; `presets/` holds every named recipe."""

    method: str = setting("simsiam", "self-supervised framework", choices=("simsiam",))
    dataset: str = setting("cifar10", "data set that the recipe is for", choices=("cifar10",))
    variant: str = setting(
        "dssl", "baseline: two standard pairs; heavy: w/ T-hat; dssl", choices=("baseline", "heavy", "dssl")
    )
    scale: str = setting("small", "which preset the run started from", choices=("small", "full", "toy"))

    data: str = setting("drawn", "folder or zip with the images, or 'drawn' for synthetic ones")
    download: bool = setting(False, "let torchvision download CIFAR-10 into the data folder")
    limit_train: int = setting(0, "use only a fixed random subset of the training images; 0: all", minimum=0)
    limit_test: int = setting(0, "use only a fixed random subset of the test images; 0: all", minimum=0)
    out: str = setting("runs/latest", "folder that receives everything the run makes")

    image_size: int = setting(32, "side of the views, in pixels", minimum=1)
    op_set: str = setting("author16", "operations of RandAugment", choices=("author16", "ra14"))
    ra_n: int = setting(2, "RandAugment: operations per image; 0: no RandAugment", minimum=0)
    ra_m: float = setting(5, "RandAugment: magnitude, 0 to 30", minimum=0, maximum=30)
    jigsaw_grid: int = setting(4, "JigSaw: tiles per side; 0: no JigSaw", minimum=0)
    jigsaw_p: float = setting(1.0, "JigSaw: probability", minimum=0, maximum=1)

    encoder: str = setting("resnet10_half", "backbone", choices=("resnet10_half", "resnet18_cifar"))
    projector: tuple[int, ...] = setting((512, 512), "widths of the projector's two layers, as 512-512")
    predictor: int = setting(128, "hidden width of the predictor", minimum=1)
    loss_scale: str = setting(
        "sum",
        "weight of a loss term: 1/2 (sum, the authors' code) or 1/4 (mean, Algorithm 1)",
        choices=("sum", "mean"),
    )

    batch_size: int = setting(128, "images per step; each gives four views", minimum=2)
    epochs: int = setting(10, "passes over the training images", minimum=1)
    max_steps: int = setting(0, "stop after this many steps, schedule unchanged; 0: run all epochs", minimum=0)
    lr: float = setting(0.06, "peak learning rate", minimum=0)
    momentum: float = setting(0.9, "SGD momentum", minimum=0, maximum=1)
    weight_decay: float = setting(5e-4, "on every parameter, as the authors do", minimum=0)
    warmup_epochs: int = setting(0, "linear warm-up", minimum=0)
    schedule: str = setting("step", "the cosine falls with every step or every epoch", choices=("step", "epoch"))

    seed: int = setting(0, "of initial weights, data order and views", minimum=0, maximum=2**63 - 1)
    device: str = setting("auto", "auto (CUDA if there is one), cpu, cuda, cuda:1, ...")
    precision: str = setting(
        "auto", "auto: bf16 where the hardware multiplies it, else fp32", choices=("auto", "bf16", "fp32")
    )
    threads: int = setting(
        0, "CPU threads; 0: torch's own choice; 1 is fastest where others use the cores", minimum=0, maximum=1024
    )
    channels_last: bool = setting(True, "memory layout of images and convolutions")

    knn_every: int = setting(2, "epochs between kNN evaluations; the last epoch always has one", minimum=1)
    knn_k: int = setting(200, "neighbours", minimum=1)
    knn_temperature: float = setting(0.1, "of the neighbours' votes", minimum=1e-3)
    log_every: int = setting(50, "steps between rows of log.csv; each epoch ends with one", minimum=1)
    checkpoint_every: int = setting(1, "epochs between checkpoints", minimum=1)
    resume: bool = setting(True, "continue from the folder's checkpoint if it has one")

    def __post_init__(self):
        for spec in dataclasses.fields(self):
            check(spec, getattr(self, spec.name))
        if not self.data:
            raise TrainerError("data: expected a folder with the images, or 'drawn' for synthetic ones; got nothing")
        if len(self.projector) != 2 or min(self.projector) < 1:
            raise TrainerError(f"projector: expected two widths such as 512-512; got {show(self.projector)}")
        if self.warmup_epochs >= self.epochs:
            raise TrainerError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")
        if self.variant != "baseline" and not (self.ra_n or self.jigsaw_grid):
            raise TrainerError(f"variant {self.variant} needs a heavy augmentation: ra_n or jigsaw_grid above 0")


def check(spec, value):
    """Raises TrainerError unless `value` obeys the field's choices and range."""
    rules = spec.metadata
    if rules["choices"] and value not in rules["choices"]:
        raise TrainerError(f"{spec.name}: expected one of {', '.join(rules['choices'])}; got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise TrainerError(f"{spec.name}: expected a finite number; got {value}")
    if rules["minimum"] is not None and value < rules["minimum"]:
        raise TrainerError(f"{spec.name}: must be at least {rules['minimum']}; got {value}")
    if rules["maximum"] is not None and value > rules["maximum"]:
        raise TrainerError(f"{spec.name}: must be at most {rules['maximum']}; got {value}")


def widths(text):
    return tuple(int(part) for part in text.split("-"))


def switch(text):
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


PARSERS = {
    "int": (int, "an integer"),
    "float": (float, "a number"),
    "str": (str, "text"),
    "bool": (switch, "true or false"),
    "tuple[int, ...]": (widths, "widths such as 512-512"),
}


def override(config, texts):
    """`config` with the fields in `texts` (name -> text, as typed on the command line) replaced.

    Raises TrainerError for an unknown name, a text of the wrong type, or a value out of range."""
    fields = {spec.name: spec for spec in dataclasses.fields(config)}
    values = {}
    for name, text in texts.items():
        if name not in fields:
            raise TrainerError(unknown(name, fields))
        parse, expected = PARSERS[fields[name].type]
        try:
            values[name] = parse(text)
        except (ValueError, KeyError):
            raise TrainerError(f"--{name.replace('_', '-')}: expected {expected}; got {text!r}") from None
    return dataclasses.replace(config, **values)


def unknown(name, fields):
    near = difflib.get_close_matches(name, fields, n=1)
    hint = f"; did you mean --{near[0].replace('_', '-')}?" if near else ""
    return f"unknown setting --{name.replace('_', '-')}{hint} (`dssl train --help` lists all)"


def show(value):
    """A setting as it is typed on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def as_dict(config):
    """Settings as plain values that json and torch.load(weights_only=True) accept."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(config).items()}
