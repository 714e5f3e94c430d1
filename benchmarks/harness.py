"""Compares, then times, then appends rows to benchmarks/results/<room>.csv.

A row: op, impl (a peer with its version), shape, dtype; first_ms, the first call at that shape (it contains what
torch.compile compiles, and not our JIT build, which is done before); median, 20th and 80th percentile in milliseconds,
of forward plus backward where an input needs a gradient; rounds; threads; load, the machine's load average before the
run (well above 0: others were working, and the row is a ratio at best); cpu, torch, commit, date. Inputs are fresh at
every call, as in training. Implementations take turns, so that what disturbs one disturbs all. With --quick on the
command line two rounds are run and shown, and no row is written.
"""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

RESULTS = Path(__file__).resolve().parent / "results"
QUICK = "--quick" in sys.argv
SECONDS = 20  # for the rounds of one comparison, of which there are three at least
COLUMNS = [
    "op", "impl", "shape", "dtype", "first_ms", "median_ms", "p20_ms", "p80_ms", "rounds",
    "threads", "load", "cpu", "torch", "commit", "date",
]  # fmt: skip


def compare_and_time(
    room: str,
    shape: str,
    make: Callable[[], list[Tensor]],
    implementations: dict[str, Callable],
    rounds: int,
    tolerance: float = 1e-4,
) -> None:
    """Each implementation maps the inputs to a loss; the first is ours. An implementation that differs is not timed.
    `rounds`: at most so many."""
    load = os.getloadavg()[0]
    inputs = make()
    dtype = str(inputs[0].dtype).removeprefix("torch.")
    first, want = {}, None
    for name, implementation in implementations.items():
        first[name], *got = clocked(implementation, inputs)
        want = want or got
        check(f"{room} {shape}: {name}", (got[0], *got[1]), (want[0], *want[1]), tolerance)
    times = in_turns(make, implementations, rounds)
    for name, measured in times.items():
        figures = [f"{figure:.3f}" for figure in (first[name], *percentiles(measured))]
        append(room, [name, shape, dtype, *figures, len(measured), torch.get_num_threads(), f"{load:.1f}"])


def in_turns(make: Callable, implementations: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every call."""
    times, start = {name: [] for name in implementations}, time.perf_counter()
    for done in range(2 if QUICK else rounds):
        if done >= 3 and time.perf_counter() - start > SECONDS:
            break
        for name, implementation in implementations.items():
            times[name].append(clocked(implementation, make())[0])
    return times


def clocked(implementation: Callable, inputs: list[Tensor]) -> tuple[float, Tensor, list[Tensor]]:
    start = time.perf_counter()
    loss, gradients = differentiate(implementation, inputs)
    return (time.perf_counter() - start) * 1e3, loss, gradients


def percentiles(measured: list[float]) -> list[float]:
    return torch.tensor(measured).quantile(torch.tensor([0.5, 0.2, 0.8])).tolist()


def differentiate(implementation: Callable, inputs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    result = implementation(*inputs)
    wanted = [x for x in inputs if x.requires_grad]
    return result.detach(), list(torch.autograd.grad(result, wanted)) if wanted else []


def check(what: str, got, want, tolerance: float) -> None:
    for x, y in zip(got, want):
        error = float((x.double() - y.double()).norm() / y.double().norm().clamp_min(1e-30))
        if not error <= tolerance:
            raise SystemExit(f"{what} differs from ours by {error:.1e}; nothing is timed")


def append(room: str, figures: list) -> None:
    row = [room, *figures, cpu(), torch.__version__, commit(), datetime.date.today().isoformat()]
    print(*row[:9], sep="  ", flush=True)
    if QUICK:
        return
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{room}.csv"
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        writer.writerow(row)


def sizes(of_all: list[int]) -> list[int]:
    """Those on the command line, by default all; with --quick the smaller half."""
    named = [int(word) for word in sys.argv[1:] if word != "--quick"]
    return named or (of_all[: (len(of_all) + 1) // 2] if QUICK else of_all)


def cpu() -> str:
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def commit() -> str:
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=RESULTS.parent
    )
    return answer.stdout.strip()


def version(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
