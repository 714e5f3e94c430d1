"""Where and in which precision a run computes."""

import contextlib
import dataclasses
import os
from typing import Any

import torch

from dssl_ops import RaggedImages

from .distributed import launched, local_device
from .errors import TrainerError

# cuBLAS is deterministic with it, and torch looks for it at the process's first product, long before a run begins.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def resolve(config):
    """The settings with 'auto' replaced by what this machine has."""
    device = chosen(config.device)
    if kind(device) not in ("cpu", "cuda"):
        raise TrainerError(f"device: expected auto, cpu or cuda; got {device!r}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainerError(f"device: cannot use {device!r}: {str(error).splitlines()[0]}") from None
    if config.cuda_graph and (launched() or torch.device(device).type != "cuda"):
        came = "several processes" if launched() else device
        raise TrainerError(f"cuda_graph needs one process on a CUDA device; got {came}")
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if fast_bf16(torch.device(device)) else "fp32"
    return dataclasses.replace(config, device=device, precision=precision)


def chosen(device):
    """The device's name, 'auto' replaced by what this machine has."""
    if device != "auto":
        return device
    return ("cuda" if not launched() else local_device()) if torch.cuda.is_available() else "cpu"


def kind(device):
    """'cuda' of 'cuda:1'."""
    return device.split(":")[0]


def fast_bf16(device):
    """True where the hardware multiplies bfloat16; elsewhere it is emulated and slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(config):
    """Matrix products and convolutions in the run's precision; our losses and batch norm's statistics in float32."""
    dtype = torch.float16 if config.precision == "fp16" else torch.bfloat16
    return torch.autocast(torch.device(config.device).type, dtype, enabled=config.precision != "fp32")


def to_device(images, config):
    """A tensor or a list of them, most of all uint8 images, to where views are made; a GPU gets them as they are, a
    quarter of what one float32 view would be, through page-locked memory: the host need not wait for the copy."""
    if torch.device(config.device).type == "cpu":
        return images
    images = RaggedImages.from_list(images) if isinstance(images, list) else images
    return images.pin_memory().to(config.device, non_blocking=True)


def memory_format(config):
    """channels_last where the settings ask for it and torch has it right."""
    # torch 2.14.1's float32 convolutions of 8 channels write past their memory in this layout where three threads
    # compute: "corrupted size vs. prev_size", or a segmentation fault. 32 channels and bfloat16 have shown no harm.
    narrow = config.encoder == "resnet10_eighth" and config.precision == "fp32"
    harmful = narrow and torch.device(config.device).type == "cpu"
    return torch.channels_last if config.channels_last and not harmful else torch.contiguous_format


@contextlib.contextmanager
def threads(count):
    """Computes with `count` CPU threads (0: as many as before)."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def deterministic(config):
    """With the setting, torch refuses algorithms whose bits change from call to call."""
    memory: Any = torch.utils.deterministic  # a module that torch makes in a way that no type checker sees
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    if config.deterministic:
        torch.use_deterministic_algorithms(True)
        memory.fill_uninitialized_memory = False  # costs time, and nothing here reads it
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]
