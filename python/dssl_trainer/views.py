"""The views of each variant, made by dssl_ops from a uint8 batch.

Four views, the order that the graphs of methods/terms.py count in:
baseline: v1, v1', v2, v2', all standard. heavy (w/ T-hat): the same, each followed by the heavy policy, or with
`heavy_views` sh the second of each pair only. dssl, soft and heavy with `heavy_views` all: v, v', and v^, v^' that
continue from v and v'. SimCLR, MoCo and Barlow Twins take one pair, v and v', where no view is directed.
"""

from dataclasses import dataclass

import torch

from dssl_ops import augment
from dssl_ops.instructions import Listing, draw_program
from dssl_ops.transforms import Compose, Normalize, RandomResizedCrop, Solarize, StandardView, Transform

from .config import TrainerError
from .policy import heavy_policy

STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
TWO_PAIRS = ("simsiam", "byol")  # as many predictions in every variant (Sec. 4.1)


@dataclass(frozen=True)
class ViewMaker:
    """Each chain starts from the image: (view, transform), ..; view k draws with view k and continues the one before.

    `sample` draws programs for images (B, 3, H, W) with a key (seed, epoch, sample_ids), `run` makes their views."""

    chains: tuple[tuple[tuple[int, Transform], ...], ...]
    normalize: Normalize | None = None

    def sample(self, images, *, seed, epoch=0, sample_ids=None):
        return draw_program(self._build, images, seed, epoch, sample_ids)

    def run(self, images, program, memory_format=torch.contiguous_format):
        table = self.normalize.table(3) if self.normalize else None
        return augment(images, program, table=table, memory_format=memory_format)

    def __call__(self, images, **key):
        """The views in order, (views, B, 3, H, W)."""
        return self.run(images, self.sample(images, **key))

    def _build(self, listing: Listing):
        for number, chain in enumerate(self.chains):
            if number:
                listing.restart()
            for view, transform in chain:
                listing.start_view(view)
                transform.instructions(listing)
                listing.emit(view)


def has_heavy_copies(config):
    """Whether views 2 and 3 are made from views 0 and 1 by the heavy policy."""
    return config.variant in ("dssl", "soft") or (config.variant == "heavy" and config.heavy_views == "all")


def view_names(config):
    if has_heavy_copies(config):
        return ("v", "v'", "v^", "v^'")
    names = ("v1", "v1'", "v2", "v2'") if config.method in TWO_PAIRS else ("v", "v'")
    heavy = config.variant == "heavy"
    return tuple(f"t^({name})" if heavy and is_heavy(config, k) else name for k, name in enumerate(names))


def is_heavy(config, view):
    return config.heavy_views == "hh" or view % 2 == 1


def standard_view(config, side):
    """T of v (side 0) or of v' (side 1)."""
    blur, solarize = config.blur[side], config.solarize[side]
    view = StandardView(
        config.image_size, config.crop, jitter=config.jitter, jitter_p=config.jitter_p,
        grayscale=config.grayscale, blur=blur, interpolation=config.interpolation,
    )  # fmt: skip
    return Compose((view, Solarize(p=solarize))) if solarize else view


def chains(config):
    standard, heavy = [standard_view(config, side) for side in (0, 1)], heavy_policy(config)
    whole = RandomResizedCrop(config.image_size, (1.0, 1.0), (1.0, 1.0), config.interpolation)
    if has_heavy_copies(config) and config.heavy_from == "view":
        return tuple(((side, standard[side]), (2 + side, heavy)) for side in (0, 1))
    if has_heavy_copies(config):
        start = standard if config.heavy_from == "crop" else [whole, whole]
        views = [*standard, *(Compose((start[side], heavy)) for side in (0, 1))]
    else:
        views = [standard[k % 2] for k in range(len(view_names(config)))]
        if config.variant == "heavy":
            views = [Compose((t, heavy)) if is_heavy(config, k) else t for k, t in enumerate(views)]
    return tuple(((k, view),) for k, view in enumerate(views))


def normalize(config):
    mean, std = STATISTICS[config.dataset] if config.normalize else ((0.0,) * 3, (1.0,) * 3)
    return Normalize(mean, std)


def view_maker(config, normalized=True):
    """A ViewMaker of uint8 images: float32 and normalised views, or uint8 ones to look at."""
    try:
        return ViewMaker(chains(config), normalize(config) if normalized else None)
    except (TypeError, ValueError, RuntimeError) as error:  # dssl_ops says what is wrong in one line
        raise TrainerError(str(error)) from None


def normalized(images, config):
    """uint8 (B, 3, H, W) -> float32, the numbers that Normalize gives: what evaluation feeds the encoder."""
    how = normalize(config)
    mean, std = (torch.tensor(numbers, device=images.device).view(3, 1, 1) for numbers in (how.mean, how.std))
    return (images.float() / 255 - mean) / std
