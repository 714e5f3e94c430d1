"""`pytest benchmarks/`: every implementation of the quick cases under pytest-benchmark, a group a case."""

import dataclasses
import importlib

import pytest
import torch

from .harness import Case, rotation, start
from .machine import Machine
from .report import ROOMS

pytest.importorskip("pytest_benchmark", reason="pip install '.[bench]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # the peers'


def cases():
    """A parameter an implementation; start-up and training have no calls to repeat."""
    for room in ROOMS:
        for case in importlib.import_module(f"{__package__}.bench_{room}").cases("cpu", full=False):
            for name in case.peers if isinstance(case, Case) else ():
                yield pytest.param(case, name, id=f"{case.title}: {name}")


@pytest.fixture(scope="session")
def machine():
    return Machine.of("cpu", 0)


@pytest.mark.parametrize(("case", "name"), list(cases()))
def test_speed(benchmark, machine, case, name):
    torch.manual_seed(0)
    case.verify()
    ours, reference, *_ = case.peers
    wanted = {key: case.peers[key] for key in dict.fromkeys((ours, reference, name))}
    reasons = []
    calls, _ = start(
        dataclasses.replace(case, peers=wanted), machine, rotation(case.make, machine.cache), reasons.append
    )
    if name not in calls:
        pytest.skip(reasons[-1].strip())
    torch.set_num_threads(1 if case.peers[name].one_core else machine.threads)
    benchmark.group = case.title
    benchmark.pedantic(lambda: next(calls[name])(), rounds=5, warmup_rounds=1)
