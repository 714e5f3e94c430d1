"""`python tests/cuda_gate.py` compiles every .cu for every architecture and writes docs/kernels.md; no GPU is needed.

test_cuda_gate.py holds the kernels against that page. Occupancy is what registers, threads and static shared memory
leave of a multiprocessor's warps; the limits are those of the CUDA C++ Programming Guide, table 27.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dssl_ops import _build, _build_cuda

PAGE = Path(__file__).resolve().parent.parent / "docs" / "kernels.md"
# Per multiprocessor: threads, blocks, KiB of shared memory.
LIMITS = {
    "7.5": (1024, 16, 64),
    "8.0": (2048, 32, 164),
    "8.6": (1536, 16, 100),
    "8.9": (1536, 24, 100),
    "9.0": (2048, 32, 228),
    "10.0": (2048, 32, 228),
    "12.0": (1536, 24, 100),
}
INTRODUCTION = """# What the CUDA kernels take

Registers of a thread and, in brackets, occupancy by architecture; threads of a block (its `__launch_bounds__`) and
bytes of static shared memory. Kernels that ask for dynamic shared memory may fit fewer blocks. No kernel spills: a
test fails where one does, for 9.0 in every run and for all with `-m exhaustive`. Compiled by
{nvcc}. Written by `python tests/cuda_gate.py`; do not edit.

| kernel | threads | shared | {architectures} |
|---|---|---|{rule}|
"""


@dataclass(frozen=True)
class Kernel:
    name: str
    architecture: str
    threads: int  # 0 without __launch_bounds__
    registers: int
    shared: int
    spilled: int  # bytes stored and loaded

    @property
    def occupancy(self) -> int:
        """Percent."""
        threads, blocks, shared = LIMITS[self.architecture]
        warps = -(-self.threads // 32)
        per_warp = -(-self.registers * 32 // 256) * 256
        reserved = 1024 if float(self.architecture) >= 8 else 0
        fit = min(65536 // (per_warp * warps), threads // (32 * warps), blocks)
        fit = min(fit, (shared << 10) // max(1, self.shared + reserved))
        return 100 * fit * warps * 32 // threads


def compile_kernels(source: Path, architectures: tuple[str, ...], folder: Path) -> list[Kernel]:
    """Compiles one .cu; folder keeps the intermediate files. Warnings are errors."""
    nvcc = str(_build_cuda.toolkit() / "bin" / "nvcc")
    numbers = [architecture.replace(".", "") for architecture in architectures]
    targets = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in numbers]
    keep = ["--keep", "--keep-dir", str(folder), "-Xptxas", "-v", "--threads", "2"]
    command = [nvcc, *_build_cuda.FLAGS, *targets, *keep, "-c", str(source), "-o", str(folder / "object.o")]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{answer.stderr}")
    return parsed(answer.stderr, threads_of(folder))


def threads_of(folder: Path) -> dict[str, int]:
    """Largest block of every kernel, by mangled name, from the PTX."""
    found = {}
    for path in folder.glob("*.ptx"):
        for entry in path.read_text().split(".entry ")[1:]:
            declared = re.search(r"\.maxntid (\d+)(?:, (\d+), (\d+))?", entry.partition("{")[0])
            x, y, z = (int(side or 1) for side in declared.groups()) if declared else (0, 0, 0)
            found[re.match(r"\w+", entry)[0]] = x * y * z
    return found


def parsed(log: str, threads: dict[str, int]) -> list[Kernel]:
    """What ptxas -v says of the kernels."""
    kernels = []
    for part in log.split("Compiling entry function '")[1:]:
        mangled, architecture = re.match(r"(\w+)' for 'sm_(\d+)'", part).groups()
        stores, loads = map(int, re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part).groups())
        shared = re.search(r"(\d+) bytes smem", part)
        kernels.append(
            Kernel(
                name=short_name(mangled),
                architecture=f"{architecture[:-1]}.{architecture[-1]}",
                threads=threads[mangled],
                registers=int(re.search(r"Used (\d+) registers", part)[1]),
                shared=int(shared[1]) if shared else 0,
                spilled=stores + loads,
            )
        )
    return kernels


def short_name(mangled: str) -> str:
    """room::kernel<arguments>."""
    name = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=True).stdout.strip()
    name = re.sub(r"_GLOBAL__N__\w+::|\(anonymous namespace\)::|dssl::|^void ", "", name)
    depth, end = 0, len(name)
    for i, letter in enumerate(name):  # the parameter list begins at the first ( outside < >
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            end = i
            break
    return name[:end]


def all_kernels(architectures: tuple[str, ...] = _build_cuda.ARCHITECTURES) -> list[Kernel]:
    kernels = []
    for source in sorted(_build.SOURCE_ROOT.glob("*/*_cuda.cu")):
        with tempfile.TemporaryDirectory() as folder:
            kernels += compile_kernels(source, architectures, Path(folder))
    return kernels


def complaints(kernels: list[Kernel]) -> list[str]:
    spilling = [f"{one.name} spills {one.spilled} bytes on {one.architecture}" for one in kernels if one.spilled]
    unbounded = [f"{one.name} has no __launch_bounds__" for one in kernels if not one.threads]
    return spilling + unbounded


def cells(kernel: Kernel) -> str:
    return f"{kernel.registers} ({kernel.occupancy} %)"


def page(kernels: list[Kernel]) -> str:
    architectures = _build_cuda.ARCHITECTURES
    rows = []
    for name in sorted({kernel.name for kernel in kernels}):
        same = {kernel.architecture: kernel for kernel in kernels if kernel.name == name}
        one = same["9.0"]
        row = [f"`{name}`", str(one.threads), str(one.shared), *(cells(same[each]) for each in architectures)]
        rows.append(f"| {' | '.join(row)} |\n")
    introduction = INTRODUCTION.format(
        nvcc=_build_cuda.nvcc_version(),
        architectures=" | ".join(architectures),
        rule="|".join(["---"] * len(architectures)),
    )
    return introduction + "".join(rows)


if __name__ == "__main__":
    compiled = all_kernels()
    if wrong := complaints(compiled):
        raise SystemExit("\n".join(wrong))
    PAGE.write_text(page(compiled))
