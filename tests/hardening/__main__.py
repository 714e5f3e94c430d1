"""`python tests/hardening SUITE`: the long runs, each with its counts.

properties  property tests with --examples each, after --seed
sanitize    the same over kernels built with AddressSanitizer and UndefinedBehaviorSanitizer
races       every CPU op on 1, 2, 4 and 7 threads under ThreadSanitizer
memory      10,000 calls of each op
mutants     checks of the CPU kernels removed one by one: does a test fail?
`python tests/hardening/fuzz` is the coverage-guided fuzzer. Work folders lie under build/hardening.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SANITIZE = "-fsanitize=address,undefined,float-cast-overflow -fno-sanitize=vptr -fno-sanitize-recover=all -g"
RACES = "-std=c++20 -O1 -g -march=native -ffp-contract=off -w -fsanitize=thread"


class Counting:
    """pytest plugin: hypothesis' profile, and the sum of what its statistics say that it tried."""

    def __init__(self, examples):
        self.examples, self.tried, self.tests, self.failed = examples, 0, 0, []

    def pytest_sessionstart(self, session):
        from hypothesis import settings

        # The conftest has chosen the quick one by now, and no test has been read yet.
        settings.register_profile("long", settings(), max_examples=self.examples, derandomize=False)
        settings.load_profile("long")

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.append(report.nodeid)
        self.tests += report.when == "call"

    def pytest_runtest_teardown(self, item):
        counts = re.findall(
            r"(\d+) passing.*?(\d+) failing.*?(\d+) invalid", getattr(item, "hypothesis_statistics", "")
        )
        self.tried += sum(int(number) for numbers in counts for number in numbers)


def run_properties(options, *chosen):
    counting = Counting(options.examples)
    files = [str(path) for path in sorted(HERE.glob("test_properties_*.py"))]
    arguments = ["-q", "-p", "no:cacheprovider", f"--hypothesis-seed={options.seed}", *chosen]
    status = pytest.main([*arguments, *(options.only or files)], plugins=[counting])
    print(
        f"{counting.tests} property tests, {counting.tried} inputs tried, {len(counting.failed)} tests failed",
        flush=True,
    )
    return status


def run_sanitize(options):
    sys.path.insert(0, str(ROOT / "tests" / "emulator"))
    from sanitize import environment

    cache = options.work / "sanitize"
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    compiler = os.environ.get("CXX", "c++")
    built = {"CXX": f"{compiler} {SANITIZE}", "TORCH_EXTENSIONS_DIR": str(cache), "DSSL_OPS_BACKEND": "native"}
    suite = [str(HERE), "properties", *options.only, f"--examples={options.examples}", f"--seed={options.seed}"]
    return subprocess.run([sys.executable, *suite], env={**environment(), **built}).returncode


def run_races(options):
    import torch

    options.work.mkdir(parents=True, exist_ok=True)
    binary = options.work / "races"
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    includes = [f"-I{HERE / 'include'}", f"-I{ROOT / 'csrc'}", "-isystem", str(Path(torch.__path__[0]) / "include")]
    sources = ["-o", str(binary), str(HERE / "races.cpp"), "-lpthread"]
    subprocess.run([*compiler, *RACES.split(), *includes, *sources], check=True)
    status = subprocess.run([str(binary)], env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}).returncode
    print("no race" if status == 0 else "A RACE OR OTHER BITS")
    return status


def run_memory(options):
    return pytest.main(["-q", "-s", "-m", "exhaustive", "-p", "no:cacheprovider", str(HERE / "test_memory.py")])


def run_mutants(options):
    from mutants import run

    return run(options)


SUITES = {name.removeprefix("run_"): function for name, function in globals().items() if name.startswith("run_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("only", nargs="*", help="test files instead of all property tests; mutants by number")
    parser.add_argument("--examples", type=int, default=1000, help="of each property test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "hardening")
    return SUITES[parser.parse_args().suite](parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
