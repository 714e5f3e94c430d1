"""What is compiled, and with which flags.

Nothing here imports torch at the top: setuptools reads the version from this file, and a plain `pip install .` must
work without torch.

A binary is named by its *recipe*: everything that decides its content; _cache.py keeps it under the recipe's hash.
The CPU kernels are described here, the CUDA kernels in _build_cuda.py; both go through `cached`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from ._cache import cached, can_be_named, checksum, fits

__version__ = "0.1.0"

FLAGS = (
    "-O3",
    "-march=native",
    "-ffp-contract=off",  # the augmentation engine promises Pillow's bits; a fused multiply-add would change them
    "-std=c++20",
    "-Wall",
    "-fvisibility=hidden",  # no symbol of ours meets one of another library in the same process
    "-DTORCH_TARGET_VERSION=0x020a000000000000",  # a call newer than torch 2.10 fails here, at compile time
)

# Some compilers link their C++ library into ours. Streams in it, of which torch's headers have some, would then meet
# torch's copy: a number that they should print is lost, or the process crashes, as one on a GPU machine did.
LINK_FLAGS = ("-Wl,--exclude-libs,ALL",) if sys.platform == "linux" else ()

NAME = "_core"
PACKAGE = Path(__file__).resolve().parent
# An installed package carries the sources inside itself, a checkout beside itself.
SOURCE_ROOT = PACKAGE / "csrc" if (PACKAGE / "csrc").is_dir() else PACKAGE.parent / "csrc"


class NoCompiler(RuntimeError):
    """There is no C++ compiler, and no prebuilt binary fits."""


def translation_units(root: Path, work: Path) -> list[str]:
    """core.cpp and two files in `work` that share out the rooms, since torch's headers cost 1.4 s of every file."""
    rooms = {path.parent: 0 for path in sorted(SOURCE_ROOT.glob("*/*_cpu.cpp"))}
    for room in rooms:
        rooms[room] = sum(path.stat().st_size for path in room.iterdir() if "_cuda" not in path.name)
    units = {work / "rooms_0.cpp": 0, work / "rooms_1.cpp": 0}
    for room in sorted(rooms, key=rooms.__getitem__, reverse=True):
        unit = min(units, key=units.__getitem__)
        units[unit] += rooms[room]
        with unit.open("a") as text:
            text.writelines(f'#include "{room.name}/{path.name}"\n' for path in sorted(room.glob("*_cpu.cpp")))
    return [str(root / "core.cpp"), *(str(unit) for unit in units if unit.exists())]


def sources_hash(*suffixes: str) -> str:
    """Of the files whose names end in one of the suffixes, without those of the CUDA side unless a suffix names it."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE_ROOT.rglob("*")):
        if not path.name.endswith(suffixes) or ("_cuda." in path.name and not any("cu" in end for end in suffixes)):
            continue
        content = path.read_bytes()
        digest.update(f"{path.relative_to(SOURCE_ROOT).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def compiler() -> list[str] | None:
    """The command in $CXX, which may have arguments, or c++; None when there is no such program."""
    command = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    return command if shutil.which(command[0]) else None


def compiler_version() -> str | None:
    """First line of `c++ --version`, about 3 ms; None without a compiler."""
    command = compiler()
    if command is None:
        return None
    answer = subprocess.run([*command, "--version"], capture_output=True, text=True)
    return (answer.stdout or answer.stderr).partition("\n")[0]


def cpu_features() -> str:
    """Names what -march=native compiles for: the machine and a hash of the processor's feature list."""
    features = platform.processor()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        features = next((line for line in lines if line.startswith(("flags", "Features"))), features)
    return f"{platform.machine()} {hashlib.sha256(features.encode()).hexdigest()[:12]}"


def libc() -> str:
    """A binary linked against a newer C library does not load on an older one (shared home directories)."""
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    return ""


def recipe() -> dict[str, str | None]:
    """Everything that decides the binary's content."""
    import torch

    return {
        "sources": sources_hash(".cpp", ".h"),
        "flags": " ".join((*FLAGS, *LINK_FLAGS)),
        "compiler": compiler_version(),
        "torch": torch.__version__,
        "python": EXTENSION_SUFFIXES[0],
        "cpu": cpu_features(),
        "libc": libc(),
    }


def load() -> ModuleType:
    """The compiled module: prebuilt in the package if that fits this machine, else from the cache, else built now.

    Raises NoCompiler, or RuntimeError with the end of the compiler's output when the sources do not compile.
    """
    wanted = recipe()
    prebuilt = PACKAGE / f"{NAME}.so"
    if fits(prebuilt, wanted, "compiler", "torch"):  # torch's stable ABI: any version from the oldest target on
        return _import(prebuilt)
    if wanted["compiler"] is None:
        raise NoCompiler(
            "dssl_ops: no C++ compiler found; install one (Debian, Ubuntu: apt install g++; "
            "Fedora: dnf install gcc-c++; conda: conda install cxx-compiler) or point $CXX at it"
        )
    module, binary = cached(wanted, lambda entry: _found(entry, wanted), lambda entry: build(entry, wanted))
    module.__file__ = str(binary)
    return module


def _found(entry: Path, wanted: dict[str, str | None]) -> tuple[ModuleType, Path] | None:
    binary = entry / f"{NAME}.so"
    return (_import(binary), binary) if fits(binary, wanted) else None


def build(target: Path, wanted: dict[str, str | None]) -> tuple[ModuleType, Path]:
    """Compiles into target/_core.so; gives the module and that path."""
    return compile_into(target, NAME, "CPU kernels", wanted, _compile)


def compile_into(
    target: Path, name: str, what: str, made_from: dict[str, str | None], compile_: Callable
) -> tuple[Any, Path]:
    """Puts what compile_(directory) leaves as <name>.so into target, with a receipt; gives its result and the binary.

    The work happens in a directory of its own, so a killed build leaves at most garbage, which the next one removes;
    the finished binary appears in one step, and it has been loaded once before it appears.
    """
    for leftover in target.glob("build-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix="build-", dir=target))
    binary, log = target / f"{name}.so", target / "build.log"
    print(f"dssl_ops: building {what} ...", end=" ", file=sys.stderr, flush=True)
    start = time.monotonic()
    try:
        loaded = compile_(work)
        receipt = {"recipe": made_from, "sha256": checksum(work / f"{name}.so")}
        (work / "receipt").write_text(json.dumps(receipt, indent=1) + "\n")
        for path in (work / f"{name}.so", work / "receipt"):
            path.chmod(path.stat().st_mode & ~0o022)  # whatever the umask: see _remove_foreign
        os.replace(work / f"{name}.so", binary)
        os.replace(work / "receipt", binary.with_suffix(".json"))
    except BaseException as error:
        print("failed", file=sys.stderr)
        if not isinstance(error, (RuntimeError, OSError, subprocess.SubprocessError)):
            raise
        tail = "\n".join(str(error).splitlines()[-25:])
        where = f"; whole output in {log}" if _written(log, str(error)) else ""
        raise RuntimeError(f"dssl_ops: the kernels did not compile{where}\n{tail}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"built in {time.monotonic() - start:.1f} s (cached in {target})", file=sys.stderr, flush=True)
    return loaded, binary


def _written(path: Path, text: str) -> bool:
    """False where the disk is full, which may be why there is something to write."""
    try:
        return path.write_text(text) == len(text)
    except OSError:
        return False


def _compile(work: Path) -> ModuleType:
    root = SOURCE_ROOT
    if not can_be_named(root):
        root = work / "csrc"
        root.symlink_to(SOURCE_ROOT)
    with toolchain(work) as cpp_extension:
        return cpp_extension.load(
            NAME,
            translation_units(root, work),
            extra_cflags=list(FLAGS),
            extra_include_paths=[str(root)],
            extra_ldflags=list(LINK_FLAGS),
            build_directory=str(work),
        )


@contextlib.contextmanager
def toolchain(work: Path) -> Iterator[Any]:
    """torch's builder, for a while in which it finds ninja and a compiler command with arguments, which it does not
    take: it gets a script in `work` that runs the command.
    """
    before = {name: os.environ.get(name) for name in ("CXX", "PATH")}
    command = compiler()
    if command is not None and len(command) > 1:
        script = work / "c++"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        script.chmod(0o700)
        os.environ["CXX"] = str(script)
    if shutil.which("ninja") is None:  # pip puts it beside the interpreter, on PATH only in an activated environment
        import ninja

        os.environ["PATH"] = os.pathsep.join([ninja.BIN_DIR, before["PATH"] or os.defpath])
    try:
        yield _cpp_extension()
    finally:
        for name, value in before.items():  # these alone: other threads look at the environment meanwhile
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _cpp_extension() -> Any:
    """torch's builder: 0.3 s of import that a warm start does not pay, and a guess about CUDA that we do not use."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from torch.utils import cpp_extension
    finally:
        logger.setLevel(before)
    return cpp_extension


def _import(binary: Path) -> ModuleType:
    loader = ExtensionFileLoader(NAME, str(binary))
    module = importlib.util.module_from_spec(ModuleSpec(NAME, loader, origin=str(binary)))
    loader.exec_module(module)
    return module
