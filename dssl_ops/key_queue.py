"""MoCo's queue: the keys of past batches, as negatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._rows import DTYPES, dense_tensors, describe


class KeyQueue(nn.Module):
    """The last `size` keys, (size, width), oldest overwritten first (MoCo, Algorithm 1).

    Starts with random unit rows, as MoCo's does. `keys` and `pointer`, the row that is written next, are buffers: they
    are saved, loaded and moved with the module. Pass `queue.keys` to `info_nce`, and enqueue after the backward pass:
    the loss does not copy the queue, and a change before backward is an error.

    Args:
        size, width: rows and columns, both positive.
        generator: for the random rows.
        dtype, device: of `keys`.
        persistent: whether the buffers belong to the state_dict.
    """

    keys: Tensor
    pointer: Tensor

    def __init__(
        self,
        size: int,
        width: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        persistent: bool = True,
    ):
        super().__init__()
        dtype = dtype or torch.get_default_dtype()
        if not all(type(side) is int and 1 <= side < 2**31 for side in (size, width)):
            raise ValueError(f"KeyQueue: size and width must be whole numbers in 1..2^31-1; got {size!r} and {width!r}")
        if dtype not in DTYPES:
            raise ValueError(f"KeyQueue: dtype must be float32, float64, bfloat16 or float16; got {dtype!r}")
        rows = torch.randn(size, width, generator=generator, dtype=torch.float32)
        rows = nn.functional.normalize(rows, dim=1).to(device, dtype)
        self.register_buffer("keys", rows, persistent)
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64), persistent)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Writes (N, width) keys of any floating-point type over the oldest, in place; N may exceed size and need not
        divide it: of more than size keys the last remain."""
        size, width = self.keys.shape
        (keys,) = dense_tensors([keys], "KeyQueue.enqueue")
        if keys.dim() != 2 or keys.shape[1] != width or not keys.is_floating_point():
            wanted = f"floating point of shape (N, {width})"
            raise ValueError(f"KeyQueue.enqueue: keys must be {wanted}; got {describe(keys)}")
        start = (int(self.pointer) + max(0, keys.shape[0] - size)) % size
        kept = keys[-size:].to(self.keys, copy=True)  # they may be rows of the queue itself
        first = min(size - start, kept.shape[0])
        self.keys[start : start + first] = kept[:first]
        self.keys[: kept.shape[0] - first] = kept[first:]
        self.pointer.fill_((start + kept.shape[0]) % size)

    def extra_repr(self) -> str:
        return f"size={self.keys.shape[0]}, width={self.keys.shape[1]}"
