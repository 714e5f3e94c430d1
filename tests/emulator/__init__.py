"""Runs the CUDA kernels of a room on the CPU: `emulated("jigsaw").jigsaw_launch(images, out, ...)`.

The room's own `.cu` is compiled, unchanged, by the C++ compiler against the headers in `include`, which stand in for
CUDA's; runtime.cpp runs grids, memory.cpp watches every access. A call runs all its launches to the end and raises
EmulatorError, with the kernel's file and line, for whatever CUDA would leave undefined.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shlex
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from dssl_ops import _build, _cache

HERE = Path(__file__).resolve().parent
FLAGS = ("-std=c++20", "-O2", "-g1", "-march=native", "-ffp-contract=off", "-fPIC", "-Wall", "-Wno-unknown-pragmas")
ORDERS = ("forward", "reverse", "random")
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")  # so does `python -m emulator.sanitize` run the tests
WATCHED = ("-fsanitize=undefined", "-fsanitize=address" if SANITIZED else "-fsanitize=thread")
# Opt-in limit of shared memory per block, in KiB, by compute capability (CUDA C++ Programming Guide, table 27).
SHARED_LIMIT = {"7.5": 64, "8.0": 163, "8.6": 99, "8.9": 99, "9.0": 227, "10.0": 227, "12.0": 99}
PLAIN = {"int": ctypes.c_int, "int64_t": ctypes.c_int64, "float": ctypes.c_float, "double": ctypes.c_double}
PLAIN |= {"bool": ctypes.c_bool, "unsigned": ctypes.c_uint, "uint64_t": ctypes.c_uint64, "uint32_t": ctypes.c_uint32}


class EmulatorError(RuntimeError):
    """What the kernel did that CUDA leaves undefined, and where."""


def emulated(room: str) -> Emulated:
    """The launch functions of csrc/<room>/<room>_cuda.cu as its <room>_cuda.h declares them."""
    folder = _build.SOURCE_ROOT / room
    return Emulated(folder / f"{room}_cuda.cu", (folder / f"{room}_cuda.h").read_text())


class Emulated:
    """The launch functions in `source`, each an attribute, with the types that `declarations` give their parameters.

    Arguments: tensors (anything with data_ptr() and nbytes) or None for pointers into the device's memory, lists of
    tensors or numbers for arrays of the host, tuples for structs, numbers for the rest; the stream is left out.
    Keywords: `order`, the turn of threads and blocks, `seed` of the random one, and `arch`, whose shared memory is had.
    """

    def __init__(self, source: Path, declarations: str):
        self._library = ctypes.CDLL(str(compiled(source)))
        self._declarations = re.sub(r"//[^\n]*", "", declarations)
        self._structs = {}
        for name, fields in re.findall(r"struct (\w+) \{([^{}]*)\}", self._declarations):
            self._structs[name] = _structure(name, fields, self._structs)

    def __getattr__(self, name: str):
        declared = re.search(rf"\b{name}\s*\(([^)]*)\)", self._declarations)
        if not declared:
            raise AttributeError(name)
        types = [" ".join(parameter.split()[:-1]) for parameter in declared[1].split(",")]

        def call(*arguments, order: str = "forward", seed: int = 0, arch: str = "9.0") -> None:
            wanted = [kind for kind in types if kind != "cudaStream_t"]
            if len(arguments) != len(wanted):
                raise TypeError(f"{name} takes {len(wanted)} arguments, the stream left out; got {len(arguments)}")
            memory = Memory()
            kinds = [_type(kind, self._structs) for kind in wanted]
            values = [memory.argument(kind, value) for kind, value in zip(kinds, arguments, strict=True)]
            values += [ctypes.c_void_p()] * (len(types) - len(wanted))
            _run(self._library[name], values, memory.buffers, order, seed, arch)

        return call


def _structure(name: str, declared: str, known: dict) -> type[ctypes.Structure]:
    """The struct of these fields, `const double *x, *y;` and the like."""
    fields = []
    for line in filter(None, map(str.strip, declared.split(";"))):
        kind, names = re.fullmatch(r"(.*?)(\**\w+(?:, *\**\w+)*)", line, re.S).groups()
        for field in names.split(","):
            fields.append((field.strip(" *"), _type(kind + "*" * field.count("*"), known)))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def _type(kind: str, structs: dict):
    return ctypes.c_void_p if "*" in kind else (PLAIN | structs)[kind.replace("const ", "").strip(" &")]


class Memory:
    """What a call's arguments point to: memory of the device, and arrays of the host, which kernels may not read."""

    def __init__(self):
        self.buffers, self._arrays = [], []

    def argument(self, kind: type, value):
        """The value as C takes it; structs go by reference."""
        value = self._value(kind, value)
        return ctypes.byref(value) if isinstance(value, ctypes.Structure) else kind(value)

    def _value(self, kind: type, value):
        if isinstance(value, tuple):
            return kind(*(self._value(of, field) for (_, of), field in zip(kind._fields_, value, strict=True)))
        return self._address(value) if kind is ctypes.c_void_p else value

    def _address(self, value) -> int | None:
        if value is None:
            return None
        if not isinstance(value, list):
            self.buffers.append((value.data_ptr(), value.nbytes, value))
            return value.data_ptr()
        kind = ctypes.c_double if any(isinstance(one, float) for one in value) else ctypes.c_int64
        array = (kind * len(value))(*(self._address(one) if hasattr(one, "data_ptr") else one for one in value))
        self._arrays.append(array)
        return ctypes.addressof(array) if value else None


def _run(function, values: list, buffers: list, order: str, seed: int, arch: str) -> None:
    runtime().emulator_set(ORDERS.index(order), seed, SHARED_LIMIT[arch] << 10)
    for address, size, _ in buffers:
        runtime().emulator_buffer(ctypes.c_void_p(address), ctypes.c_size_t(size))
    function.restype = None
    function(*values)
    runtime().emulator_forget_buffers()
    if error := runtime().emulator_error().decode():
        raise EmulatorError(re.sub(r"@(\S+)\+(0x[0-9a-f]+)", lambda place: _line(*place.groups()), error))


def _line(module: str, offset: str) -> str:
    """file:line of an address in a module, through binutils, which come with the compiler: the innermost that is not in
    a stand-in for one of CUDA's functions.
    """
    answer = subprocess.run(["addr2line", "-i", "-e", module, offset], capture_output=True, text=True)
    places = [line.split(" ")[0] for line in answer.stdout.splitlines()]
    return next((place for place in places if not place.startswith(str(HERE / "include"))), "?:0")


@cache
def runtime() -> ctypes.CDLL:
    flags = ("-fsanitize=address", "-DEMULATOR_ASAN") if SANITIZED else ()
    path = _shared_library(sorted(HERE.glob("*.cpp")), (*FLAGS, *flags[1:]), flags[:1])
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    library.emulator_error.restype = ctypes.c_char_p
    return library


def compiled(source: Path) -> Path:
    """The shared library of one .cu, instrumented; its watchers are the runtime's."""
    runtime()
    include = ("-I", str(HERE / "include"), "-I", str(_build.SOURCE_ROOT), "-x", "c++")
    return _shared_library([source], (*FLAGS, *WATCHED, *include), ())


def _shared_library(sources: list[Path], compile_flags: tuple, link_flags: tuple) -> Path:
    """Compiles into the cache, under a name of everything that decides the content."""
    command = [*shlex.split(os.environ.get("CXX", "c++"))]
    digest = hashlib.sha256(repr((_build.compiler_version(), _build.cpu_features(), compile_flags)).encode())
    near = {path for source in sources for path in source.parent.glob("*") if path.suffix in (".h", ".cuh")}
    common = [*(HERE / "include").glob("*"), *(_build.SOURCE_ROOT / "common").glob("*")]
    for path in sorted({*sources, *near, *common}):
        digest.update(path.read_bytes())
    target = _cache.cache_root() / f"emulator-{sources[0].stem}-{digest.hexdigest()[:16]}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            objects = [str(Path(work) / f"{source.stem}.o") for source in sources]
            for source, made in zip(sources, objects, strict=True):
                _call([*command, *compile_flags, "-c", str(source), "-o", made])
            _call([*command, "-shared", *link_flags, *objects, "-o", str(Path(work) / "library.so")])
            os.replace(Path(work) / "library.so", target)
    return target


def _call(command: list[str]) -> None:
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"{shlex.join(command)}\n{answer.stderr}")
