"""`python tests/emulator/sanitize.py [pytest's arguments]`: the emulator's tests under AddressSanitizer.

The kernels are compiled with red zones around every shared array instead of the watchers of races, undefined behaviour
is reported as always, and Python's and torch's own memory comes from the sanitizer's allocator. A wrong access ends the
process with its report.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def library(name: str) -> Path:
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    answer = subprocess.run([*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return Path(answer.stdout.strip()).resolve()


def environment() -> dict[str, str]:
    return os.environ | {
        # emulator/__init__.py looks for it. The sanitizer replaces functions of the C++ library, so that comes along.
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so.6')}",
        # Python leaks at its end; its small objects must come from malloc for red zones around them.
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "PYTHONMALLOC": "malloc",
    }


if __name__ == "__main__":
    command = [sys.executable, "-m", "pytest", "-q", str(HERE), *sys.argv[1:]]
    os.execve(sys.executable, command, environment())
