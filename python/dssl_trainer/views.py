"""The four views of each variant, made by dssl_ops from a uint8 batch.

baseline: v1, v1', v2, v2', all standard. heavy (w/ T-hat): the same, each followed by the heavy policy.
dssl: v, v', and v^, v^' that continue from v and v'.
"""

import torch

from dssl_ops.transforms import (
    Compose,
    DirectedViews,
    Jigsaw,
    MultiView,
    Normalize,
    RandAugment,
    StandardView,
)

from .config import TrainerError

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)
NAMES = {
    "baseline": ("v1", "v1'", "v2", "v2'"),
    "heavy": ("t^(v1)", "t^(v1')", "t^(v2)", "t^(v2')"),
    "dssl": ("v", "v'", "v^", "v^'"),
}


def heavy_policy(config):
    """RandAugment, then JigSaw: the sequence of the paper's Sec. 4.1; either may be left out."""
    policy = []
    if config.ra_n:
        policy.append(RandAugment(config.ra_n, config.ra_m, op_set=config.op_set))
    if config.jigsaw_grid:
        policy.append(Jigsaw(config.jigsaw_grid, p=config.jigsaw_p))
    return policy


def view_maker(config, normalized=True):
    """A transform of (B, 3, H, W) uint8 images to four views: float32 and normalised, or uint8 to look at."""
    normalize = Normalize(CIFAR10_MEAN, CIFAR10_STD) if normalized else None
    try:
        standard = StandardView.cifar10(config.image_size)
        if config.variant == "baseline":
            return MultiView(standard, 4, normalize=normalize)
        if config.variant == "heavy":
            return MultiView(Compose([standard, *heavy_policy(config)]), 4, normalize=normalize)
        return DirectedViews(standard, Compose(heavy_policy(config)), normalize=normalize)
    except (TypeError, ValueError, RuntimeError) as error:  # dssl_ops says what is wrong in one line
        raise TrainerError(str(error)) from None


def normalized(images):
    """uint8 (B, 3, H, W) -> float32, the numbers that Normalize gives: what evaluation feeds the encoder."""
    mean = torch.tensor(CIFAR10_MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(CIFAR10_STD, device=images.device).view(3, 1, 1)
    return (images.float() / 255 - mean) / std
