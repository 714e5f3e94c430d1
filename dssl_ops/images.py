"""What the engine takes as images: one batch, a list of images of any sizes, or those in one buffer."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

import torch
from torch import Tensor

from .program import MAX_SIDE, require


@dataclass(frozen=True, eq=False, repr=False)
class RaggedImages:
    """B images of any sizes in one buffer, one after the other, each (C, H_i, W_i) and contiguous.

    `ragged[i]` is image i, a view into the buffer; `offsets`, int64 (B + 1,), says where each begins. Goes through a
    DataLoader's workers and its pin_memory as tensors do.

    Args:
        data: uint8 (N,), on the CPU or a GPU.
        sizes: int64 (B, 2) on the CPU, the height and width of each.
        channels: 1 or 3, of all of them.

    Raises:
        ValueError: where the parts do not fit together.
    """

    data: Tensor
    sizes: Tensor
    channels: int
    offsets: Tensor = field(init=False)

    def __post_init__(self) -> None:
        for name, dtype, dim in (("data", torch.uint8, 1), ("sizes", torch.int64, 2)):
            tensor = getattr(self, name)
            good = isinstance(tensor, Tensor) and tensor.dtype == dtype and tensor.dim() == dim
            require(
                good
                and tensor.is_contiguous()
                and (tensor.device.type == "cpu" or (name == "data" and tensor.is_cuda)),
                f"RaggedImages: {name} must be a contiguous {dim}-D {dtype} CPU tensor; got {_came(tensor)}",
            )
        good = type(self.channels) is int and self.channels in (1, 3)
        require(good, f"RaggedImages: channels must be 1 or 3; got {self.channels!r}")
        good = self.sizes.shape[1] == 2 and bool(((self.sizes >= 1) & (self.sizes <= MAX_SIDE)).all())
        require(good, f"RaggedImages: sizes must be (B, 2) in 1..{MAX_SIDE}; got {_came(self.sizes)}")
        ends = self.channels * self.sizes.prod(1).cumsum(0)
        object.__setattr__(self, "offsets", torch.cat([ends.new_zeros(1), ends]))
        total = int(self.offsets[-1])
        require(
            total == len(self.data),
            f"RaggedImages: data must hold the {total} bytes of the sizes; got {len(self.data)}",
        )

    @classmethod
    def from_list(cls, images: Iterable[Tensor]) -> RaggedImages:
        """Copy uint8 (C, H_i, W_i) CPU tensors into one buffer; an empty list counts as RGB."""
        images = list(images)
        source = Source.of("RaggedImages", images)
        ragged = cls(torch.empty(source.values(), dtype=torch.uint8, device="cpu"), source.sizes(), source.channels)
        for index, image in enumerate(images):
            ragged[index].copy_(image)
        return ragged

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Tensor:
        index = range(len(self))[operator.index(index)]
        first, last = self.offsets[index : index + 2].tolist()
        return self.data[first:last].view(self.channels, *self.sizes[index].tolist())

    def __iter__(self) -> Iterator[Tensor]:
        return map(self.__getitem__, range(len(self)))

    def __repr__(self) -> str:
        return f"RaggedImages of {len(self)} images, {self.channels} channels, {len(self.data)} bytes"

    def to(self, device: torch.device | str, non_blocking: bool = False) -> RaggedImages:
        """The same with the buffer on another device; the sizes stay with the host, which draws the programs."""
        return RaggedImages(self.data.to(device, non_blocking=non_blocking), self.sizes, self.channels)

    def pin_memory(self) -> RaggedImages:
        """The same in page-locked memory; DataLoader(pin_memory=True) calls this."""
        return RaggedImages(self.data.pin_memory(), self.sizes, self.channels)

    def share_memory_(self) -> RaggedImages:
        """Move the buffer into memory that other processes can map."""
        self.data.share_memory_()
        self.sizes.share_memory_()
        return self


_DEVICES = ("cpu", "cuda")
PIL_HINT = ": torchvision.transforms.PILToTensor() makes a tensor of it"
Images = Tensor | Sequence[Tensor] | RaggedImages


@dataclass(frozen=True, eq=False)
class Source:
    """Images as they came, checked: tensors is one (B, C, H, W), or B of (C, H, W), or the buffer of `packed` sizes."""

    tensors: Sequence[Tensor]
    packed: Tensor | None
    channels: int

    @classmethod
    def of(cls, op: str, images: Images) -> Source:
        """Raise ValueError unless images are uint8 on one device, of 1 or 3 channels, sides of 1 to 32768."""
        if isinstance(images, RaggedImages):
            return cls([images.data], images.sizes, images.channels)
        if isinstance(images, (list, tuple)):
            bad = next((index for index, image in enumerate(images) if not _is_image(image, 3)), None)
            if bad is not None:
                check_image(op, f"image {bad} of the list", images[bad], "(C, H, W)")
            counts = {image.shape[0] for image in images}
            require(len(counts) <= 1, f"{op}: images of one list must all be grey or all RGB; got both")
            devices = sorted({str(image.device) for image in images})
            require(len(devices) <= 1, f"{op}: images of one list must be on one device; got {', '.join(devices)}")
            return cls(images, None, *(counts or {3}))
        batch = check_image(op, "images", images, "(B, C, H, W)")
        return cls([batch], None, batch.shape[1])

    def __len__(self) -> int:
        if self.packed is not None:
            return len(self.packed)
        return len(self.tensors[0]) if self._is_batch() else len(self.tensors)

    @property
    def device(self) -> torch.device:
        return self.tensors[0].device if self.tensors else torch.device("cpu")

    def _is_batch(self) -> bool:
        return len(self.tensors) == 1 and self.tensors[0].dim() == 4

    def sizes(self) -> Tensor:
        """(B, 2) int64: the height and width of each image."""
        if self.packed is not None:
            return self.packed
        shapes = [image.shape[-2:] for image in self.tensors]
        sizes = torch.tensor(shapes, dtype=torch.int64, device="cpu").reshape(-1, 2)
        return sizes.expand(len(self), 2).contiguous() if self._is_batch() else sizes

    def size(self) -> tuple[int, int] | tuple[None, None]:
        """The height and width that all images have, or two times None."""
        if self._is_batch():
            height, width = self.tensors[0].shape[-2:]
            return height, width
        return one_size(
            map(tuple, self.packed.tolist() if self.packed is not None else [t.shape[-2:] for t in self.tensors])
        )

    def values(self) -> int:
        """Bytes of all images."""
        return sum(tensor.numel() for tensor in self.tensors)

    def dense(self) -> list[Tensor]:
        """The tensors, copied only where an image is neither contiguous nor channels_last."""
        return [tensor if _is_dense(tensor) else tensor.contiguous() for tensor in self.tensors]

    def overlaps(self, out: Tensor) -> bool:
        """Whether `out`, which is dense, lies between the first and the last byte of one of the tensors."""
        first, last = out.data_ptr(), out.data_ptr() + out.numel() * out.element_size()
        return any(t.data_ptr() < last and first < t.data_ptr() + _extent(t) for t in self.tensors)


def one_size(sizes: Iterable[tuple[int, int]]) -> tuple[int, int] | tuple[None, None]:
    """The size that all of these are, or two times None; of no images any size will do."""
    different = set(sizes) or {(MAX_SIDE, MAX_SIDE)}
    return different.pop() if len(different) == 1 else (None, None)


def check_image(op: str, label: str, image: object, form: str) -> Tensor:
    """The image; ValueError unless it is uint8 on the CPU or a GPU, of this form, C in {1, 3}, sides of 1 to 32768."""
    if _is_image(image, form.count(",") + 1):
        return image
    if not isinstance(image, Tensor):
        hint = PIL_HINT if hasattr(image, "getbands") else ""
        raise ValueError(f"{op}: {label} must be a uint8 {form} tensor; got {type(image).__name__}{hint}")
    require(image.layout == torch.strided, f"{op}: {label} must be a dense {form} tensor; got {image.layout}")
    require(image.device.type in _DEVICES, f"{op}: {label} must be on the CPU or a CUDA device; got {image.device}")
    raise ValueError(
        f"{op}: {label} must be uint8 {form} with C 1 or 3 and sides of 1 to {MAX_SIDE}; got {_came(image)}"
    )


def _is_image(image: object, dim: int) -> TypeGuard[Tensor]:
    if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.device.type not in _DEVICES:
        return False
    if image.layout != torch.strided:
        return False
    shape = image.shape
    return len(shape) == dim and shape[-3] in (1, 3) and 1 <= shape[-2] <= MAX_SIDE and 1 <= shape[-1] <= MAX_SIDE


def _came(tensor: object) -> str:
    if not isinstance(tensor, Tensor):
        return type(tensor).__name__
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _is_dense(tensor: Tensor) -> bool:
    if tensor.is_contiguous() or tensor.dim() < 3:
        return True
    batched = tensor if tensor.dim() == 4 else tensor.unsqueeze(0)
    return batched.is_contiguous(memory_format=torch.channels_last)


def _extent(tensor: Tensor) -> int:
    """Bytes from the first element to the last of a uint8 tensor."""
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return steps + 1 if tensor.numel() else 0
