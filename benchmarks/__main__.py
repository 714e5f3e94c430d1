"""Speed, memory and their tables: `python -m benchmarks`.

    python -m benchmarks [ROOM ...]                 the quick suite: minutes; rows into benchmarks/results/quick
    python -m benchmarks --full                     everything; rows into benchmarks/results
    python -m benchmarks report                     tables and plots of README.md and docs/benchmarks.md
    python -m benchmarks compare OLD.csv NEW.csv    what moved, by ratio to the reference of the same run

Peers: pip install '.[bench]'; one that is missing is skipped with a line that says so.
"""

import argparse
import importlib
import os
import sys
import time
import warnings
from pathlib import Path

import torch

from . import compare, report, rows
from .harness import Effort
from .machine import Machine, commit, measure_limits

EFFORT = {False: Effort(rounds=30, seconds=1), True: Effort(rounds=100, seconds=3)}


def arguments(words):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(report.ROOMS)}; all by default")
    parser.add_argument("--full", action="store_true", help="all sizes and types, more rounds")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="processors to use; 0: all")
    parser.add_argument("--seconds", type=float, help="for all calls of one implementation in one case")
    parser.add_argument("--results", type=Path, help="folder of the rows")
    parser.add_argument("--resume", action="store_true", help="leave out what has rows of this commit")
    options = parser.parse_args(words)
    if unknown := [room for room in options.rooms if room not in report.ROOMS]:
        parser.error(f"no room {unknown[0]}; there are {', '.join(report.ROOMS)}")
    options.rooms = options.rooms or report.ROOMS
    options.effort = EFFORT[options.full]
    if options.seconds is not None:
        options.effort = options.effort._replace(seconds=options.seconds)
    options.results = options.results or (rows.RESULTS if options.full else rows.RESULTS / "quick")
    return options


def finished(folder, room):
    """Cases that have rows of this commit."""
    path = folder / f"{room}.csv"
    found = rows.read(path) if path.exists() else []
    return {rows.case_of(row) for row in found if row["commit"] == commit()}


def run(options):
    machine = Machine.of(options.device, options.threads)
    start, limits = time.perf_counter(), measure_limits(machine)
    say_where(machine, limits, options)
    modules = {room: importlib.import_module(f"benchmarks.bench_{room}") for room in options.rooms}
    planned = [(room, case) for room in modules for case in modules[room].cases(machine.device, options.full)]
    wrong = []
    for number, (room, case) in enumerate(planned, 1):
        print(f"[{number}/{len(planned)}, {time.perf_counter() - start:.0f} s] {case.title}", flush=True)
        if options.resume and case.key(machine.device) in finished(options.results, room):
            print("    has rows of this commit")
            continue
        try:
            measure(room, case, machine, limits, options)
        except SystemExit as reason:  # the other cases are still worth their rows
            print(f"    WRONG: {reason}", flush=True)
            wrong.append(str(reason))
    every = rows.read_all(options.results)
    print(report.summary([row for room in modules for row in every.get(room, ()) if row["device"] == machine.device]))
    print(f"done in {time.perf_counter() - start:.0f} s: {options.results}")
    if wrong:
        raise SystemExit("\n".join(["benchmarks: ours is wrong", *wrong]))


def say_where(machine, limits, options):
    print(f"{machine.about}; commit {commit()}, load {os.getloadavg()[0]:.1f}, rows into {options.results}")
    products = f"{limits.float32 / 1e9:.2f} (float32) and {limits.bfloat16 / 1e9:.2f} TFLOP/s (bfloat16)"
    print(f"measured limits: copy {limits.copy / 1e6:.1f} GB/s, products {products}")


def measure(room, case, machine, limits, options):
    torch.manual_seed(0)
    found = case.measure(machine, limits, options.effort)
    rows.append(options.results, room, found)
    print("\n".join(report.lines(found)), flush=True)


def main(words):
    if words[:1] == ["report"]:
        return report.main(words[1:])
    if words[:1] == ["compare"]:
        return compare.main(words[1:])
    warnings.showwarning = lambda *_, **__: None  # the peers'; DALI undoes filters
    run(arguments(words))


if __name__ == "__main__":
    main(sys.argv[1:])
