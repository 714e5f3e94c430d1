"""Checks of the CPU kernels, each taken out in a copy of the tree: a test must then fail. `python tests/hardening
mutants [NUMBER...]` builds every mutant and says which test caught it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Mutant(NamedTuple):
    """What is replaced where, and what that takes away."""

    check: str
    file: str
    old: str
    new: str = ""


MUTANTS = (
    Mutant("a JigSaw has no more tiles than pixels", "augment/augment.h", "grid <= largest &&", ""),
    Mutant("a crop lies in its image", "augment/augment.h",
           "top + h <= size.height && left + w <= size.width &&", ""),
    Mutant("an emitted image has the view's size", "augment/augment.h",
           "|| size.height != view.height || size.width != view.width", ""),
    Mutant("an emitted view exists", "augment/augment.h", "!is_whole(v[0], 0, views - 1) ||", ""),
    Mutant("opcodes are known", "augment/augment.h",
           "if (step.opcode < 0 || step.opcode >= kOpcodes) return false;", ""),
    Mutant("a step has as many values as it reads", "augment/augment.h",
           "if (kOpcodeValues[step.opcode] >= 0 && kOpcodeValues[step.opcode] != step.count) return false;", ""),
    Mutant("offsets rise", "augment/batch.h", "std::is_sorted(at, at + parts + 1) &&", ""),
    Mutant("packed sizes fit the buffer", "augment/batch.h",
           "&& batch.channels * size[0] * size[1] <= end - pixels", ""),
    Mutant("there is a view for every image", "augment/batch.h", "batch.count() == out.size(1)", "true"),
    Mutant("instructions are well formed", "augment/draws.h", "well_formed(begin, end)", "true"),
    Mutant("tiles of a permutation are in range", "common/tiles.h",
           "if (!(source[k] >= 0 && source[k] < grid * grid)) return false;", ""),
    Mutant("edges name views that are there", "directional_loss/directional_loss_cpu.cpp",
           "edges[k] >= 0 && edges[k] < limits[k % 2]", "true"),
    Mutant("views share their shape", "directional_loss/directional_loss_cpu.cpp",
           "tensor.dim() == 2 && tensor.size(0) == like.size(0) && tensor.size(1) == like.size(1)", "true"),
    Mutant("positives name columns that are there", "nt_xent/nt_xent_cpu.cpp",
           "data[i] >= -1 && data[i] < columns", "true"),
    Mutant("what forward kept fits", "barlow_twins/barlow_twins_cpu.cpp",
           "matrices.size(0) == matrix_size(a.count, a.width)", "true"),
    Mutant("rows that are not finite are noticed", "nt_xent/passes.h", "broken || pass.x.broken[i]", "false"),
)  # fmt: skip
TESTS = ["tests/hardening/test_below_python.py", "tests/hardening/test_found.py"]


def caught_by(mutant, copy, environment):
    """The test that fails first, or how the process ended; None where all pass."""
    source = copy / "csrc" / mutant.file
    whole = source.read_text()
    if whole.count(mutant.old) != 1:
        raise SystemExit(f"mutants: {mutant.file} must hold once, and does not: {mutant.old}")
    source.write_text(whole.replace(mutant.old, mutant.new))
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, errors="replace")
    finally:
        source.write_text(whole)
    if "the kernels did not compile" in done.stdout:
        raise SystemExit(f"mutants: the mutant does not compile: {mutant.check}")
    failed = re.findall(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", done.stdout, re.M)
    if done.returncode < 0:
        running = re.findall(r"(tests/\S+\.py)", done.stdout + done.stderr)
        return f"{(running or ['a test'])[-1]}: the process died of signal {-done.returncode}"
    if done.returncode and not failed:  # nothing was tested: that must not pass for a test that failed, or for none
        raise SystemExit(
            f"mutants: {mutant.check}: pytest ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}"
        )
    return failed[0] if failed else None


def run(options):
    copy = options.work / "mutant"
    shutil.rmtree(copy, ignore_errors=True)
    for part in ("csrc", "dssl_ops", "python", "tests"):
        shutil.copytree(ROOT / part, copy / part)
    shutil.copy(ROOT / "pyproject.toml", copy)
    flags = copy / "dssl_ops" / "_build.py"
    flags.write_text(flags.read_text().replace('"-O3"', '"-O0"'))  # what a check does needs no speed
    cache = options.work / "mutant-cache"
    cache.mkdir(exist_ok=True, mode=0o700)
    paths = {
        "PYTHONPATH": f"{copy}:{copy / 'python'}",
        "TORCH_EXTENSIONS_DIR": str(cache),
        "DSSL_OPS_BACKEND": "native",
    }
    missed = 0
    for number, mutant in enumerate(MUTANTS):
        if options.only and str(number) not in options.only:
            continue
        test = caught_by(mutant, copy, os.environ | paths)
        missed += test is None
        print(f"{number:3} {mutant.check}: {'NOTHING FAILED' if test is None else test}", flush=True)
    print(f"{missed} of {len(options.only or MUTANTS)} went unnoticed")
    return missed
