"""Faults of a training run: kills, full disks, files that vanish, numbers that are none, processes that are lost."""

import dataclasses
import math
import os
import random
import shutil
import signal
import subprocess
import time
import zipfile

import kills
import pytest
import torch
from dssl_trainer import checkpoint, log
from dssl_trainer.data import load
from dssl_trainer.data.drawn import draw
from dssl_trainer.device import threads
from dssl_trainer.errors import TrainerError
from dssl_trainer.run import MOST_SKIPPED, Run
from dssl_trainer.train import train
from forks import forked, limit
from PIL import Image
from trainer_setup import METHODS, environment, losses, tiny, tiny_command, weights


@pytest.fixture
def no_pictures(monkeypatch):
    for name in ("draw_run", "plot"):
        monkeypatch.setattr(f"dssl_trainer.run.{name}", lambda *_: None)


@pytest.fixture
def one_thread():
    """What `train` sets by the settings and Run alone does not: sums of float32 differ with the threads."""
    with threads(1):
        yield


@pytest.mark.exhaustive
def test_killed_run_ends_as_the_one_that_nobody_killed(tmp_path, no_pictures):
    """One of the kills of `python tests/hardening/kills.py`, at another point every time."""
    whole = kills.Whole(tmp_path / "whole", random.choice(METHODS))
    seconds = random.uniform(0, 0.9 * whole.seconds)
    _, step, wrong = kills.kill_and_resume(whole, tmp_path / "run", seconds)
    assert not wrong, f"{whole.method} killed after {seconds} s of its processor time, checkpoint of step {step}"


def test_litter_of_killed_processes_is_swept_and_of_living_ones_not(tmp_path, no_pictures):
    train(tiny(tmp_path, max_steps=3))
    gone = forked(lambda: 0)
    os.waitpid(gone, 0)
    for pid in (gone, os.getppid()):
        (tmp_path / f"checkpoint.pt.{pid}.tmp").write_bytes(b"torn")
    train(tiny(tmp_path, max_steps=3))
    assert [path.name for path in tmp_path.glob("*.tmp")] == [f"checkpoint.pt.{os.getppid()}.tmp"]


# ---- full disk


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_disk_full_while_checkpointing(share, tmp_path):
    """The old checkpoint loads, nothing else is left, the error says why (torch hides it where not a byte fits)."""
    path = tmp_path / "checkpoint.pt"
    state = {"a": torch.randn(300, 100), "b": [torch.randn(100) for _ in range(20)]}
    checkpoint.save(state, path)
    whole = path.read_bytes()

    def full():
        limit(int(share * len(whole)))()
        try:
            checkpoint.save({"a": torch.zeros(300, 100), "b": state["b"]}, path)
        except TrainerError as error:
            return (
                7
                if str(error).startswith("checkpoint: cannot write") and ("File too large" in str(error) or not share)
                else 8
            )

    assert os.waitstatus_to_exitcode(os.waitpid(forked(full), 0)[1]) == 7
    assert path.read_bytes() == whole and [left.name for left in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_run_on_a_full_disk_ends_in_one_line_and_goes_on_later(tmp_path, no_pictures):
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(tiny(whole))
    train(tiny(run, max_steps=3))
    full = limit((run / "checkpoint.pt").stat().st_size // 2)
    done = subprocess.run(
        tiny_command(run), preexec_fn=full, env=environment(), stderr=subprocess.PIPE, text=True, timeout=120
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr and f"{run / 'checkpoint.pt'}" in last, done.stderr
    assert checkpoint.load(run / "checkpoint.pt")["progress"]["step"] == 3 and not list(run.glob("*.tmp"))
    train(tiny(run))
    assert losses(run) == losses(whole)


# ---- data


@pytest.fixture
def images(tmp_path):
    """A tree of files that are decoded when their step comes."""
    pixels, labels = draw(60, seed=1)
    for i, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        path = tmp_path / "data" / ("train" if i < 48 else "test") / f"class{labels[i] % 3}" / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "data"


def settings(folder, data, **changes):
    changes = {"data": str(data), "dataset": "imagenet", "limit_train": 0, "limit_test": 0} | changes
    return tiny(folder, **changes)


@pytest.mark.parametrize("damage", ["vanishes", "turns corrupt", "is cut off"])
@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.exhaustive), 2])
def test_file_that_changes_in_mid_epoch_ends_the_run_with_its_name(
    damage, workers, tmp_path, images, no_pictures, one_thread
):
    """The last step meets it: what was trained is kept, and with the file back the run ends as if nothing was."""
    train(settings(tmp_path / "whole", images))
    run = Run(settings(tmp_path / "run", images, workers=workers), load(settings("x", images)))
    victim = run.loader.images.members[int(run.loader.make(5)[0].ids[0])].path
    shutil.copy(victim, tmp_path / "kept")
    run.begin()
    run.bar = type("Bar", (), {"update": lambda *_: None, "set_postfix_str": lambda *_, **__: None})()
    for _ in range(3):
        run.step()
        run.after_step()
    if damage == "vanishes":
        os.unlink(victim)
    else:
        content = (tmp_path / "kept").read_bytes()
        with open(victim, "wb") as file:
            file.write(b"junk" * 99 if damage == "turns corrupt" else content[: len(content) // 2])
    with pytest.raises(TrainerError, match=rf"^data: cannot decode {victim}: ") as caught:
        while True:
            run.step()
            run.after_step()
    run.loader.close()
    assert "\n" not in str(caught.value)
    assert checkpoint.load(tmp_path / "run" / "checkpoint.pt")["progress"]["step"] == 5
    shutil.copy(tmp_path / "kept", victim)
    train(settings(tmp_path / "run", images, workers=workers))
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_zip_that_is_cut_off_in_mid_epoch(tmp_path, images):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in images.rglob("*.png"):
            archive.write(path, path.relative_to(images))
    members = load(settings("x", tmp_path / "x.zip")).train
    os.truncate(tmp_path / "x.zip", 2000)
    with pytest.raises(TrainerError, match=r"^data: cannot decode .* in .*x\.zip: "):
        members.batch(torch.arange(48))


# ---- numbers that are none


def poisoned(monkeypatch, steps, part=0):
    """The given steps' batches turn NaN in one part, as a fault of the hardware or an overflow would."""
    from dssl_trainer.learner import Learner

    right = Learner.step

    def step(self, batches, number):
        if number in steps:
            batches = list(batches)
            views = [view * math.nan for view in batches[part].views]
            batches[part] = batches[part]._replace(views=views)
        return right(self, batches, number)

    monkeypatch.setattr(Learner, "step", step)


def test_nan_stops_the_run_and_names_step_and_batch(tmp_path, monkeypatch, no_pictures):
    poisoned(monkeypatch, {4}, part=1)
    config = tiny(tmp_path, accumulate=2)
    ids = Run(config, load(config)).loader.make(4)[1].ids.tolist()
    named = ", ".join(map(str, ids[:4]))
    with pytest.raises(TrainerError, match=rf"^loss is nan at step 4, part 2 of 2, of images {named}, \.\.; "):
        train(config)
    assert checkpoint.load(tmp_path / "checkpoint.pt")["progress"]["step"] == 3
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())
    monkeypatch.undo()
    train(config)
    assert max(losses(tmp_path)) == 6


@pytest.mark.parametrize("method", METHODS)
def test_skipped_step_changes_nothing_but_the_count(method, tmp_path, monkeypatch, no_pictures, capfd):
    """Batch norm's statistics, the queue, slow networks: all as before the step."""
    poisoned(monkeypatch, {1}, part=1)
    config = tiny(tmp_path, method, accumulate=2, on_nan="skip", bn_splits=1)
    run = Run(config, load(config))
    run.bar = type("Bar", (), {"update": lambda *_: None, "set_postfix_str": lambda *_, **__: None})()
    run.step()
    before = {name: tensor.clone() for name, tensor in run.learner.state()["model"].items()}
    run.step()
    after = run.learner.state()["model"]
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert run.progress.step == 2 and run.progress.skipped == 1 and run.progress.loss_count == 1
    assert "left out: loss is nan at step 1, part 2 of 2" in capfd.readouterr().err
    run.step()
    assert run.progress.loss_count == 2 and math.isfinite(run.last_loss)


def test_gradient_that_is_not_finite_is_noticed_where_the_loss_is(tmp_path, monkeypatch):
    config = tiny(tmp_path)
    run = Run(config, load(config))
    parameter = next(run.method.parameters())
    parameter.register_hook(lambda gradient: gradient * math.inf)
    before = parameter.detach().clone()
    with pytest.raises(TrainerError, match=r"^gradient is not finite at step 0, though its loss "):
        run.step()
    assert torch.equal(parameter, before)


def test_skipping_ends_where_the_weights_are_at_fault(tmp_path, monkeypatch, no_pictures):
    poisoned(monkeypatch, range(3, 99))
    with pytest.raises(TrainerError, match=f"at step {3 + MOST_SKIPPED - 1}.*as in the {MOST_SKIPPED - 1} steps"):
        train(tiny(tmp_path, epochs=9, on_nan="skip"))
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())


# ---- processes


def processes(folder, count, **changes):
    """Ranks without torchrun, which would end them itself."""
    config = tiny(folder, epochs=500, knn_every=500, batch_size=12, limit_train=36, **changes)
    port = str(20000 + random.randrange(9999))
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            tiny_command(folder, config=config), stderr=subprocess.PIPE, text=True,
            env=environment() | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]  # fmt: skip


def rows_of(folder):
    path = folder / "log.csv"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.parametrize("count", [2, 3])
def test_lost_process_ends_all(how, count, tmp_path):
    timeout = 20 if how == "stopped" else 7200
    ranks = processes(tmp_path, count, rank_timeout=timeout)
    try:
        while rows_of(tmp_path) < 8 and all(rank.poll() is None for rank in ranks):
            time.sleep(0.1)
        lost = ranks.pop(random.randrange(count))
        lost.send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        for rank in ranks:
            error = rank.communicate(timeout=timeout + 60)[1] if how == "stopped" else rank.communicate(timeout=60)[1]
            assert rank.returncode == 2 and "another process was lost, or did not come within" in error, error
            assert "Traceback" not in error
    finally:
        for rank in [*ranks, lost]:
            rank.kill()
            rank.communicate()
    assert checkpoint.load(tmp_path / "checkpoint.pt")["progress"]["step"] >= 3
    assert not list(tmp_path.glob("*.tmp"))
    config = tiny(tmp_path, epochs=500, knn_every=500, batch_size=12, limit_train=36)
    step = checkpoint.load(tmp_path / "checkpoint.pt")["progress"]["step"]
    train(dataclasses.replace(config, max_steps=step + 3))
    assert max(row["step"] for row in log.read(tmp_path / "log.csv")) == step + 3
