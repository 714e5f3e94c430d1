"""Named recipes, as data: PRESETS[name][scale] is a Config, GIVEN[name][scale] the settings that the recipe states."""

from ..config import Config
from . import (
    barlow_cifar10,
    barlow_imagenet,
    byol_cifar10,
    byol_imagenet,
    mocov2_cifar10,
    mocov2_imagenet,
    simclr_cifar10,
    simclr_imagenet,
    simsiam_cifar10,
    simsiam_imagenet,
)

FILES = (
    simsiam_cifar10, byol_cifar10, simclr_cifar10, mocov2_cifar10, barlow_cifar10,
    simsiam_imagenet, byol_imagenet, simclr_imagenet, mocov2_imagenet, barlow_imagenet,
)  # fmt: skip
GIVEN = {file.__name__.rpartition(".")[2].replace("_", "-"): {"small": file.SMALL, "full": file.FULL} for file in FILES}
ABOUT = {name: (file.__doc__ or "").strip() for name, file in zip(GIVEN, FILES, strict=True)}
PRESETS = {name: {scale: Config(**given) for scale, given in scales.items()} for name, scales in GIVEN.items()}
