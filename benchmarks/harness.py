"""Compares, then times, then appends rows to benchmarks/results/<op>.csv.

A row: op, impl, shape, dtype; first_ms, the first call at that shape (it contains what torch.compile compiles, and not
our JIT build, which is done before); median, 20th and 80th percentile in milliseconds, of forward plus backward where
an input needs a gradient; threads; load, the machine's load average before the run (well above 0: others were working,
and the row is a ratio at best); cpu, torch, commit, date. Inputs are fresh at every call, as in training.
Implementations take turns, so that what disturbs one disturbs all.
"""

from __future__ import annotations

import csv
import datetime
import importlib.util
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

RESULTS = Path(__file__).resolve().parent / "results"
COLUMNS = [
    "op", "impl", "shape", "dtype", "first_ms", "median_ms", "p20_ms", "p80_ms", "rounds",
    "threads", "load", "cpu", "torch", "commit", "date",
]  # fmt: skip


def compare_and_time(
    op: str,
    shape: str,
    make: Callable[[], list[Tensor]],
    implementations: dict[str, Callable],
    rounds: int,
    tolerance: float = 1e-4,
) -> None:
    """Each implementation maps the inputs to a loss; the first is ours. An implementation that differs is not timed."""
    load = os.getloadavg()[0]
    inputs = make()
    dtype = str(inputs[0].dtype).removeprefix("torch.")
    first, times, want = {}, {name: [] for name in implementations}, None
    for name, implementation in implementations.items():
        start = time.perf_counter()
        loss, gradients = differentiate(implementation, inputs)
        first[name] = (time.perf_counter() - start) * 1e3
        want = want or (loss, gradients)
        check(f"{op} {shape}: {name}", (loss, *gradients), (want[0], *want[1]), tolerance)
    for _ in range(rounds):
        for name, implementation in implementations.items():
            fresh = make()
            start = time.perf_counter()
            differentiate(implementation, fresh)
            times[name].append((time.perf_counter() - start) * 1e3)
    for name, measured in times.items():
        median, p20, p80 = torch.tensor(measured).quantile(torch.tensor([0.5, 0.2, 0.8])).tolist()
        figures = [f"{figure:.3f}" for figure in (first[name], median, p20, p80)]
        append(op, [name, shape, dtype, *figures, rounds, torch.get_num_threads(), f"{load:.1f}"])


def differentiate(implementation: Callable, inputs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    result = implementation(*inputs)
    wanted = [x for x in inputs if x.requires_grad]
    return result.detach(), list(torch.autograd.grad(result, wanted)) if wanted else []


def check(what: str, got, want, tolerance: float) -> None:
    for x, y in zip(got, want):
        error = float((x.double() - y.double()).norm() / y.double().norm().clamp_min(1e-30))
        if not error <= tolerance:
            raise SystemExit(f"{what} differs from ours by {error:.1e}; nothing is timed")


def append(op: str, figures: list) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{op}.csv"
    new = not path.exists()
    row = [op, *figures, cpu(), torch.__version__, commit(), datetime.date.today().isoformat()]
    with open(path, "a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        writer.writerow(row)
    print(*row[:9], sep="  ", flush=True)


def cpu() -> str:
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def commit() -> str:
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=RESULTS.parent
    )
    return answer.stdout.strip()


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
