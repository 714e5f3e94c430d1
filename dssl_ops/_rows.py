"""What the losses share about their inputs, rows of embeddings: dtypes, promotion, layout, unit length."""

from __future__ import annotations

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def promoted(tensors: list[Tensor]) -> list[Tensor]:
    """Autocast rule: any dtype is taken as it is; where dtypes differ, all become the widest of them."""
    dtypes = {tensor.dtype for tensor in tensors}
    if len(dtypes) <= 1 or not dtypes <= set(DTYPES) or not torch.is_autocast_enabled(tensors[0].device.type):
        return tensors
    wide = tensors[0].dtype
    for tensor in tensors:
        wide = torch.promote_types(wide, tensor.dtype)
    return [tensor.to(wide) for tensor in tensors]


def dense_tensors(tensors: list[Tensor], op: str) -> list[Tensor]:
    """The inputs of `op`, promoted; TypeError for what is no strided tensor."""
    for tensor in tensors:
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            came = tensor.layout if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{op}: inputs must be dense tensors; got {came}")
    return promoted(tensors)


def dense_rows(tensor: Tensor) -> Tensor:
    """(B, D) with neighbouring entries of a row side by side, as the kernels read them; rows may lie apart."""
    # Not contiguous(): it leaves a tensor without entries as it is.
    if tensor.shape[1] <= 1 or tensor.stride(1) == 1:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)  # contiguous() leaves one without entries as it is


def unit_rows(x: Tensor) -> Tensor:
    """The rows of (B, D) at length 1, zero rows and their gradients 0: what the references normalise with."""
    # Divide by the largest entry first: squares then neither overflow nor vanish, and a zero row stays zero.
    largest = x.detach().abs().amax(dim=1, keepdim=True) if x.shape[1] else x.new_zeros(x.shape[0], 1)
    zero = largest == 0
    scaled = x / largest.masked_fill(zero, 1)
    squares = scaled.square().sum(dim=1, keepdim=True)
    return (scaled * squares.masked_fill(zero, 1).rsqrt()).masked_fill(zero, 0)


def describe(tensor: Tensor) -> str:
    """Shape, dtype and device, as the error messages give them."""
    return f"{tuple(tensor.shape)} {tensor.dtype} on {tensor.device}"
