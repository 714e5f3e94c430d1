"""The CUDA kernels: a second library, built for given architectures when a CUDA tensor first asks for it, or ahead.

It holds what the CPU's does not depend on, so a machine without nvcc has the CPU kernels all the same. Everything
compiles without a GPU; the architectures are always named, because torch would ask the GPU for them.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from . import _build, _cache

FLAGS = (
    "-O3",
    "-std=c++20",
    "--fmad=false",  # as -ffp-contract=off on the CPU: the same bits; kernels say fmaf where they mean it
    "-Werror=all-warnings",
    # torch's builder takes the half types' conversions and operators away; kernels use the conversions.
    "-U__CUDA_NO_HALF_CONVERSIONS__",
    "-U__CUDA_NO_BFLOAT16_CONVERSIONS__",
)
# What the sources are held to compile for; any other that nvcc knows may be asked for.
ARCHITECTURES = ("7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0")
# How a library may serve a GPU: by machine code made for it, by that of an earlier minor version, by PTX.
EXACTLY, BY_CODE, BY_PTX, NOT_AT_ALL = range(4)


class NoToolkit(RuntimeError):
    """There is no nvcc, or torch was built without CUDA, and no prebuilt binary fits."""


def sources() -> list[Path]:
    root = _build.SOURCE_ROOT
    return sorted([*root.glob("*/*_cuda.cu"), *root.glob("*/*_cuda.cpp")])


def toolkit() -> Path | None:
    """Root of the first CUDA toolkit that has an nvcc: $CUDA_HOME, the nvcc on PATH, the one that pip installs.

    The nvcc on PATH may be a wrapper script far from the toolkit, so nvcc itself is asked where it is.
    """
    roots = [Path(home)] if (home := os.environ.get("CUDA_HOME")) else []
    if nvcc := shutil.which("nvcc"):
        answer = subprocess.run([nvcc, "--dryrun", "x.cu"], capture_output=True, text=True).stderr
        here = re.search(r"^#\$ _HERE_=(.+)$", answer, re.M)
        roots.append((Path(here[1]) if here else Path(nvcc).resolve().parent).parent)
    roots += _pip_roots()
    return next((root for root in roots if (root / "bin" / "nvcc").exists()), None)


def _pip_roots() -> list[Path]:
    packages = importlib.util.find_spec("nvidia")
    locations = packages.submodule_search_locations if packages else None
    return [Path(root) / "cu13" for root in locations or ()]


def nvcc_version() -> str | None:
    """Last line of `nvcc --version`, None without nvcc."""
    root = toolkit()
    if root is None:
        return None
    answer = subprocess.run([str(root / "bin" / "nvcc"), "--version"], capture_output=True, text=True)
    return answer.stdout.strip().rpartition("\n")[2]


def recipe() -> dict[str, str | None]:
    """Everything but the architectures that decides the binary's content."""
    return {
        **_build.recipe(),
        "sources": _build.sources_hash("_cuda.cpp", ".h", ".cu", ".cuh"),
        "flags": " ".join((*_build.FLAGS, *FLAGS, *_build.LINK_FLAGS)),
        "nvcc": nvcc_version(),
    }


def visible() -> list[str]:
    """The architectures of this machine's GPUs, each once."""
    import torch

    count = torch.cuda.device_count()
    return sorted({"{}.{}".format(*torch.cuda.get_device_capability(device)) for device in range(count)}, key=float)


def load(architectures: list[str]) -> Path:
    """Loads the library for all of these and gives its path: prebuilt, else cached, else built now. A prebuilt one that
    the driver has to compile for them, which takes it a while, serves where there is no nvcc.

    Raises NoToolkit, or RuntimeError with the end of the compiler's output when the sources do not compile.
    """
    import torch

    wanted = recipe()
    anywhere = {**wanted, "nvcc": None, "compiler": None}
    try:
        binary = _covering(_build.PACKAGE, architectures, anywhere, BY_CODE) or _cached(wanted, architectures)
    except NoToolkit:
        compiled_by_driver = _covering(_build.PACKAGE, architectures, anywhere, BY_PTX)
        if compiled_by_driver is None:
            raise
        binary = compiled_by_driver
    torch.ops.load_library(binary)  # loading what a build has just loaded changes nothing
    return binary


def _cached(wanted: dict[str, str | None], architectures: list[str]) -> Path:
    import torch

    if torch.version.cuda is None:
        raise NoToolkit("dssl_ops: this torch was built without CUDA; install one with CUDA to run the CUDA kernels")
    if wanted["nvcc"] is None or wanted["compiler"] is None:
        missing = "nvcc" if wanted["compiler"] else "C++ compiler"
        raise NoToolkit(
            f"dssl_ops: no {missing} found for the CUDA kernels; install the CUDA {torch.version.cuda} toolkit and a "
            "C++ compiler, or point $CUDA_HOME and $CXX at them"
        )
    return _cache.cached(
        wanted,
        lambda entry: _covering(entry, architectures, wanted, EXACTLY),
        lambda entry: build(entry, architectures, wanted),
    )


def build(target: Path, architectures: list[str], wanted: dict[str, str | None]) -> Path:
    """Compiles into target/_cuda_<architectures>.so."""
    name = "_".join(["_cuda", *(architecture.replace(".", "") for architecture in architectures)])
    what = f"CUDA kernels for {', '.join(architectures)}"
    return _build.compile_into(target, name, what, wanted, lambda work: _compile(work, name, architectures))[1]


def _covering(folder: Path, architectures: list[str], wanted: dict[str, str | None], at_worst: int) -> Path | None:
    """The binary in folder that serves these architectures best and, but for what `wanted` gives as None, fits."""
    ignored = [name for name, value in wanted.items() if value is None]
    binaries = {binary: _serves(binary, architectures) for binary in sorted(folder.glob("_cuda_*.so"))}
    for binary in sorted(binaries, key=binaries.__getitem__):
        if binaries[binary] <= at_worst and _cache.fits(binary, wanted, *ignored):
            return binary
    return None


def _serves(binary: Path, architectures: list[str]) -> int:
    """How, for the one that it serves worst. It holds machine code for each number in its name, PTX for the highest."""
    held = {int(number) for number in binary.stem.split("_")[2:]}

    def serves(architecture: str) -> int:
        number = int(architecture.replace(".", ""))
        if number in held:
            return EXACTLY
        if any(number // 10 == other // 10 and other < number for other in held):
            return BY_CODE
        return BY_PTX if max(held) < number else NOT_AT_ALL

    return max(map(serves, architectures))


def _compile(work: Path, name: str, architectures: list[str]) -> None:
    root = toolkit()
    assert root is not None  # else there is no recipe to compile
    numbers = [architecture.replace(".", "") for architecture in sorted(architectures, key=float)]
    targets = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in numbers]
    targets.append(f"-gencode=arch=compute_{numbers[-1]},code=compute_{numbers[-1]}")  # PTX
    with _build.toolchain(work) as cpp_extension:
        before, cpp_extension.CUDA_HOME = cpp_extension.CUDA_HOME, str(root)  # torch guesses, wrongly behind a wrapper
        try:
            cpp_extension.load(
                name,
                [str(path) for path in sources()],
                extra_cflags=list(_build.FLAGS),
                extra_cuda_cflags=[*FLAGS, *targets],
                extra_include_paths=[str(_build.SOURCE_ROOT), *_further_headers(root)],
                extra_ldflags=[*_build.LINK_FLAGS, *_runtime_library(work, root)],
                build_directory=str(work),
                with_cuda=True,
                is_python_module=False,
            )
        finally:
            cpp_extension.CUDA_HOME = before


def _further_headers(root: Path) -> list[str]:
    """Those of the pip packages, which a slim toolkit may lack; the toolkit's own come first."""
    return [str(folder / "include") for folder in (root, *_pip_roots()) if (folder / "include").is_dir()]


def _runtime_library(work: Path, root: Path) -> list[str]:
    """pip's libcudart has no name without a version, under which the linker looks for it: it gets one in `work`."""
    folders = [folder for folder in (root / "lib64", root / "lib") if folder.is_dir()]
    if any((folder / "libcudart.so").exists() for folder in folders):
        return []
    for folder in folders:
        for library in folder.glob("libcudart.so.*"):
            (work / "libcudart.so").symlink_to(library)
            return [f"-L{work}"]
    return []
