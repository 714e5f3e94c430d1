"""Every kernel compiles without warnings and without spills, as docs/kernels.md says: for 9.0 in every run, for every
architecture with -m exhaustive."""

import importlib.util
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest
from cuda_gate import LIMITS, PAGE, Kernel, all_kernels, cells, compile_kernels, complaints, page, short_name

from dssl_ops import _build, _build_cuda

ROOMS = sorted(source.parent.name for source in _build.SOURCE_ROOT.glob("*/*_cuda.cu"))
needs_nvcc = pytest.mark.skipif(_build_cuda.toolkit() is None, reason="no nvcc")
# Instructions that the compiled code of a kernel must hold (sm_90): accesses of 16 bytes, tensor cores.
INSTRUCTIONS = {
    "jigsaw::move_tiles<uint4>": ("LDG.E.128", "STG.E.128"),
    "directional_loss::sum_rows<float>": ("LD.E.128",),  # not LDG: the rows' addresses come out of a table
    "directional_loss::differentiate_rows<__nv_bfloat16>": ("LD.E.128", "STG.E.128"),
    "nt_xent::sum_negatives<__nv_bfloat16, true>": ("HMMA.16816.F32.BF16",),
    "nt_xent::sum_gradients<__nv_bfloat16, true>": ("HMMA.16816.F32.BF16",),
    "nt_xent::sum_negatives<__half, true>": ("HMMA.16816.F32",),
    "nt_xent::sum_negatives<float, true>": ("HMMA.1688.F32.TF32",),
}


@cache
def compiled(room):
    """The room's kernels for one architecture, and their machine code by name where a disassembler is at hand."""
    with tempfile.TemporaryDirectory() as folder:
        kernels = compile_kernels(_build.SOURCE_ROOT / room / f"{room}_cuda.cu", ("9.0",), Path(folder))
        program = disassembler()
        if program is None:
            return kernels, None
        (cubin,) = Path(folder).glob("*.cubin")
        listing = subprocess.run([program, "-sass", cubin], capture_output=True, text=True, check=True).stdout
    return kernels, {short_name(part.split()[0]): part for part in listing.split("Function : ")[1:]}


def disassembler():
    """cuobjdump of the toolkit, or Triton's."""
    folders = [_build_cuda.toolkit() / "bin"]
    if triton := importlib.util.find_spec("triton"):
        folders.append(Path(triton.origin).parent / "backends" / "nvidia" / "bin")
    return next((folder / "cuobjdump" for folder in folders if (folder / "cuobjdump").exists()), None)


@needs_nvcc
@pytest.mark.parametrize("room", ROOMS)
def test_compiles_for_one_architecture_without_spills_and_as_its_page_says(room):
    kernels, _ = compiled(room)
    assert kernels and complaints(kernels) == []
    heading, rows = columns_of_page()
    if _build_cuda.nvcc_version() in PAGE.read_text():  # another compiler counts other registers
        found = {kernel.name: [str(kernel.threads), str(kernel.shared), cells(kernel)] for kernel in kernels}
        own = {name for name in rows if name.startswith(f"{room}::")}
        columns = [heading.index(name) for name in ("threads", "shared", "9.0")]
        assert found == {name: [rows[name][k] for k in columns] for name in own | (found.keys() & rows.keys())}


def columns_of_page():
    """The table's heading, and {kernel: row}."""
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return lines[0], {row[0].strip("`"): row for row in lines[1:]}


@needs_nvcc
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_machine_code_holds_what_it_was_written_for(name):
    _, functions = compiled(name.partition("::")[0])
    if functions is None:
        pytest.skip("no cuobjdump: neither in the CUDA toolkit nor in Triton")
    assert [wanted for wanted in INSTRUCTIONS[name] if wanted not in functions[name]] == []


@needs_nvcc
@pytest.mark.slow
@pytest.mark.exhaustive
def test_compiles_for_all_and_the_page_is_up_to_date():
    """Two minutes; every run does it for one architecture."""
    kernels = all_kernels()
    assert {kernel.architecture for kernel in kernels} == set(_build_cuda.ARCHITECTURES)
    assert complaints(kernels) == []
    if _build_cuda.nvcc_version() in PAGE.read_text():  # another compiler counts other registers
        assert page(kernels) == PAGE.read_text(), "run python tests/cuda_gate.py"


def test_every_kernel_has_its_place_on_the_page_of_bounds():
    sections = PAGE.with_name("roofline.md").read_text().split("\n## ")
    names = set(re.findall(r"^\| `([\w:]+)", PAGE.read_text(), re.M))
    assert {name.partition("::")[0] for name in names if "::" in name} == set(ROOMS)
    for name in names:
        room, _, kernel = name.rpartition("::")
        assert any(f"`{kernel}`" in section for section in sections if section.startswith(room)), name


@needs_nvcc
def test_a_spill_and_a_missing_bound_are_complained_about(tmp_path):
    source = tmp_path / "spill.cu"
    source.write_text(
        """__global__ void __launch_bounds__(1024, 2) spills(float* x) {
          float values[64];
          #pragma unroll
          for (int i = 0; i < 64; ++i) values[i] = x[i * 1024 + threadIdx.x];
          __syncthreads();
          #pragma unroll
          for (int i = 0; i < 64; ++i) x[(63 - i) * 1024 + threadIdx.x] = values[i] * values[(i * 7) % 64];
        }
        __global__ void unbounded(float* x) { x[threadIdx.x] = 1; }
        """
    )
    spilling, unbounded = complaints(compile_kernels(source, ("9.0",), tmp_path))
    assert spilling.startswith("spills spills") and spilling.endswith("bytes on 9.0")
    assert unbounded == "unbounded has no __launch_bounds__"


@needs_nvcc
def test_warnings_are_errors(tmp_path):
    source = tmp_path / "unused.cu"
    source.write_text("__global__ void __launch_bounds__(32) f(float* x) { int unused = 3; x[0] = 1; }")
    with pytest.raises(RuntimeError, match="unused"):
        compile_kernels(source, ("9.0",), tmp_path)


@pytest.mark.parametrize(
    "architecture, threads, registers, shared, percent",
    [
        ("9.0", 256, 32, 0, 100),
        ("9.0", 256, 33, 0, 75),  # registers are given out by 8: 40 x 256 x 6 blocks fit 65536
        ("8.6", 1024, 32, 0, 66),  # one block of 1024 in 1536 threads
        ("9.0", 128, 32, 100 * 1024, 12),  # two blocks in 228 KiB
        ("7.5", 64, 16, 0, 100),
    ],
)
def test_occupancy(architecture, threads, registers, shared, percent):
    assert Kernel("", architecture, threads, registers, shared, 0).occupancy == percent
    assert set(LIMITS) == set(_build_cuda.ARCHITECTURES)


@pytest.mark.parametrize(
    "mangled, name",
    [
        ("_ZN4dssl6jigsaw12_GLOBAL__N_110move_tilesI5uint4EEvPKT_PS4_PKlNS1_6StripsE", "jigsaw::move_tiles<uint4>"),
        ("_Z6spillsPf", "spills"),
    ],
)
def test_names_are_short(mangled, name):
    assert short_name(mangled) == name
