"""Views: the standard one, several of one image, and the four of DSSL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from .augment import PILLOW_13
from .compose import Compose, Normalize, check_transforms
from .instructions import Listing, SeveralViews, Transform
from .program import MAX_VIEWS, require
from .random_ops import RandAugment
from .single_transforms import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Jigsaw,
    RandomResizedCrop,
    Range,
    Solarize,
    hold_tuples,
)


@dataclass(frozen=True)
class StandardView(Transform):
    """The standard view T: random resized crop, flip, colour jitter, greyscale, Gaussian blur and solarization.

    The defaults are the authors' for CIFAR-10.

    Args:
        size, scale, ratio, interpolation, pil_compat: as in RandomResizedCrop.
        jitter: brightness, contrast, saturation and hue, as in ColorJitter.
        sigma: as in GaussianBlur.
        flip, jitter_p, grayscale, blur: probability.
        solarize: probability of solarizing the values from 128 up.
    """

    size: int | tuple[int, int]
    scale: Range = (0.2, 1.0)
    ratio: Range = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_p: float = 0.8
    grayscale: float = 0.2
    blur: float = 0.0
    sigma: Range = (0.1, 2.0)
    solarize: float = 0.0
    interpolation: str = "bilinear"
    pil_compat: int = PILLOW_13

    def __post_init__(self) -> None:
        hold_tuples(self)
        require(
            isinstance(self.jitter, Sequence) and len(self.jitter) == 4,
            f"StandardView: jitter must be (brightness, contrast, saturation, hue); got {self.jitter!r}",
        )
        self.transforms()

    @classmethod
    def cifar10(cls, size: int | tuple[int, int] = 32, **changes: Any) -> StandardView:
        """The authors' view for CIFAR-10: 32 x 32, no blur."""
        return cls(size, **changes)

    @classmethod
    def imagenet(cls, size: int | tuple[int, int] = 224, **changes: Any) -> StandardView:
        """The authors' view for ImageNet: 224 x 224, blur of sigma 0.1 to 2 with probability 0.5."""
        return replace(cls(size, blur=0.5), **changes)

    @classmethod
    def byol(cls, size: int | tuple[int, int] = 224, **changes: Any) -> tuple[StandardView, StandardView]:
        """BYOL's asymmetric pair for v and v' (arXiv 2006.07733, appendix B), blurred as Pillow blurs.

        Both crop 0.08 to 1 of the area, bicubic, and jitter by 0.4, 0.4, 0.2, 0.1; v is always blurred and never
        solarized, v' is blurred with probability 0.1 and solarized with 0.2.
        """
        both = cls(size, (0.08, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), blur=1.0, interpolation="bicubic")
        return replace(both, **changes), replace(both, **{"blur": 0.1, "solarize": 0.2, **changes})

    def transforms(self) -> tuple[Transform, ...]:
        """The transforms that it is made of, in order."""
        crop = RandomResizedCrop(self.size, self.scale, self.ratio, self.interpolation, self.pil_compat)
        colour = (ColorJitter(*self.jitter, p=self.jitter_p), Grayscale(self.grayscale))
        rare = ((self.blur, GaussianBlur(self.sigma, self.blur)), (self.solarize, Solarize(128, self.solarize)))
        return (crop, HorizontalFlip(self.flip), *colour, *(step for p, step in rare if p > 0))

    def instructions(self, listing: Listing) -> None:
        Compose(self.transforms()).instructions(listing)


class Views(NamedTuple):
    """v, v', the heavier v^ (from v) and v^' (from v'), each (B, C, H, W); the order that ViewGraph counts in."""

    v: Tensor
    v_prime: Tensor
    heavy: Tensor
    heavy_prime: Tensor


@dataclass(frozen=True)
class DirectedViews(SeveralViews):
    """The four views of DSSL (Eq. 3): v and v' from `standard`, and from each of them a heavier one by `heavy`.

    v^ continues the program of its v, so its shared part runs once. v draws with view 0, v' with 1, the heavy
    steps of v^ with 2 and of v^' with 3. All four views must have one size.

    Args:
        standard: one transform, or a pair of them: v is made by the first and v' by the second (as StandardView.byol).
        heavy: the transform that goes on from v to v^, and from v' to v^'.
        normalize: a Normalize for all four, or None for bytes.
    """

    standard: Transform | tuple[Transform, Transform]
    heavy: Transform
    normalize: Normalize | None = None

    def __post_init__(self) -> None:
        standards = _as_tuple(self.standard)
        check_transforms("DirectedViews", (*standards, self.heavy))
        require(len(standards) in (1, 2), f"DirectedViews: standard must be one transform or two; got {len(standards)}")
        object.__setattr__(self, "standard", standards if len(standards) == 2 else standards[0])
        _check_normalize("DirectedViews", self.normalize)

    @classmethod
    def byol_harder(
        cls, size: int | tuple[int, int] = 224, n: int = 8, m: float = 16, normalize: Normalize | None = None
    ) -> DirectedViews:
        """The views of the authors' BYOL code for ImageNet: the standard view is heavy, the heavy one crops again.

        v: RA(2, 9) on the whole image, then the standard view. v^ from v: RA(8, 16), a second standard view with jitter
        0.5, JigSaw(4) with probability 0.1.
        """
        second = StandardView.imagenet(size, jitter=(0.5, 0.5, 0.5, 0.1))
        standard = Compose((RandAugment(2, 9), StandardView.imagenet(size)))
        return cls(standard, Compose((RandAugment(n, m), second, Jigsaw(4, 0.1))), normalize)

    def _gather(self, views: Tensor) -> Views:
        return Views(*views)

    def _build(self, listing: Listing) -> None:
        # v and v^ are made first, then v' and v^': emitted in the order 0, 2, 1, 3.
        for view in (0, 1):
            if view:
                listing.restart()
            listing.start_view(view)
            _as_tuple(self.standard)[-view].instructions(listing)
            listing.emit(view)
            listing.start_view(2 + view)
            self.heavy.instructions(listing)
            listing.emit(2 + view)


@dataclass(frozen=True)
class MultiView(SeveralViews):
    """n independent views, view k drawn with view=k: a tuple of n tensors.

    Args:
        transform: one, or several that take turns: view k is made by transform[k % their number].
        views: n.
        normalize: a Normalize for all of them, or None for bytes.
    """

    transform: Transform | tuple[Transform, ...]
    views: int = 2
    normalize: Normalize | None = None

    def __post_init__(self) -> None:
        transforms = check_transforms("MultiView", _as_tuple(self.transform))
        require(len(transforms) > 0, "MultiView: transform must not be empty")
        object.__setattr__(self, "transform", transforms if len(transforms) > 1 else transforms[0])
        require(
            isinstance(self.views, int) and 1 <= self.views <= MAX_VIEWS,
            f"MultiView: views must be in 1..{MAX_VIEWS}; got {self.views!r}",
        )
        _check_normalize("MultiView", self.normalize)

    def _build(self, listing: Listing) -> None:
        transforms = _as_tuple(self.transform)
        for view in range(self.views):
            if view:
                listing.restart()
            listing.start_view(view)
            transforms[view % len(transforms)].instructions(listing)
            listing.emit(view)


def _as_tuple(transform: Transform | Sequence[Transform]) -> tuple[Transform, ...]:
    return tuple(transform) if isinstance(transform, Sequence) else (transform,)


def _check_normalize(op: str, normalize: Normalize | None) -> None:
    require(
        normalize is None or isinstance(normalize, Normalize),
        f"{op}: normalize must be a Normalize or None; got {type(normalize).__name__}",
    )
