"""`python -m dssl_ops info` says what this installation is made of; `build` compiles the kernels ahead of use."""

from __future__ import annotations

import argparse
import os
import platform
from importlib import metadata

import torch

from . import _build, _library, op_sets


def info() -> dict[str, str]:
    """What a bug report needs, in printing order."""
    try:
        (backend, reason), core = _library.backend(), _library.core()
    except (RuntimeError, ValueError) as error:  # a report is needed most where the kernels fail
        backend, reason, core = "failed", str(error), None
    return {
        "dssl_ops": _build.__version__,
        "torch": torch.__version__,
        "python": f"{platform.python_version()} ({platform.platform()})",
        "torchvision": _version("torchvision"),
        "Pillow": _version("pillow"),
        "compiler": _compiler(),
        "CUDA toolkit": str(_build.cuda_toolkit() or "none found"),
        "CUDA device": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "backend": f"{backend} ({reason})",
        "kernels": core.__file__ if core else "not loaded",
        "compiled for": f"{core.capability}, by {core.compiler}" if core else "-",
        "cache": str(_build.cache_root()),
        "op sets": ", ".join(op_sets.OP_SETS),
        "CPU capability": torch.backends.cpu.get_cpu_capability(),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} processors",
    }


def _compiler() -> str:
    try:
        return _build.compiler_version() or "none found"
    except (RuntimeError, OSError) as error:
        return str(error)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dssl_ops", description=__doc__)
    parser.add_argument("command", choices=("info", "build"))
    command = parser.parse_args().command
    if command == "build":
        print(_build.load().__file__)
        return
    for name, value in info().items():
        print(f"{name + ':':16}{value}")


if __name__ == "__main__":
    main()
