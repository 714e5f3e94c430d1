"""The views of an image, made by dssl_ops from a uint8 batch, in the order of variants.py."""

import re

import torch

from dssl_ops.transforms import Compose, DirectedViews, MultiView, Normalize, RandomResizedCrop, StandardView, policy

from ..config import BYOL_HARDER
from ..device import memory_format
from ..errors import TrainerError
from ..variants import has_heavy_copies, heavy_views, view_names

STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def standard_view(config, side):
    """T of v (side 0) or of v' (side 1)."""
    return StandardView(
        config.image_size, config.crop, jitter=config.jitter, jitter_p=config.jitter_p, grayscale=config.grayscale,
        blur=config.blur[side], solarize=config.solarize[side], interpolation=config.interpolation,
    )  # fmt: skip


def heavy_policy(config):
    """RA draws from author16 and UA from its own list, unless the setting says ra14."""
    if config.heavy == BYOL_HARDER:
        return DirectedViews.byol_harder(config.image_size).heavy
    return policy(config.heavy, None if config.op_set == "author16" else config.op_set)


def op_sets(config):
    """Names of the op lists that the policy draws from."""
    return sorted(set(re.findall(r"op_set='(\w+)'", repr(heavy_policy(config)))))


def uses_policy(config):
    """Whether the policy plays a part: the baseline has no heavy view, but byol_harder alters its standard ones."""
    return config.variant != "baseline" or config.heavy == BYOL_HARDER


def standard_pair(config):
    """T of v and of v'; in the authors' harder BYOL an RA(2, 9) of the whole image goes before it."""
    pair = tuple(standard_view(config, side) for side in (0, 1))
    if config.heavy == BYOL_HARDER:
        theirs = DirectedViews.byol_harder(config.image_size).standard
        assert isinstance(theirs, Compose)
        return tuple(Compose((theirs.transforms[0], standard)) for standard in pair)
    return pair


def transform(config, norm):
    standard, heavy = standard_pair(config), heavy_policy(config)
    if has_heavy_copies(config) and config.heavy_from == "view":
        return DirectedViews(standard, heavy, norm)
    if has_heavy_copies(config):
        whole = RandomResizedCrop(config.image_size, (1.0, 1.0), (1.0, 1.0), config.interpolation)
        start = standard if config.heavy_from == "crop" else (whole, whole)
        return MultiView((*standard, *(Compose((first, heavy)) for first in start)), 4, norm)
    views = tuple(Compose((t, heavy)) if side in heavy_views(config) else t for side, t in enumerate(standard))
    return MultiView(views, len(view_names(config)), norm)


def normalize(config):
    mean, std = STATISTICS[config.dataset] if config.normalize else ((0.0,) * 3, (1.0,) * 3)
    return Normalize(mean, std)


def view_maker(config, normalized=True):
    """A transform of uint8 images to the views in order: float32 and normalised, or uint8 ones to look at."""
    try:
        return transform(config, normalize(config) if normalized else None)
    except (TypeError, ValueError, RuntimeError) as error:  # dssl_ops says what is wrong in one line
        raise TrainerError(str(error)) from None


def normalized(images, config):
    """uint8 (B, 3, H, W) -> float32, the numbers that Normalize gives but for their last bit: what evaluation feeds the
    encoder."""
    how = normalize(config)
    mean, std = (torch.tensor(numbers, device=images.device).view(3, 1, 1) for numbers in (how.mean, how.std))
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=memory_format(config))
