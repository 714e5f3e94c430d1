"""Transforms of uint8 image batches: `t(images, seed=, epoch=, sample_ids=)` gives views, `t.sample(...)` programs.

    views = DirectedViews(StandardView.cifar10(), Compose((RandAugment(2, 5), Jigsaw(4))))(images, seed=0)
    views.v, views.v_prime, views.heavy, views.heavy_prime

Every transform is immutable, compares by value, and its repr makes it again.
"""

from .compose import Choice, Compose, Normalize, RandomApply
from .data_loader import AsModule, Collate, Indexed
from .instructions import Transform
from .policy import policy
from .random_ops import RandAugment, UniformAugment
from .single_transforms import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Jigsaw,
    RandomResizedCrop,
    Solarize,
)
from .views import DirectedViews, MultiView, StandardView, Views

__all__ = [
    "AsModule",
    "Choice",
    "Collate",
    "ColorJitter",
    "Compose",
    "DirectedViews",
    "GaussianBlur",
    "Grayscale",
    "HorizontalFlip",
    "Indexed",
    "Jigsaw",
    "MultiView",
    "Normalize",
    "RandAugment",
    "RandomApply",
    "RandomResizedCrop",
    "Solarize",
    "StandardView",
    "Transform",
    "UniformAugment",
    "Views",
    "policy",
]
