"""What is compiled, with which flags, and where the result is kept.

Nothing here imports torch at the top: setup.py loads this file by its path to learn the version and the sources,
and a plain `pip install .` must work without torch.

A binary is named by its *recipe*: everything that decides its content. The cache entry is a directory called after
the recipe's hash; it holds the binary, a receipt (recipe and checksum) and a lock. File times decide nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
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
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from pathlib import Path

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

NAME = "_core"
PACKAGE = Path(__file__).resolve().parent
# An installed package carries the sources inside itself, a checkout beside itself.
SOURCE_ROOT = PACKAGE / "csrc" if (PACKAGE / "csrc").is_dir() else PACKAGE.parent / "csrc"


class NoCompiler(RuntimeError):
    """There is no C++ compiler, and no prebuilt binary fits."""


def sources() -> list[Path]:
    """The translation units; headers are found through them."""
    return [SOURCE_ROOT / "core.cpp", *sorted(SOURCE_ROOT.glob("*/*_cpu.cpp"))]


def sources_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted([*SOURCE_ROOT.glob("*.cpp"), *SOURCE_ROOT.glob("*/*.cpp"), *SOURCE_ROOT.glob("*/*.h")]):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(SOURCE_ROOT).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def compiler() -> str | None:
    """The program that torch.utils.cpp_extension will run, or None when it cannot be found.

    torch takes $CXX for one word. Raises RuntimeError where it is a command with arguments.
    """
    command = os.environ.get("CXX", "c++")
    if shutil.which(command):
        return command
    if len(shlex.split(command)) > 1:
        raise RuntimeError(f"dssl_ops: $CXX must be one program; got {command!r}: point it at a script that runs this")
    return None


def compiler_version() -> str | None:
    """First line of `c++ --version`, about 3 ms; None without a compiler."""
    command = compiler()
    if command is None:
        return None
    answer = subprocess.run([command, "--version"], capture_output=True, text=True)
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
        "sources": sources_hash(),
        "flags": " ".join(FLAGS),
        "compiler": compiler_version(),
        "torch": torch.__version__,
        "python": EXTENSION_SUFFIXES[0],
        "cpu": cpu_features(),
        "libc": libc(),
    }


def key(made_from: dict[str, str | None]) -> str:
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


def cache_root() -> Path:
    """$TORCH_EXTENSIONS_DIR/dssl_ops if set, else dssl_ops in the user's cache, else a private temporary directory."""
    if torch_root := os.environ.get("TORCH_EXTENSIONS_DIR"):
        root = Path(torch_root) / "dssl_ops"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        root = Path(home) / "dssl_ops"
    return root if _is_ours(root) else _temporary_root()


def _is_ours(root: Path) -> bool:
    """Whether root is a directory, made now if need be, that only we write to: code is loaded from there."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = root.stat()
    except (OSError, RuntimeError):
        return False
    return os.access(root, os.W_OK) and status.st_uid == os.getuid() and not status.st_mode & 0o022


def _temporary_root() -> Path:
    root = Path(tempfile.gettempdir()) / f"dssl_ops-{os.getuid()}"
    return root if not root.is_symlink() and _is_ours(root) else Path(tempfile.mkdtemp(prefix="dssl_ops-"))


def load():
    """The compiled module: prebuilt in the package if that fits this machine, else from the cache, else built now.

    Raises NoCompiler, or RuntimeError with the end of the compiler's output when the sources do not compile.
    """
    wanted = recipe()
    prebuilt = PACKAGE / f"{NAME}.so"
    if _fits(prebuilt, wanted, ignore="compiler"):
        return _import(prebuilt)
    if wanted["compiler"] is None:
        raise NoCompiler(
            "dssl_ops: no C++ compiler found; install one (Debian, Ubuntu: apt install g++; "
            "Fedora: dnf install gcc-c++; conda: conda install cxx-compiler) or point $CXX at it"
        )
    entry = cache_root() / key(wanted)
    entry.mkdir(mode=0o700, exist_ok=True)
    binary = entry / f"{NAME}.so"
    if _fits(binary, wanted):
        return _import(binary)
    with _locked(entry / "lock"):
        if _fits(binary, wanted):  # another process built it while this one waited
            return _import(binary)
        return build(entry, wanted)


def build(target: Path, made_from: dict[str, str | None]):
    """Compiles into target/_core.so, writes the receipt beside it and returns the loaded module.

    The work happens in a directory of its own, so a killed build leaves at most garbage, which the next one removes;
    the finished binary appears in one step, and it has been imported once before it appears.
    """
    for leftover in target.glob("build-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix="build-", dir=target))
    binary = target / f"{NAME}.so"
    print("dssl_ops: building CPU kernels ...", end=" ", file=sys.stderr, flush=True)
    start = time.monotonic()
    try:
        module = _compile(work, log=target / "build.log")
        receipt = {"recipe": made_from, "sha256": _checksum(work / f"{NAME}.so")}
        (work / "receipt").write_text(json.dumps(receipt, indent=1) + "\n")
        os.replace(work / f"{NAME}.so", binary)
        os.replace(work / "receipt", binary.with_suffix(".json"))
    except BaseException:
        print("failed", file=sys.stderr)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"built in {time.monotonic() - start:.1f} s (cached in {target})", file=sys.stderr, flush=True)
    module.__file__ = str(binary)
    return module


def _compile(work: Path, log: Path):
    cpp_extension = _cpp_extension()
    try:
        with _ninja_on_path():
            return cpp_extension.load(
                NAME,
                [str(path) for path in sources()],
                extra_cflags=list(FLAGS),
                extra_include_paths=[str(SOURCE_ROOT)],
                build_directory=str(work),
            )
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        log.write_text(str(error))
        tail = "\n".join(str(error).splitlines()[-25:])
        raise RuntimeError(f"dssl_ops: the kernels did not compile; whole output in {log}\n{tail}") from None


def _cpp_extension():
    """torch's builder: 0.3 s of import that a warm start does not pay, and a guess about CUDA that we do not use."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from torch.utils import cpp_extension
    finally:
        logger.setLevel(before)
    return cpp_extension


@contextlib.contextmanager
def _ninja_on_path():
    """pip puts ninja beside the interpreter, which is not on PATH when the environment was not activated."""
    before = os.environ.get("PATH", os.defpath)
    if shutil.which("ninja") is None:
        import ninja

        os.environ["PATH"] = os.pathsep.join([ninja.BIN_DIR, before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


@contextlib.contextmanager
def _locked(path: Path):
    """One builder at a time. The kernel releases the lock when its holder dies, however it dies."""
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fits(binary: Path, wanted: dict[str, str | None], ignore: str = "") -> bool:
    """Whether binary is whole and was made from what is wanted; mapping a cut-off file would end in SIGBUS."""
    try:
        receipt = json.loads(binary.with_suffix(".json").read_text())
        same = {**receipt["recipe"], ignore: None} == {**wanted, ignore: None}
        return same and receipt["sha256"] == _checksum(binary)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _checksum(binary: Path) -> str:
    return hashlib.sha256(binary.read_bytes()).hexdigest()


def _import(binary: Path):
    loader = ExtensionFileLoader(NAME, str(binary))
    spec = importlib.util.spec_from_file_location(NAME, binary, loader=loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def cuda_toolkit() -> Path | None:
    """Root of the CUDA toolkit: $CUDA_HOME, else of the nvcc on PATH, else of the one that pip installs.

    The nvcc on PATH may be a wrapper script far from the toolkit, so nvcc itself is asked where it is.
    """
    if home := os.environ.get("CUDA_HOME"):
        return Path(home) if (Path(home) / "bin" / "nvcc").exists() else None
    if nvcc := shutil.which("nvcc"):
        answer = subprocess.run([nvcc, "--dryrun", "x.cu"], capture_output=True, text=True).stderr
        here = next((line.split("=", 1)[1] for line in answer.splitlines() if line.startswith("#$ _HERE_=")), None)
        return Path(here).parent if here else Path(nvcc).resolve().parent.parent
    packages = importlib.util.find_spec("nvidia")
    roots = [Path(root) / "cu13" for root in packages.submodule_search_locations] if packages else []
    return next((root for root in roots if (root / "bin" / "nvcc").exists()), None)
