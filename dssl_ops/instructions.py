"""How a transform becomes views: it lists its instructions, programs are drawn from them, the engine runs those."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ._library import native, not_compiled
from .augment import execute, output
from .augment_sample import FIXED, HEADER, augment_sample, signed
from .draw_keys import Drawable, Ids, as_batch, draw_keys, sizes_of, view_key
from .images import Images, Source
from .program import OPCODES, Program, require

if TYPE_CHECKING:
    from .compose import Normalize

MAX_STEPS = 4096  # of a view: the bits that the counter of a draw has for them


class Listing:
    """The instructions so far, and for the next one its view, its step within it and the size of the image there.

    height and width are None while images of several sizes are possible.
    """

    def __init__(self, height: int | None, width: int | None):
        self.words: list[float] = []
        self.source = self.height, self.width = height, width
        self.view = self.step = self.views = 0
        self.size: tuple[int, int] | None = None  # of the views

    def start_view(self, view: int) -> None:
        """The next instructions draw with this view."""
        self.view, self.step = view, 0

    def next_step(self) -> int:
        """Take the next static position in the view, so that no branch or probability shifts another's draws."""
        require(self.step < MAX_STEPS, f"transforms: a view has at most {MAX_STEPS} steps; got more")
        self.step += 1
        return self.step - 1

    def add(self, kind: int, *parameters: float, step: int | None = None) -> None:
        step = self.next_step() if step is None else step
        self.words += map(float, (kind, HEADER + len(parameters), self.view, step, *parameters))

    def fixed(self, name: str, *values: float, p: float = 1.0) -> None:
        """The named step with these values, applied with probability p."""
        require(name in OPCODES, f"transforms: unknown step {name!r}; known are {', '.join(OPCODES)}")
        self.add(FIXED, OPCODES[name], p, *values)

    def emit(self, view: int) -> None:
        """The image here is view `view` of the result."""
        if self.height is None or self.width is None:
            raise ValueError("transforms: images of several sizes need a RandomResizedCrop; got none")
        self.size = self.size or (self.height, self.width)
        require(
            self.size == (self.height, self.width),
            f"transforms: all views must have one size; got {(self.height, self.width)} after {self.size}",
        )
        self.fixed("Emit", view)
        self.views += 1

    def restart(self) -> None:
        """Go on from the source image."""
        self.fixed("Source")
        self.height, self.width = self.source


class Listed(NamedTuple):
    """What a transform lists for images of one size, or of several: the words, and the views that they make."""

    words: Tensor
    views: int
    size: tuple[int, int]


@lru_cache(maxsize=256)
def _list_once(maker: Transform | SeveralViews, size: tuple[int | None, int | None], *view: int) -> Listed:
    listing = Listing(*size)
    maker._build(listing, *view)
    if listing.size is None:
        raise ValueError(f"transforms: {type(maker).__name__} must emit a view; got none")
    return Listed(torch.tensor(listing.words, dtype=torch.float64, device="cpu"), listing.views, listing.size)


def _listed(maker: Transform | SeveralViews, size: tuple[int | None, int | None], *view: int) -> Listed:
    name = type(maker).__name__
    require(isinstance(maker, Hashable), f"transforms: {name} must be hashable, as a frozen dataclass is; got one not")
    return _cached(_list_once, maker, size, *view)


def _cached(function: Any, *key: Any) -> Any:
    """What the function keeps for the key; under a dispatch mode, such as FakeTensorMode's, the tensors that it makes
    are the mode's, so they are neither kept nor those that were kept before."""
    return (function.__wrapped__ if torch._C._len_torch_dispatch_stack() else function)(*key)


@lru_cache(maxsize=64)
def _table_once(normalize: Normalize, channels: int) -> Tensor:
    return normalize.table(channels)


@not_compiled
def draw_program(
    maker: Transform | SeveralViews, source: Drawable, seed: int, epoch: int, sample_ids: Ids, *view: int
) -> Program:
    """Program of every image; `source` is the images, as a call takes them, or their sizes, B of (H, W)."""
    sizes, size = sizes_of(source)
    seed, epoch, ids = draw_keys(seed, epoch, sample_ids, len(sizes))
    listed = _listed(maker, size, *view)
    return Program.drawn(*augment_sample(listed.words, ids, sizes, seed, epoch), listed.views, *listed.size)


@not_compiled
def make_views(
    maker: Transform | SeveralViews,
    normalize: Normalize | None,
    images: Images,
    seed: int,
    epoch: int,
    sample_ids: Ids,
    memory_format: torch.memory_format,
    out: Tensor | None,
    *view: int,
) -> Tensor:
    """Views of the images, (views, B, C, H, W); of one unbatched image without the B, of one `view` without the first.

    Programs are drawn as they run, which gives the bits of `augment` with those of `draw_program`.
    """
    batch = as_batch(images)
    single = batch is not images
    source = Source.of("transforms", batch)
    seed, epoch, ids = draw_keys(seed, epoch, sample_ids, len(source))
    listed = _listed(maker, source.size(), *view)
    shape, hidden = (listed.views, len(source), source.channels, *listed.size), [0] * len(view) + [1] * single
    table = None if normalize is None else _cached(_table_once, normalize, source.channels)
    given = None if out is None else _opened(out, shape, hidden)
    dtype = torch.uint8 if table is None else table.dtype
    views = output("transforms", source, shape, dtype, memory_format, given)
    if native(source.device) and source.device.type == "cpu":
        keys = listed.words, ids, signed(seed), epoch
        torch.ops.dssl_ops.augment_drawn.default(source.dense(), source.packed, *keys, table, views)
    else:
        tensors = augment_sample(listed.words, ids, source.sizes(), seed, epoch)
        execute(source, batch, Program.drawn(*tensors, listed.views, *listed.size), table, views)
    for dim in reversed(hidden):
        views = views.select(dim, 0)
    return views


def _opened(out: Tensor, shape: tuple[int, ...], hidden: Sequence[int]) -> Tensor:
    """`out` with the dimensions of size 1 that the caller does not see."""
    shown = tuple(side for dim, side in enumerate(shape) if dim not in hidden)
    came = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    require(came == shown, f"transforms: out must be {shown}; got {came}")
    for dim in hidden:
        out = out.unsqueeze(dim)
    return out


class Transform:
    """Makes one view of every image; subclasses are frozen dataclasses that list their instructions.

    What one has listed is kept for the next call, so it must be a value: hashable, and never changed.
    """

    @property
    def normalization(self) -> Normalize | None:
        """The Normalize that ends this transform, or None."""
        return None

    def instructions(self, listing: Listing) -> None:
        """Append this transform's instructions and leave the listing at the size that results."""
        raise NotImplementedError

    def sample(self, source: Drawable, *, seed: int, epoch: int = 0, sample_ids: Ids = None, view: int = 0) -> Program:
        """Draw the programs only, one per image or per (H, W) of `source`; see `__call__` for the rest."""
        return draw_program(self, source, seed, epoch, sample_ids, view_key(view))

    def __call__(
        self,
        images: Images,
        *,
        seed: int,
        epoch: int = 0,
        sample_ids: Ids = None,
        view: int = 0,
        memory_format: torch.memory_format = torch.contiguous_format,
        out: Tensor | None = None,
    ) -> Tensor:
        """View of uint8 images on the CPU or a GPU, C in {1, 3}: uint8, or Normalize's dtype.

        What is drawn depends on (seed, epoch, sample id, view) and the image's size alone: not on the batch, its order,
        threads or any global random state.

        Args:
            images: (B, C, H, W), one (C, H, W), a list of (C, H_i, W_i), or RaggedImages. Images of several sizes need
                a RandomResizedCrop first.
            seed: 64 bits.
            epoch: 0..2^32-1.
            sample_ids: int64 (B,), default 0..B-1.
            view: 0..255.
            memory_format: of the result.
            out: the tensor to write and return, of the result's shape and dtype, contiguous or channels_last, apart
                from the images; it says the memory format.

        Raises:
            ValueError: for bad input.
        """
        keys = seed, epoch, sample_ids
        return make_views(self, self.normalization, images, *keys, memory_format, out, view_key(view))

    def _build(self, listing: Listing, view: int) -> None:
        listing.start_view(view)
        self.instructions(listing)
        listing.emit(0)


class SeveralViews:
    """Makes several views of every image in one go; subclasses are frozen dataclasses with a `normalize`."""

    normalize: Normalize | None

    def _build(self, listing: Listing) -> None:
        """List the instructions of all views."""
        raise NotImplementedError

    def _gather(self, views: Tensor) -> tuple[Tensor, ...]:
        return tuple(views)

    def sample(self, source: Drawable, *, seed: int, epoch: int = 0, sample_ids: Ids = None) -> Program:
        """Draw the programs only; arguments as those of Transform.sample."""
        return draw_program(self, source, seed, epoch, sample_ids)

    def __call__(
        self,
        images: Images,
        *,
        seed: int,
        epoch: int = 0,
        sample_ids: Ids = None,
        memory_format: torch.memory_format = torch.contiguous_format,
        out: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """The views of the images; arguments as those of Transform.__call__, `out` is one (views, B, C, H, W)."""
        return self._gather(make_views(self, self.normalize, images, seed, epoch, sample_ids, memory_format, out))
