"""Runs: what they leave, that they go on bit for bit, and that damage ends in one line."""

import csv
import dataclasses
import json
import math
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from dssl_trainer import checkpoint, log
from dssl_trainer.config import as_dict
from dssl_trainer.data import load
from dssl_trainer.data.loader import image_order
from dssl_trainer.data.views import view_maker
from dssl_trainer.errors import TrainerError
from dssl_trainer.interruption import Interrupted
from dssl_trainer.methods.simsiam import simsiam
from dssl_trainer.reports.curves import plot
from dssl_trainer.run import Run
from dssl_trainer.train import stop, train
from trainer_setup import TINY, VARIANTS, environment, losses, tiny, tiny_command, weights

# ---- runs: files, resume, interruption


@pytest.mark.parametrize("variant", VARIANTS)
def test_three_steps_of_each_variant(variant, tmp_path):
    result = train(tiny(tmp_path, variant=variant, epochs=1))
    rows = log.read(tmp_path / "log.csv")
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert all(math.isfinite(row["loss"]) and abs(row["loss"]) < 2 for row in rows[1:])  # four terms of at most 1/2
    assert heading(tmp_path / "log.csv") == list(log.COLUMNS)
    assert 0 <= result["knn"] <= 100 and result["random_knn"] == pytest.approx(rows[0]["knn"], rel=1e-8)  # 9 digits
    for name in ("config.json", "checkpoint.pt", "plot.png", "gallery.png"):
        assert (tmp_path / name).stat().st_size > 200
    assert json.loads((tmp_path / "config.json").read_text())["settings"]["variant"] == variant
    assert not list(tmp_path.glob("*.tmp"))


def heading(path):
    with open(path, newline="") as file:
        return next(csv.reader(file))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """Six steps without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    train(tiny(folder))
    return folder


@pytest.mark.parametrize("stop_at", [2, 3, 4])  # inside the first epoch, between the two, inside the second
def test_resumed_run_equals_the_uninterrupted_one(stop_at, tmp_path, whole_run):
    train(tiny(tmp_path, max_steps=stop_at))
    assert max(losses(tmp_path)) == stop_at
    train(tiny(tmp_path))
    assert losses(tmp_path) == losses(whole_run)
    for name, tensor in weights(whole_run).items():
        assert torch.equal(tensor, weights(tmp_path)[name]), name


def test_rows_after_the_last_checkpoint_are_written_again(tmp_path, whole_run):
    """kill -9 after step 4: the checkpoint is of step 3, the log has a row more."""
    train(tiny(tmp_path, max_steps=3))
    log.append(tmp_path / "log.csv", {"epoch": 1.33, "step": 4, "loss": 99})
    train(tiny(tmp_path))
    assert [row["step"] for row in log.read(tmp_path / "log.csv")] == list(range(7))
    assert losses(tmp_path) == losses(whole_run)


def test_finished_run_stays_as_it_is(tmp_path, whole_run):
    before = losses(whole_run), weights(whole_run)
    train(tiny(whole_run))
    assert losses(whole_run) == before[0]
    assert all(torch.equal(tensor, weights(whole_run)[name]) for name, tensor in before[1].items())


def test_resume_false_starts_afresh(tmp_path, whole_run):
    train(tiny(tmp_path, max_steps=1, seed=5))
    train(tiny(tmp_path, resume=False))
    assert losses(tmp_path) == losses(whole_run)


def test_killed_fresh_start_leaves_nothing_of_the_old_run(tmp_path, whole_run):
    train(tiny(tmp_path, max_steps=3))
    (tmp_path / "checkpoint.pt.1.tmp").write_bytes(b"torn")
    Run(tiny(tmp_path, resume=False), load(TINY)).begin()  # killed before its first step
    assert not list(tmp_path.glob("checkpoint.pt*"))
    assert [row["step"] for row in log.read(tmp_path / "log.csv")] == [0]
    train(tiny(tmp_path))
    assert losses(tmp_path) == losses(whole_run)


def row_of(step, **more):
    return dict.fromkeys(log.COLUMNS, "") | {"step": step, "loss": step / 2} | more


def test_torn_row_is_dropped(tmp_path):
    path = tmp_path / "log.csv"
    for step in (0, 5, 10):
        log.append(path, row_of(step))
    with open(path, "a") as file:
        file.write("1.33,1")  # of 1.33,15,...
    log.cut_after(path, 12, least=10)
    assert [row["step"] for row in log.read(path)] == [0, 5, 10]
    log.cut_after(path, 9, least=5)
    assert [row["step"] for row in log.read(path)] == [0, 5]
    assert [left.name for left in tmp_path.iterdir()] == ["log.csv"]


def test_log_that_cannot_be_cut_stays_whole(tmp_path, monkeypatch):
    path = tmp_path / "log.csv"
    for step in (0, 5, 10):
        log.append(path, row_of(step))
    before = path.read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(csv.DictWriter, "writerow", full)
    monkeypatch.setattr(csv.DictWriter, "writerows", full)
    with pytest.raises(OSError, match="disk full"):
        log.cut_after(path, 5, least=5)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"epoch,step\n0,0\n", b"\xff\xfe", "untrained"])
def test_resuming_without_the_log_is_one_line(content, tmp_path):
    train(tiny(tmp_path, max_steps=3))
    path = tmp_path / "log.csv"
    if content == "untrained":
        content = b"".join(path.read_bytes().splitlines(keepends=True)[:2])
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainerError, match=r"^log: cannot continue .*log.csv: .* or --resume false$") as caught:
        train(tiny(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("what", ["pixels", "labels"])
def test_other_data_is_refused(part, what, whole_run):
    dataset = load(TINY)
    images = getattr(dataset, part)
    changed = getattr(images, what).clone()
    changed.view(-1)[-1] ^= 1
    dataset = dataclasses.replace(dataset, **{part: dataclasses.replace(images, **{what: changed})})
    with pytest.raises(
        TrainerError, match=r"was made with other images or labels; use another --out or --resume false$"
    ):
        train(tiny(whole_run), dataset)


@pytest.mark.parametrize("resume", [True, False])
def test_only_a_resumable_command_is_said_to_resume(resume, tmp_path):
    run = Run(tiny(tmp_path, resume=resume), load(TINY))
    run.begin()
    with pytest.raises(Interrupted, match=r"^stopped: step 0 of 6 saved in ") as caught:
        stop([run], signal.SIGINT)
    assert ("run the same command again to resume" in str(caught.value)) == resume


def test_collapse_alarm_is_in_the_log(tmp_path):
    run = Run(tiny(tmp_path), load(TINY))
    run.begin()
    for best in (1000.0, 1000.0, -1000.0):  # kNN far below the untrained encoder's, twice, then far above
        run.progress.random_knn = best
        run.write_row(run.measure())
    assert [row.get("alarm") for row in log.read(tmp_path / "log.csv")][1:3] == [0, 1]


def test_plot_marks_the_alarm_and_needs_no_first_row(tmp_path):
    for name, alarm in (("quiet", 0), ("alarmed", 1)):
        rows = [{"epoch": e, "loss": -0.5, "knn": 20.0 + e, "rankme": 9.0, "alarm": alarm * (e == 2)} for e in (1, 2)]
        plot({"dssl": [{"epoch": 0.5, "loss": -0.1}, *rows]}, tmp_path / f"{name}.png", "caption")
    assert (tmp_path / "quiet.png").read_bytes() != (tmp_path / "alarmed.png").read_bytes()


def test_image_order_is_a_permutation_keyed_by_seed_and_epoch():
    orders = [image_order(seed, epoch, 100).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert image_order(1, 1, 100).tolist() == orders[3]


def test_views_are_keyed_by_seed_epoch_and_image():
    """Step 4 at three steps an epoch is the second batch of epoch 1."""
    dataset = load(TINY)
    run = Run(tiny("unused", seed=7), dataset)
    ids = torch.from_numpy(np.random.default_rng([7, 1]).permutation(48)[16:32])
    expected = view_maker(TINY)(dataset.train.pixels[ids], seed=7, epoch=1, sample_ids=ids)
    assert all(torch.equal(a, b) for a, b in zip(run.loader.get(4, 6)[0].views, expected, strict=True))


def test_thread_count_is_restored(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train(tiny(tmp_path, max_steps=1, threads=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_sigterm_saves_and_tells_how_to_resume(tmp_path):
    command = tiny_command(tmp_path, "--epochs", "500", "--knn-every", "500")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        while process.poll() is None and not stepping(tmp_path):
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        error = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + signal.SIGTERM
    assert "run the same command again to resume" in error.splitlines()[-1]
    step = checkpoint.load(tmp_path / "checkpoint.pt")["progress"]["step"]
    assert step >= 1 and f"step {step} of 1500" in error.splitlines()[-1]


def stepping(folder):
    return (folder / "log.csv").exists() and len((folder / "log.csv").read_text().splitlines()) > 3


def test_command_trains_and_equals_the_function(tmp_path, whole_run):
    """Another process gives the same bits."""
    done = subprocess.run(tiny_command(tmp_path), capture_output=True, text=True, env=environment(), timeout=240)
    assert done.returncode == 0, done.stderr
    assert "the line to beat" in done.stderr and "effective rank" in done.stderr
    assert losses(tmp_path) == losses(whole_run)


# ---- checkpoints


def test_failed_write_leaves_the_old_checkpoint(tmp_path):
    checkpoint.save({"a": 1}, tmp_path / "checkpoint.pt")
    with pytest.raises(AttributeError):  # a lambda cannot be pickled: torch.save fails half-way
        checkpoint.save({"a": lambda: 0}, tmp_path / "checkpoint.pt")
    assert torch.load(tmp_path / "checkpoint.pt") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_unwritable_place_is_one_line(tmp_path):
    with pytest.raises(TrainerError, match=r"^checkpoint: cannot write .*missing.*checkpoint.pt: ") as caught:
        checkpoint.save({"a": 1}, tmp_path / "missing" / "checkpoint.pt")
    assert "\n" not in str(caught.value)


def test_checkpoint_of_another_architecture_is_one_line(tmp_path, whole_run):
    method = simsiam(dataclasses.replace(TINY, predictor=24))
    with pytest.raises(TrainerError) as caught:
        checkpoint.load_weights(method, weights(whole_run), "old.pt")
    # predictor.0 weight and bias, predictor.1 weight, bias, mean and var, predictor.3 weight: 7 tensors differ
    assert str(caught.value).startswith("checkpoint: old.pt holds another architecture: ")
    assert "7 do not; predictor.0.bias is (16,) there, (24,) here" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 torn"])
def test_damaged_checkpoint_is_one_line(content, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(TrainerError, match=r"^checkpoint: cannot read .*checkpoint.pt: ") as caught:
        train(tiny(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", ["config", "model", "optimizer", "progress"])
@pytest.mark.parametrize("value", [3, {"x": 3}, [None]])
def test_checkpoint_with_a_damaged_entry_is_one_line(entry, value, tmp_path, whole_run):
    state = checkpoint.load(whole_run / "checkpoint.pt") | {entry: value}
    checkpoint.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(TrainerError, match=r"checkpoint.pt") as caught:
        Run(tiny(tmp_path), load(TINY)).begin()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [ValueError, KeyError, IndexError, TypeError, AttributeError])
def test_damage_of_every_kind_is_one_line(error, tmp_path, monkeypatch):
    def damaged(*_, **__):
        raise error("first\nsecond")

    monkeypatch.setattr(torch, "load", damaged)
    with pytest.raises(TrainerError, match=r"^checkpoint: cannot read .*checkpoint.pt: ") as caught:
        checkpoint.load(tmp_path / "checkpoint.pt")
    assert "\n" not in str(caught.value)


def test_checkpoint_with_other_settings_is_refused(whole_run):
    with pytest.raises(TrainerError, match=r"was made with lr 0.06, not 0.1; use another --out or --resume false"):
        train(tiny(whole_run, lr=0.1))
    with pytest.raises(TrainerError, match="was made with limit_train 48, not 32"):
        train(tiny(whole_run, limit_train=32))


def test_checkpoint_loads_without_running_code(whole_run):
    state = torch.load(whole_run / "checkpoint.pt", weights_only=True)
    assert state["config"] == as_dict(tiny(whole_run)) and state["progress"]["step"] == 6
