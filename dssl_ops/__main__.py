"""`python -m dssl_ops info` says what this installation is made of; `build` compiles the kernels ahead of use."""

from __future__ import annotations

import argparse
import os
import platform
import re
from importlib import metadata

import torch

from . import _build, _build_cuda, _cache, _library, op_sets

# Environment variables that decide what is built, where it is kept and what serves.
SWITCHES = (
    *("DSSL_OPS_BACKEND", "CXX", "CUDA_HOME", "TORCH_EXTENSIONS_DIR", "XDG_CACHE_HOME"),
    *("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"),
)


def info() -> dict[str, str]:
    """What a bug report needs, in printing order."""
    try:
        (backend, reason), core = _library.backend(), _library.core()
    except (RuntimeError, ValueError) as error:  # a report is needed most where the kernels fail
        backend, reason, core = "failed", str(error), None
    return {
        "dssl_ops": f"{_build.__version__} in {_build.PACKAGE}",
        "torch": f"{torch.__version__}, for CUDA {torch.version.cuda or 'none'}",
        "python": f"{platform.python_version()} ({platform.platform()})",
        "torchvision": _version("torchvision"),
        "Pillow": _version("pillow"),
        "compiler": _compiler(),
        "CUDA toolkit": f"{_build_cuda.toolkit()}, {_build_cuda.nvcc_version()}"
        if _build_cuda.toolkit()
        else "none found",
        "CUDA devices": ", ".join(map(_device, range(torch.cuda.device_count()))) or "none",
        "backend": f"{backend} ({reason})",
        "kernels": str(core.__file__) if core else "not loaded",
        "compiled for": f"{core.capability}, by {core.compiler}" if core else "-",
        "cache": str(_cache.cache_root()),
        "op sets": ", ".join(op_sets.OP_SETS),
        "processor": f"{_build.cpu_features()}, {torch.backends.cpu.get_cpu_capability()} in torch",
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} processors",
        "environment": ", ".join(f"{name}={os.environ[name]}" for name in SWITCHES if name in os.environ)
        or "no switches",
    }


def _device(index: int) -> str:
    return f"{torch.cuda.get_device_name(index)} ({'{}.{}'.format(*torch.cuda.get_device_capability(index))})"


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


def _build_ahead(cuda: bool, architectures: list[str]) -> None:
    for architecture in architectures:
        if not re.fullmatch(r"\d+\.\d", architecture):
            raise SystemExit(f"dssl_ops: --arch takes compute capabilities such as 9.0; got {architecture}")
    if architectures and not cuda:
        raise SystemExit("dssl_ops: --arch goes with --cuda")
    architectures = sorted(set(architectures), key=float) or (_build_cuda.visible() if cuda else [])
    if cuda and not architectures:
        raise SystemExit("dssl_ops: no GPU is visible; say with --arch what to build for, such as --arch 8.0 9.0")
    print(_build.load().__file__)
    if cuda:
        print(_build_cuda.load(architectures))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dssl_ops", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="print the table")
    build = commands.add_parser("build", help="compile what is not cached yet and print its path")
    build.add_argument(
        "--cuda", action="store_true", help="the CUDA kernels too, for this machine's GPUs or for --arch"
    )
    build.add_argument("--arch", nargs="+", metavar="X.Y", default=[], help="compute capabilities, such as 8.0 9.0")
    arguments = parser.parse_args()
    if arguments.command == "build":
        _build_ahead(arguments.cuda, arguments.arch)
        return
    for name, value in info().items():
        print(f"{name + ':':16}{value}")


if __name__ == "__main__":
    main()
