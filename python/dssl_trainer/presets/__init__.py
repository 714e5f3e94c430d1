"""Named recipes, as data: PRESETS[name][scale] is a Config."""

from . import simsiam_cifar10

PRESETS = {"simsiam-cifar10": {"small": simsiam_cifar10.SMALL, "full": simsiam_cifar10.FULL}}
