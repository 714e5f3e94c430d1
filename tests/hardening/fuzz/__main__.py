"""`python tests/hardening/fuzz [--cases N] [TARGET...]`: coverage-guided fuzzing of the CPU kernels by libFuzzer, with
AddressSanitizer and UndefinedBehaviorSanitizer watching.

Targets: program (the engine's interpreter and its packed buffers), instructions (the sampler), tensors (JigSaw and the
losses, below Python's checks). Needs clang 14 or later with its runtime (Debian: apt install clang libclang-rt-14-dev).
What it finds stays in the work folder; `WORK/TARGET WORK/crash-...` shows it again.
"""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[2] / "csrc"
TARGETS = ("program", "instructions", "tensors")
FLAGS = "-std=c++20 -O1 -g -march=native -ffp-contract=off -fno-omit-frame-pointer -w"
# A float divided by zero is defined, and meant; vptr needs the C++ library's own run-time types.
WATCH = "-fsanitize=fuzzer,address,undefined,float-cast-overflow -fno-sanitize=vptr,float-divide-by-zero"
STOP = "-fno-sanitize-recover=all"


def build(target, work, clang):
    binary = work / target
    includes = [f"-I{HERE.parent / 'include'}", f"-I{CSRC}", "-isystem", str(Path(torch.__path__[0]) / "include")]
    flags = shlex.split(f"{FLAGS} {WATCH} {STOP}")
    subprocess.run([clang, *flags, *includes, "-o", str(binary), str(HERE / f"fuzz_{target}.cpp")], check=True)
    return binary


def fuzz(target, work, options):
    """(inputs tried, edges covered, whether it ended without a finding)"""
    corpus = work / f"{target}-corpus"
    corpus.mkdir(exist_ok=True)
    binary = build(target, work, options.clang)
    limits = f"-runs={options.cases} -seed={options.seed} -max_len=1024 -timeout=20 -rss_limit_mb=4096 -len_control=0"
    command = [str(binary), *limits.split(), f"-artifact_prefix={work}/{target}-", "-print_final_stats=1", str(corpus)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    (work / f"{target}.log").write_text(done.stderr)
    tried = re.findall(r"number_of_executed_units: (\d+)|^#(\d+)", done.stderr, re.M)
    covered = re.findall(r"cov: (\d+)", done.stderr)
    count = max((int(a or b) for a, b in tried), default=0)
    return count, int((covered or [0])[-1]), done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", default=TARGETS, metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--cases", type=int, default=50_000, help="inputs for each target")
    parser.add_argument("--seed", type=int, default=1, help="0: another each time")
    parser.add_argument(
        "--work", type=Path, default=Path("build/fuzz"), help="folder of binaries, corpora and findings"
    )
    parser.add_argument("--clang", default="clang++")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    clean = True
    for target in options.targets:
        tried, covered, good = fuzz(target, options.work, options)
        clean = clean and good
        result = "no fault" if good else f"A FAULT, see {options.work / target}.log"
        print(f"{target:14} {tried:9} inputs tried, {covered:6} edges covered: {result}", flush=True)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
