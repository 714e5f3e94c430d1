"""`dssl reproduce` that is stopped anywhere ends in the same table as one that is not."""

import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from dssl_trainer import cli
from dssl_trainer.data.loader import Loader
from dssl_trainer.reproduce import pages, plan, runner
from dssl_trainer.reproduce.cells import jobs, read
from trainer_setup import environment, held_by_another

SETTINGS = ["limit_train=48", "limit_test=20", "batch_size=16", "epochs=2", "encoder=resnet10_eighth", "knn_k=5",
            "projector=32-32", "predictor=16", "precision=fp32", "device=cpu", "threads=1", "log_every=1",
            "knn_every=1"]  # fmt: skip
CELLS = "simsiam-cifar10-*"
NAMES = [job.name for job in jobs("table2", "small", (0,), (CELLS,), dict(text.split("=") for text in SETTINGS))]


def arguments(out, cells=CELLS):
    return ["reproduce", "table2", "--cells", cells, "--data", "drawn", "--out", str(out), "--set", *SETTINGS]


def table(out):
    return (out / "table2.md").read_text()


@pytest.fixture(scope="module", autouse=True)
def fast():
    """Pictures of runs are half of such short ones, and no test here looks at them; nor at the speed of a probe."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_run", "plot"):
            patch.setattr(f"dssl_trainer.run.{name}", lambda *_: None)
        patch.setattr(runner, "write_report", lambda folder: None)
        patch.setattr(pages, "figure", lambda *_: None)
        patch.setattr(plan, "probe", lambda config: None)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run of three cells that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    assert cli.main(arguments(out)) == 0
    assert table(out).count("not run") == 0
    return out


def copied(whole, out, *numbers):
    """`out` with these of the finished cells: what is left to run is quicker."""
    for number in numbers:
        shutil.copytree(whole / NAMES[number], out / NAMES[number])
    return out


def test_killed_anywhere(whole, tmp_path):
    """kill -9 after a random number of rows in the logs of all cells."""
    goal = random.randint(1, 20)
    command = [sys.executable, "-m", "dssl_trainer", *arguments(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment()) as one:
        while one.poll() is None and rows(tmp_path) < goal:
            time.sleep(0.01)
        one.kill()
    assert rows(tmp_path) >= goal, "the command failed by itself"
    assert cli.main(arguments(tmp_path)) == 0
    assert table(tmp_path) == table(whole), f"killed at {goal} rows"


def rows(out):
    return sum(len(path.read_text().splitlines()) - 1 for path in out.glob("*/log.csv"))


@pytest.mark.parametrize("moment", ["load", "evaluate_run"])
def test_ctrl_c_says_how_to_go_on(moment, whole, tmp_path, capsys, monkeypatch):
    """Before the second cell begins; and after its training, before its evaluation."""

    def interrupted(*arguments):
        raise KeyboardInterrupt

    copied(whole, tmp_path, 0, 2)
    with monkeypatch.context() as patch:
        patch.setattr(runner, moment, interrupted)
        assert cli.main(arguments(tmp_path)) == 130
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"dssl reproduce: {NAMES[1]} is not finished; the same command again goes on")
    assert cli.main(arguments(tmp_path)) == 0
    assert table(tmp_path) == table(whole)


def test_ctrl_c_within_a_cell_saves_it(whole, tmp_path, capsys, monkeypatch):
    """A real signal, in the fourth of six steps."""
    real, calls = Loader.get, []

    def get(loader, step, last):
        calls.append(step)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return real(loader, step, last)

    copied(whole, tmp_path, 0, 2)
    monkeypatch.setattr(Loader, "get", get)
    assert cli.main(arguments(tmp_path)) == 130
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "stopped: step 4 of 6 saved" in last and "run the same command again to resume" in last
    assert cli.main(arguments(tmp_path)) == 0
    assert calls == [0, 1, 2, 3, 4, 5] and table(tmp_path) == table(whole)


def test_killed_between_log_and_checkpoint(whole, tmp_path):
    """The log has the last epoch, the checkpoint has not: the run is not taken for a finished one."""
    folder = copied(whole, tmp_path, 0, 1, 2) / NAMES[0]
    (folder / "checkpoint.pt").unlink()
    for path in folder.glob("evaluation-*.json"):
        path.unlink()
    assert not read(folder).finished
    assert cli.main(arguments(tmp_path)) == 0
    assert table(tmp_path) == table(whole)


def test_failing_cell_does_not_end_the_others(whole, tmp_path, capsys, monkeypatch):
    def failing(config, *more):
        if config.variant == "heavy":
            raise RuntimeError("out of luck")
        return real(config, *more)

    real = runner.train
    copied(whole, tmp_path, 0)
    monkeypatch.setattr(runner, "train", failing)
    assert cli.main(arguments(tmp_path)) == 2
    said = capsys.readouterr()
    last = said.err.strip().splitlines()[-1]
    assert last == f"dssl reproduce: 1 of 3 runs failed: {NAMES[1]}: RuntimeError: out of luck"
    assert read(tmp_path / NAMES[2]).finished
    assert table(tmp_path).count("| not run |") == 2  # the cell, and its run


def test_what_another_process_runs_is_left_to_it(whole, tmp_path, capsys):
    copied(whole, tmp_path, 2)
    with held_by_another(tmp_path / NAMES[0]):
        assert cli.main(arguments(tmp_path)) == 0
    assert f"{NAMES[0]}: another process runs it" in capsys.readouterr().err
    assert [path.parent.name for path in sorted(tmp_path.glob("*/log.csv"))] == sorted(NAMES[1:])


def test_folders_of_two_machines_are_merged_by_copying(whole, tmp_path):
    """One of them made by `dssl train` under a name of its own."""
    command = ["train", "simsiam-cifar10", "--data", "drawn", "--variant", "baseline", "--out", str(tmp_path / "mine")]
    options = [word for text in SETTINGS for word in ("--" + text.split("=")[0].replace("_", "-"), text.split("=")[1])]
    assert cli.main([*command, *options]) == 0
    assert cli.main(["evaluate", str(tmp_path / "mine")]) == 0
    assert cli.main([*arguments(copied(whole, tmp_path, 1, 2)), "--report"]) == 0
    assert table(tmp_path) == table(whole).replace(NAMES[0], "mine")


def test_too_large_a_batch_fails_in_one_line(tmp_path, capsys):
    words = [text for text in SETTINGS if "batch_size" not in text]
    command = [*arguments(tmp_path, "simsiam-cifar10-dssl-*")[: -len(SETTINGS)], *words, "batch_size=64"]
    assert cli.main(command) == 2
    assert "batch_size 64 exceeds the 48 training images" in capsys.readouterr().err.splitlines()[-1]
