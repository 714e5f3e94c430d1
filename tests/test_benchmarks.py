"""The benchmark suite: its harness against a made-up clock, and the pages against the committed rows."""

import ctypes
import importlib
import itertools
import re
import sys
import types
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # benchmarks is not installed; what is installed comes first

from benchmarks import __main__ as command  # noqa: E402
from benchmarks import compare, harness, machine, plots, report, rows  # noqa: E402

EFFORT = harness.Effort(rounds=4, seconds=60)
LIMITS = machine.Limits(copy=1e6, float32=1e9, bfloat16=4e9)


class Counted:
    """A clock that gives each call the milliseconds of its name, and writes down who was called."""

    def __init__(self, milliseconds):
        self.milliseconds, self.turns = milliseconds, []

    def __call__(self, call, on_host):
        result = call()
        self.turns.append(result[1])
        return self.milliseconds[result[1]], (result[0],)


def made_up(values, milliseconds, cache=64, **peers):
    """A case whose implementations give `values`, and the machine that says how long they take."""

    def build(name):
        return lambda x: partial(lambda: (x + values[name], name))

    found = {name: harness.Peer(partial(build, name), "dssl_ops") for name in values} | peers
    case = harness.Case(
        "room", "op", "8", "float32", lambda: [torch.zeros(8)], found, items=8, moved=2e6, tolerance=1e-6
    )
    threads = torch.get_num_threads()
    return case, machine.Machine("cpu", "test", threads, cache, Counted(milliseconds), lambda call: 1.5)


def test_implementations_take_turns_and_their_rows_say_what_was_measured():
    case, bench = made_up({"dssl_ops": 1, "eager": 1, "lightly": 1}, {"dssl_ops": 2.0, "eager": 8.0, "lightly": 4.0})
    found = case.measure(bench, LIMITS, EFFORT)
    names = ["dssl_ops", "eager", "lightly"]
    assert bench.clock.turns[:6] == [name for name in names for _ in range(2)]  # these are not counted
    assert bench.clock.turns[6:] == names * 4
    assert [row["impl"] for row in found] == ["dssl_ops", "eager", "lightly"]
    assert [row["median_ms"] for row in found] == ["2", "8", "4"]
    assert set(found[0]) == set(rows.COLUMNS)
    assert (found[0]["rounds"], found[0]["peak_mb"], found[0]["of_limit"]) == ("4", "1.5", "1")


def test_inputs_rotate_past_the_cache():
    given = []
    sets = harness.rotation(lambda: given.append(torch.zeros(8)) or [given[-1]], cache=64)
    assert len(sets) == 4  # 32 bytes each, twice the cache together
    assert len({inputs[0].data_ptr() for inputs in sets}) == 4


def test_a_peer_that_is_missing_or_wrong_is_left_out_with_its_reason():
    said = []
    gone = harness.Peer(lambda: None, "no-such-package")
    broken = harness.Peer(lambda: lambda x: lambda: x.no_such_method())
    case, bench = made_up({"dssl_ops": 1, "eager": 1, "wrong": 2}, dict.fromkeys(("dssl_ops", "eager", "wrong"), 1.0))
    case.peers |= {"gone": gone, "broken": broken}
    found = case.measure(bench, LIMITS, EFFORT, said.append)
    assert [row["impl"] for row in found] == ["dssl_ops", "eager"]
    assert [line.strip() for line in said] == [
        "skipped, differs from ours by 1.0e+00: wrong",
        "skipped, no-such-package is not installed: gone",
        "skipped, AttributeError: 'Tensor' object has no attribute 'no_such_method': broken",
    ]


def test_nothing_is_timed_where_ours_differs_from_the_reference():
    case, bench = made_up({"dssl_ops": 1, "eager": 3}, {"dssl_ops": 1.0, "eager": 1.0})
    with pytest.raises(SystemExit, match="ours differs from eager"):
        case.measure(bench, LIMITS, EFFORT)


def test_slow_implementations_get_fewer_rounds_but_not_too_few():
    case, bench = made_up({"dssl_ops": 1, "eager": 1}, {"dssl_ops": 1.0, "eager": 5000.0})
    found = case.measure(bench, LIMITS, harness.Effort(rounds=10, seconds=2, least=3))
    assert [row["rounds"] for row in found] == ["10", "3"]


ONE_CALL = ["wait for all", "record 0", "call", "record 1", "wait for 1"]
BUSY, BUSIER = (["keep busy for 6000000", "keep busy for 60000000"][:tries] for tries in (1, 2))


@pytest.mark.parametrize("on_host, late, said_first", [(True, True, []), (False, False, BUSY), (False, True, BUSIER)])
def test_the_event_clock_waits_before_and_after(on_host, late, said_first):
    """And keeps the GPU busy while the host queues a call, longer where it was late, unless the host's work counts."""
    said = []

    class Event:
        numbers = itertools.count()

        def __init__(self, enable_timing):
            assert enable_timing
            self.number = next(self.numbers)

        def record(self):
            said.append(f"record {self.number}")

        def synchronize(self):
            said.append(f"wait for {self.number}")

        def query(self):
            return late

        def elapsed_time(self, end):
            return 3.0 + end.number - self.number

    class Cuda:
        @staticmethod
        def synchronize():
            said.append("wait for all")

        @staticmethod
        def _sleep(cycles):
            said.append(f"keep busy for {cycles}")

    Cuda.Event = Event
    assert machine.EventClock(Cuda)(lambda: said.append("call") or "result", on_host) == (4.0, "result")
    assert [word for word in said if "busy" in word] == said_first
    assert [word for word in said if "busy" not in word][:5] == ONE_CALL
    assert said.count("call") == max(1, len(said_first))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_one_clear_line():
    with pytest.raises(SystemExit) as stop:
        command.main(["--device", "cuda"])
    assert str(stop.value) == "benchmarks: --device cuda needs a GPU that torch can use; torch sees none"


@pytest.mark.parametrize("room", report.ROOMS)
def test_inputs_are_made_on_the_device_that_was_asked_for(room):
    module = importlib.import_module(f"benchmarks.bench_{room}")
    found = [case for case in module.cases("meta", full=True) if isinstance(case, harness.Case)]
    assert found or room == "training"
    for case in found[:3]:
        tensors = [x for given in case.make() for x in (given if isinstance(given, list) else [given])]
        assert {x.device.type for x in tensors} == {"meta"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("kind", ["torch", "malloc"])
def test_peak_memory_counts_what_was_given_back_before_the_end(kind):
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]

    def native():
        memory = library.malloc(64 << 20)
        ctypes.memset(memory, 1, 64 << 20)
        library.free(memory)

    peak = machine.resident_peak(native if kind == "malloc" else lambda: torch.ones(16 << 20).sum())
    if peak is None:
        pytest.skip("this kernel does not reset the peak")
    assert abs(peak - 64) < 3  # the kernel counts pages in batches, a few hundred KiB a thread


def test_resume_finds_what_this_commit_has_measured(tmp_path):
    case, bench = made_up({"dssl_ops": 1, "eager": 1}, {"dssl_ops": 1.0, "eager": 1.0})
    assert command.finished(tmp_path, "room") == set()
    rows.append(tmp_path, "room", case.measure(bench, LIMITS, EFFORT))
    assert command.finished(tmp_path, "room") == {case.key("cpu")}


def test_compare_tells_a_slower_op_from_a_slower_machine(tmp_path, capsys):
    for folder, times in (("old", (1.0, 4.0)), ("slow machine", (2.0, 8.0)), ("slow op", (2.0, 4.0))):
        case, bench = made_up({"dssl_ops": 1, "eager": 1}, dict(zip(("dssl_ops", "eager"), times)))
        rows.append(tmp_path / folder, "room", case.measure(bench, LIMITS, EFFORT))
    files = {folder: str(tmp_path / folder / "room.csv") for folder in ("old", "slow machine", "slow op")}
    compare.main([files["old"], files["slow machine"]])
    assert capsys.readouterr().out == "0 of 1 rows moved by more than 10 %; 0 gone, 0 new\n"
    compare.main([files["old"], files["slow op"]])
    assert capsys.readouterr().out.startswith(" +100.0 %  dssl_ops: op 8 float32 forward on cpu, beside eager\n")


def test_the_command_prints_ratios_and_writes_rows(tmp_path, monkeypatch, capsys):
    case, bench = made_up({"dssl_ops": 1, "eager": 1}, {"dssl_ops": 2.0, "eager": 5.0})
    wrong, _ = made_up({"dssl_ops": 1, "eager": 3}, {})
    module = types.SimpleNamespace(cases=lambda device, full: [wrong, case])
    monkeypatch.setattr(command.importlib, "import_module", lambda name: module)
    monkeypatch.setattr(command.Machine, "of", lambda device, threads: bench)
    monkeypatch.setattr(command, "measure_limits", lambda machine: LIMITS)
    wrong.measure = lambda *_: harness.blame(wrong, "eager", 0.5, print)
    with pytest.raises(SystemExit, match="ours is wrong"):
        command.run(command.arguments(["jigsaw", "--results", str(tmp_path)]))
    assert "| op 8 float32 | 2 | eager | 2.5 |" in capsys.readouterr().out
    assert [row["impl"] for row in rows.read(tmp_path / "jigsaw.csv")] == ["dssl_ops", "eager"]


def test_a_peer_that_wins_stands_out(tmp_path):
    case, bench = made_up({"dssl_ops": 1, "eager": 1}, {"dssl_ops": 4.0, "eager": 1.0})
    rows.append(tmp_path, "room", case.measure(bench, LIMITS, EFFORT))
    assert "| **0.25** |" in report.room_table("room", rows.read_all(tmp_path))


@pytest.mark.parametrize("page", report.PAGES, ids=lambda page: page.name)
def test_pages_say_what_the_rows_say(page):
    text = page.read_text()
    assert report.MARKED.search(text)
    assert report.filled(page) == text, "run: python -m benchmarks report"


@pytest.mark.parametrize("name", plots.PLOTS)
def test_plots_are_of_these_rows(name):
    _, rows_of, _ = plots.PLOTS[name]
    with Image.open(plots.FOLDER / f"{name}.png") as image:
        assert image.text["Rows"] == plots.checksum(rows_of()), "run: python -m benchmarks report"


def pinned():
    """{package: version} of the extra `bench`."""
    extra = re.search(r"^bench = \[(.*?)^\]", (machine.ROOT / "pyproject.toml").read_text(), re.M | re.S)[1]
    return dict(re.findall(r'"([\w-]+)==([\w.]+)', extra))


def test_peers_are_pinned_in_the_versions_that_were_measured():
    """Those of GPUs aside, of which the extra names none."""
    measured = {(row["impl"], row["version"]) for found in rows.read_all().values() for row in found
                if row["device"] == "cpu"}  # fmt: skip
    modules = [importlib.import_module(f"benchmarks.bench_{room}") for room in report.ROOMS]
    cases = [case for module in modules for case in module.cases("cpu", full=True) if hasattr(case, "peers")]
    packages = {name: peer.package for case in cases for name, peer in case.peers.items()}
    others = {(name, version) for name, version in measured if packages.get(name, "torch") not in ("torch", "dssl_ops")}
    assert {packages[name] for name, _ in others} > {"pillow", "lightly", "kornia"}
    assert {version for name, version in others if pinned()[packages[name]] != version} == set()
