"""`python tests/hardening/faults.py [pytest's arguments]`: every injected fault of build, processes and training, and
every rule of SECURITY.md, those that the default run leaves out included. A test is a fault. Prints the counts.

`python tests/hardening/kills.py` is the run with fifty kills.
"""

import sys
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
FILES = [*sorted(HERE.glob("test_faults_*.py")), *(HERE.parent / f"test_{name}.py" for name in ("build", "security"))]


class Counts:
    """A pytest plugin: how many faults each file injected, and how many were not withstood."""

    def __init__(self):
        self.injected, self.failed = Counter(), Counter()

    def pytest_runtest_logreport(self, report):
        name = Path(report.nodeid.split("::")[0]).stem
        self.injected[name] += report.when == "call" and not report.skipped
        self.failed[name] += report.failed


def main():
    counts = Counts()
    code = pytest.main(["-q", "-m", "", *sys.argv[1:], *map(str, FILES)], plugins=[counts])
    for name, number in counts.injected.items():
        print(f"{name:22}{number:4} faults injected, {counts.failed[name]} left")
    return code


if __name__ == "__main__":
    sys.exit(main())
