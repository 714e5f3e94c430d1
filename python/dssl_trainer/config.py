"""The settings of one run: one frozen dataclass, every field of which the command line can override."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .errors import TrainerError

LAYOUTS = """\
train/<class>/<image> and test/<class>/<image> (an ImageFolder tree; val is accepted for test),
one zip of that tree, or a folder holding train.zip and test.zip,
the CIFAR-10 python batches (data_batch_1 .. test_batch, or a folder cifar-10-batches-py holding them),
hf:NAME, a data set of Hugging Face, where the package datasets is installed"""


def setting(default, about, choices=None, minimum=None, maximum=None, length=None):
    """A field with its one-line explanation and, where it has any, its allowed values, range or number of values."""
    rules = {"about": about, "choices": choices, "minimum": minimum, "maximum": maximum, "length": length}
    return field(default=default, metadata=rules)


METHODS = ("simsiam", "byol", "simclr", "mocov2", "barlow")
DATASETS = ("cifar10", "imagenet")
BYOL_HARDER = "byol_harder"  # the one word that is no policy: it alters the standard view, too
VARIANTS = ("baseline", "heavy", "dssl", "soft")
ENCODERS = ("resnet10_eighth", "resnet10_half", "resnet18_cifar", "resnet18", "resnet50")


@dataclass(frozen=True)
class Config:
    """One run. The defaults are those of SimSiam on CIFAR-10 at small scale; `presets/` holds every named recipe."""

    method: str = setting("simsiam", "self-supervised framework", METHODS)
    dataset: str = setting("cifar10", "data set that the recipe is for", DATASETS)
    variant: str = setting(
        "dssl", "baseline: standard views; heavy: w/ T-hat; dssl; soft: dssl weighted by the heavy view's severity",
        VARIANTS,
    )  # fmt: skip
    scale: str = setting("small", "which preset the run started from", ("small", "full", "toy"))

    data: str = setting("drawn", "folder or zip with the images, hf:NAME, or 'drawn' for synthetic ones")
    download: bool = setting(False, "let torchvision download CIFAR-10 into the data folder")
    limit_train: int = setting(0, "use only a fixed random subset of the training images; 0: all", minimum=0)
    limit_test: int = setting(0, "use only a fixed random subset of the test images; 0: all", minimum=0)
    workers: int = setting(
        0, "threads that decode files; above 0 views are made ahead of their step", minimum=0, maximum=256
    )
    out: str = setting("runs/latest", "folder that receives everything the run makes")

    image_size: int = setting(32, "side of the views, in pixels", minimum=1)
    crop: tuple[float, ...] = setting((0.2, 1.0), "standard view: least and largest part of the area", length=2)
    interpolation: str = setting("bilinear", "of the crop", ("bilinear", "bicubic"))
    jitter: tuple[float, ...] = setting((0.4, 0.4, 0.4, 0.1), "brightness-contrast-saturation-hue", length=4)
    jitter_p: float = setting(0.8, "probability of the jitter", minimum=0, maximum=1)
    grayscale: float = setting(0.2, "probability", minimum=0, maximum=1)
    blur: tuple[float, ...] = setting((0.0, 0.0), "probability in v and in v'", length=2, minimum=0, maximum=1)
    solarize: tuple[float, ...] = setting((0.0, 0.0), "probability in v and in v'", length=2, minimum=0, maximum=1)
    normalize: bool = setting(True, "subtract the data set's mean, divide by its deviation")

    heavy: str = setting(
        "RA(2,5)+Jigsaw(4)", "heavy policy: RA(n,m), UA, Jigsaw(n), Choice(0.9*RA, 0.1*Jigsaw), ..; byol_harder: the "
        "authors' of BYOL on ImageNet, RA(2,9) before T, then RA(8,16), a second T and a JigSaw in 1 of 10",
    )  # fmt: skip
    op_set: str = setting("author16", "operations of RandAugment; ra14: of UA, too", ("author16", "ra14"))
    heavy_from: str = setting(
        "view", "v^ continues its v (Eq. 3), or starts from the whole image, or from another crop of it",
        ("view", "image", "crop"),
    )  # fmt: skip
    heavy_views: str = setting(
        "hh", "of variant heavy: hh, all views heavy; all, Eq. 6 with all ones; sh, pairs of standard and heavy",
        ("hh", "all", "sh"),
    )  # fmt: skip

    alpha: float = setting(1.0, "Eq. 6: standard views with each other", minimum=0)
    beta: float = setting(0.0, "Eq. 6: heavy views with each other", minimum=0)
    gamma: float = setting(1.0, "Eq. 6: heavy view towards its standard view", minimum=0)
    delta: float = setting(0.0, "Eq. 6: standard view towards its heavy view", minimum=0)
    loss_scale: str = setting("sum", "sum: the authors' code; mean: half of it, Algorithm 1", ("sum", "mean"))
    temperature: float = setting(0.5, "of NT-Xent and InfoNCE", minimum=1e-3)
    queue: int = setting(4096, "MoCo: keys of past batches", minimum=1)
    symmetric: bool = setting(False, "MoCo: both views as queries")
    lambd: float = setting(0.0051, "Barlow Twins: weight of the off-diagonal part", minimum=0)
    barlow_scale: float = setting(1.0, "Barlow Twins: factor of its loss", minimum=0)
    ema: float = setting(0.99, "BYOL and MoCo: momentum of the slow network", minimum=0, maximum=1)
    ema_schedule: str = setting("constant", "cosine: from ema to 1, as BYOL", ("constant", "cosine"))

    encoder: str = setting("resnet10_half", "backbone", ENCODERS)
    zero_init: bool = setting(False, "last batch norm of each residual block starts at 0")
    fan_in_init: bool = setting(False, "convolutions and linear layers start at U(+-1/sqrt(fan in)), as the authors")
    projector: tuple[int, ...] = setting((512, 512), "widths of the projector's layers, as 512-512", minimum=1)
    projector_norm: str = setting(
        "fixed", "batch norm after the projector: none, fixed (nothing learnt), scale, affine",
        ("none", "fixed", "scale", "affine"),
    )  # fmt: skip
    predictor: int = setting(128, "SimSiam and BYOL: hidden width of the predictor", minimum=1)
    bn_splits: int = setting(
        1, "groups of a step's batch, or part of it, with batch-norm statistics of their own; over all processes",
        minimum=1,
    )  # fmt: skip

    batch_size: int = setting(128, "images per step over all processes", minimum=2)
    accumulate: int = setting(
        1, "parts of a step that pass in turn, each with its own batch norm and negatives", minimum=1
    )
    epochs: int = setting(10, "passes over the training images", minimum=1)
    max_steps: int = setting(0, "stop after this many steps, schedule unchanged; 0: run all epochs", minimum=0)
    optimizer: str = setting("sgd", "optimiser", ("sgd", "lars"))
    lr: float = setting(0.06, "peak learning rate", minimum=0)
    lr_1d: float = setting(0.0, "peak learning rate of biases and norms; 0: lr", minimum=0)
    lr_end: float = setting(0.0, "share of the peak at which the cosine ends", minimum=0, maximum=1)
    fix_predictor_lr: bool = setting(False, "the predictor's learning rate stays at its peak")
    momentum: float = setting(0.9, "of the optimiser", minimum=0, maximum=1)
    weight_decay: float = setting(5e-4, "SGD: on every parameter, as the authors; LARS: on matrices only", minimum=0)
    trust: float = setting(1e-3, "LARS: trust coefficient", minimum=0)
    warmup_epochs: int = setting(0, "linear warm-up", minimum=0)
    schedule: str = setting("step", "the cosine falls with every step or every epoch", ("step", "epoch"))

    seed: int = setting(0, "of initial weights, data order and views", minimum=0, maximum=2**63 - 1)
    device: str = setting("auto", "auto (CUDA if there is one), cpu, cuda, cuda:1, ...")
    precision: str = setting(
        "auto", "auto: bf16 where the hardware multiplies it, else fp32", ("auto", "bf16", "fp16", "fp32")
    )
    threads: int = setting(
        0, "CPU threads; 0: torch's own choice; 1 is fastest where others use the cores", minimum=0, maximum=1024
    )
    channels_last: bool = setting(True, "memory layout of images and convolutions")
    compile: bool = setting(False, "torch.compile the method")
    cuda_graph: bool = setting(
        False, "forward and backward as one CUDA graph; for small networks, whose kernels take longer to start than run"
    )
    deterministic: bool = setting(False, "deterministic algorithms only (CUDA; on the CPU they are anyway)")

    knn_every: int = setting(2, "epochs between kNN evaluations; the last epoch always has one", minimum=1)
    knn_limit: int = setting(0, "training images in the kNN bank, a fixed random subset; 0: all", minimum=0)
    knn_k: int = setting(200, "neighbours", minimum=1)
    knn_temperature: float = setting(0.1, "of the neighbours' votes", minimum=1e-3)
    on_collapse: str = setting("warn", "what the collapse alarm does", ("warn", "stop"))
    on_nan: str = setting(
        "stop", "where a loss or gradient is not finite: end the run, or leave the step out", ("stop", "skip")
    )
    rank_timeout: int = setting(7200, "seconds that a process waits for the others before it gives up", minimum=1)
    log_every: int = setting(50, "steps between rows of log.csv; each epoch ends with one", minimum=1)
    tensorboard: bool = setting(False, "write the rows of log.csv for TensorBoard, too")
    checkpoint_every: int = setting(1, "epochs between checkpoints", minimum=1)
    keep_every: int = setting(0, "epochs between checkpoints that later ones do not replace; 0: none", minimum=0)
    resume: bool = setting(True, "continue from the folder's checkpoint if it has one")

    def __post_init__(self):
        for spec in dataclasses.fields(self):
            check(spec, getattr(self, spec.name))
        if not self.data:
            raise TrainerError("data: expected a folder with the images, or 'drawn' for synthetic ones; got nothing")
        if self.warmup_epochs >= self.epochs:
            raise TrainerError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")
        if self.variant != "baseline" and not self.heavy:
            raise TrainerError(
                f"variant {self.variant} needs a heavy augmentation, such as --heavy 'RA(2,5)+Jigsaw(4)'"
            )
        if self.heavy == BYOL_HARDER and self.op_set != "author16":
            raise TrainerError(f"heavy byol_harder is of op_set author16; got {self.op_set}")
        if self.variant == "soft" and self.heavy_from != "view":
            raise TrainerError("variant soft needs heavy_from view: the severity is that of the steps from v to v^")
        if self.batch_size % (self.accumulate * self.bn_splits):
            raise TrainerError(
                f"batch_size {self.batch_size} must be a multiple of accumulate x bn_splits "
                f"({self.accumulate} x {self.bn_splits})"
            )
        if self.cuda_graph and (self.method == "mocov2" or self.accumulate > 1 or self.compile):
            raise TrainerError(
                "cuda_graph goes with neither method mocov2, which shuffles each batch on the host, nor accumulate "
                "above 1, nor compile"
            )
        if self.variant in ("dssl", "soft") and not (self.alpha or self.beta or self.gamma or self.delta):
            raise TrainerError("alpha, beta, gamma and delta are all 0: there is no loss")


def check(spec, value):
    """Raises TrainerError unless `value` has the field's type and obeys its choices, length and range."""
    rules, parts = spec.metadata, value if isinstance(value, tuple) else (value,)
    number, example = KINDS[spec.type]
    if isinstance(value, tuple) != spec.type.startswith("tuple") or not all(isinstance(p, number) for p in parts):
        raise TrainerError(f"{spec.name}: expected {example}; got {value!r}")
    if spec.type != "bool" and any(isinstance(p, bool) for p in parts):
        raise TrainerError(f"{spec.name}: expected {example}; got {value!r}")
    if not parts or rules["length"] not in (None, len(parts)):
        raise TrainerError(f"{spec.name}: expected {rules['length'] or 'some'} values; got {show(value)!r}")
    if rules["choices"] and value not in rules["choices"]:
        raise TrainerError(f"{spec.name}: expected one of {', '.join(rules['choices'])}; got {value!r}")
    for part in parts:
        check_range(spec.name, rules, part)


def check_range(name, rules, value):
    if isinstance(value, float) and not math.isfinite(value):
        raise TrainerError(f"{name}: expected a finite number; got {value}")
    if rules["minimum"] is not None and value < rules["minimum"]:
        raise TrainerError(f"{name}: must be at least {rules['minimum']}; got {value}")
    if rules["maximum"] is not None and value > rules["maximum"]:
        raise TrainerError(f"{name}: must be at most {rules['maximum']}; got {value}")


KINDS: dict[str, tuple[Any, str]] = {
    "int": (int, "an integer"),
    "float": ((int, float), "a number"),
    "str": (str, "text"),
    "bool": (bool, "true or false"),
    "tuple[int, ...]": (int, "integers such as 512-512"),
    "tuple[float, ...]": ((int, float), "numbers such as 0.5-0"),
}


def switch(text):
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


PARSERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": switch,
    "tuple[int, ...]": lambda text: tuple(int(part) for part in text.split("-")),
    "tuple[float, ...]": lambda text: tuple(float(part) for part in text.split("-")),
}


def override(config, texts):
    """`config` with the fields in `texts` (name -> text, as typed on the command line) replaced.

    Raises TrainerError for an unknown name, a text of the wrong type, or a value out of range."""
    fields = {spec.name: spec for spec in dataclasses.fields(config)}
    values = {}
    for name, text in texts.items():
        if name not in fields:
            raise TrainerError(unknown(name, fields))
        kind = str(fields[name].type)
        try:
            values[name] = PARSERS[kind](text)
        except (ValueError, KeyError):
            raise TrainerError(f"--{name.replace('_', '-')}: expected {KINDS[kind][1]}; got {text!r}") from None
    return dataclasses.replace(config, **values)


def unknown(name, fields):
    near = difflib.get_close_matches(name, fields, n=1)
    hint = f"; did you mean --{near[0].replace('_', '-')}?" if near else ""
    return f"unknown setting --{name.replace('_', '-')}{hint} (`dssl train --help` lists all)"


def show(value):
    """A setting as it is typed on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "-".join(f"{part:g}" for part in value)
    return str(value)


def as_dict(config):
    """Settings as plain values that json and torch.load(weights_only=True) accept."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(config).items()}


def from_dict(values, path):
    """The Config that as_dict wrote."""
    known = {spec.name for spec in dataclasses.fields(Config)}
    if strange := sorted(values.keys() - known):
        raise TrainerError(f"{path} was made by another version: unknown setting {strange[0]}")
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return Config(**given)
