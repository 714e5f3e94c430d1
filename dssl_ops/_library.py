"""Decides once per process whether the compiled kernels or the references serve, and loads the kernels."""

from __future__ import annotations

import atexit
import os
import threading
import time
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import _build, _build_cuda

Function = TypeVar("Function")
REASON = "programs are drawn and checked outside of compiled code"
_lock = threading.RLock()
_state: bool | None = None  # None: not yet decided
_cuda_state: bool | None = None
_core: ModuleType | None = None
_failure: RuntimeError | None = None
_reason = "not decided yet: decided at the first call"
_callbacks: list[Callable[[], None]] = []


def _new_lock() -> None:
    """In a forked process, where the thread that held the old lock does not exist."""
    global _lock
    _lock = threading.RLock()


def _end() -> None:
    """Daemon threads stay in their kernels: see csrc/common/ending.h. Those in between get a moment to come there."""
    if _core is not None:
        _core.end()
        if threading.active_count() > 1:
            time.sleep(0.1)


os.register_at_fork(after_in_child=_new_lock)
atexit.register(_end)


def native(device: torch.device | None = None) -> bool:
    """True when torch.ops.dssl_ops.* are loaded for tensors of this device, by default the CPU. The first call for a
    kind of device loads them, compiling if need be. Meta tensors, and fake ones of a GPU that is not there, need none.

    `DSSL_OPS_BACKEND=reference` gives False; `=native` raises where otherwise one warning would be given and the
    references would serve. Raises RuntimeError when the sources do not compile.
    """
    if _state is None:
        _decide()
    if device is None or device.type in ("cpu", "meta") or not _state:  # meta: shapes alone, from the fake kernels
        return bool(_state)
    if _cuda_state is None and device.type == "cuda":
        _decide_cuda()
    return device.type == "cuda" and bool(_cuda_state)


# torch.compile calls the function while it traces and takes the answer as a constant. This attribute is all that
# torch._dynamo.assume_constant_result sets; importing torch._dynamo for it would cost a second.
native._dynamo_marked_constant = True  # type: ignore[attr-defined]


def not_compiled(function: Function) -> Function:
    """Decorator: torch.compile breaks its graph here, and where it must not, with fullgraph=True, says so. These
    attributes are what dynamo looks for of torch.compiler.disable, which would import it.
    """
    function._torchdynamo_disable = True  # type: ignore[attr-defined]
    function._torchdynamo_disable_msg = REASON  # type: ignore[attr-defined]
    return function


def refuse_forward_mode(op: str, *tensors: Tensor | None) -> None:
    """Raise NotImplementedError where a tensor carries a tangent: the op would lose it, that is, call it zero."""
    if forward_ad._current_level < 0:
        return
    for tensor in tensors:
        if isinstance(tensor, Tensor) and forward_ad.unpack_dual(tensor).tangent is not None:
            raise NotImplementedError(
                f"{op}: forward-mode differentiation is not supported; got an input with a tangent"
            )


def when_loaded(register: Callable[[], None]) -> Callable[[], None]:
    """Decorator: calls register() right after the kernels are loaded, or now if they are."""
    with _lock:
        if _state:
            register()
        else:
            _callbacks.append(register)
    return register


def core() -> ModuleType | None:
    """The compiled module, with the strings `capability` and `compiler`; None where the references serve."""
    return _core if native() else None


def backend() -> tuple[str, str]:
    """Name of the backend in use and why, for `python -m dssl_ops info`."""
    return ("native" if native() else "reference", _reason)


def _decide() -> None:
    global _state, _core, _failure, _reason
    with _lock:
        if _state is not None:
            return
        if _failure is not None:  # the compiler will not change its mind; do not make every call wait for it
            raise _failure
        forced = _forced()
        if forced == "reference":
            _state, _reason = False, "DSSL_OPS_BACKEND=reference"
            return
        try:
            _core = _build.load()
        except _build.NoCompiler as missing:
            if forced == "native":
                raise
            _state, _reason = False, "no C++ compiler"
            warnings.warn(f"{missing}. Until then the slower references serve.", stacklevel=4)
            return
        except RuntimeError as failure:
            _failure = failure
            raise
        _reason = "DSSL_OPS_BACKEND=native" if forced else "compiled kernels loaded"
        for register in _callbacks:
            register()
        _callbacks.clear()
        _state = True


def _decide_cuda() -> None:
    global _cuda_state, _failure
    with _lock:
        if _cuda_state is not None:
            return
        if _failure is not None:
            raise _failure
        try:
            if architectures := _build_cuda.visible():  # without a GPU there are only fake tensors
                _build_cuda.load(architectures)
        except _build_cuda.NoToolkit as missing:
            if _forced() == "native":
                raise
            _cuda_state = False
            warnings.warn(f"{missing}. Until then the slower references serve CUDA tensors.", stacklevel=4)
            return
        except RuntimeError as failure:
            _failure = failure
            raise
        _cuda_state = True


def _forced() -> str:
    value = os.environ.get("DSSL_OPS_BACKEND", "")
    if value not in ("", "native", "reference"):
        raise ValueError(f"DSSL_OPS_BACKEND must be native or reference; got {value!r}")
    return value
