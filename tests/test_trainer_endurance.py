"""Runs that are killed, that collapse, that drift, and every cell of method and variant from end to end."""

import math
import os
import random
import shlex
import subprocess
import time
from pathlib import Path

import pytest
import torch
from dssl_trainer import checkpoint, log
from dssl_trainer.data import load
from dssl_trainer.data.loader import Loader
from dssl_trainer.errors import TrainerError
from dssl_trainer.learner import Learner
from dssl_trainer.train import train
from trainer_setup import METHODS, VARIANTS, environment, losses, tiny, tiny_command, weights

PLACES = (os.environ.get("DSSL_TEST_CIFAR10"), Path(__file__).parents[2] / "shared/data/cifar10")


def real_images():
    """The folder with CIFAR-10 where there is one, else drawn images."""
    return next((str(place) for place in PLACES if place and Path(place).is_dir()), "drawn")


@pytest.fixture(scope="module")
def images():
    return load(tiny("unused", data=real_images()))


@pytest.fixture
def no_pictures(monkeypatch):
    """Half of such a short run is drawing; test_trainer_run.py looks at what is drawn."""
    for name in ("draw_run", "plot"):
        monkeypatch.setattr(f"dssl_trainer.run.{name}", lambda *_: None)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_and_variant_runs(method, variant, tmp_path, no_pictures, images):
    result = train(tiny(tmp_path, method, variant=variant, data=real_images(), epochs=1), images)
    rows = log.read(tmp_path / "log.csv")
    assert [row["step"] for row in rows] == [0, 1, 2, 3] and 0 <= result["knn"] <= 100
    for row in rows[1:]:
        assert math.isfinite(row["loss"]) and row["grad_norm"] > 0 and 0 <= row["constant"] <= 1
        names = {name for name in ("sv_sv", "sv_hv", "hv_hv") if name in row}
        expected = {"baseline": {"sv_sv"}, "heavy": {"hv_hv"}}.get(variant, {"sv_sv", "sv_hv"})
        assert expected <= names and all(-1 <= row[name] <= 1 for name in names)
        assert ("ema" in row) == (method in ("byol", "mocov2"))
        if method in ("simclr", "mocov2", "barlow"):
            assert row["loss"] == pytest.approx(row["loss_symmetric"] + row.get("loss_directed", 0), rel=1e-5)
    assert not list(tmp_path.glob("*.tmp"))


# ---- kill -9


OTHERS = [pytest.mark.slow, pytest.mark.exhaustive]  # and tests/hardening/kills.py kills ten runs of each method


@pytest.mark.parametrize(
    "method", ["simsiam", "mocov2", *(pytest.param(name, marks=OTHERS) for name in ("byol", "simclr", "barlow"))]
)
def test_killed_run_goes_on_bit_for_bit(method, tmp_path, no_pictures):
    """kill -9 at a random step of another process; optimiser, slow network, queue and order go on as if nothing was."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    changes = {"epochs": 5, "knn_every": 5, "symmetric": True, "bn_splits": 2}
    train(tiny(whole, method, **changes))
    rows = random.randint(2, 12)
    with subprocess.Popen(command(killed, method, changes), stderr=subprocess.DEVNULL, env=environment()) as process:
        while process.poll() is None and rows_of(killed) < rows:
            time.sleep(0.02)
        process.kill()
    reached = rows_of(killed)
    assert reached >= rows, "the command failed by itself"
    train(tiny(killed, method, **changes))
    assert losses(killed) == losses(whole), f"killed after {reached} rows"
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(killed)[name]), name


def rows_of(folder):
    path = folder / "log.csv"
    return len(path.read_text().splitlines()) if path.exists() else 0


def command(folder, method, changes):
    """`dssl train` with the settings of tiny(folder, method, **changes)."""
    config = tiny(folder, method, **changes)
    return tiny_command(folder, config=config)


@pytest.mark.parametrize("limit, name", [(100, "gallery.png"), (600, "checkpoint.pt")])
def test_full_disk_is_one_line_that_names_the_file(limit, name, tmp_path):
    """The kernel itself refuses: no file may have more than `limit` KiB. The first write that fails ends the run."""
    if name == "checkpoint.pt":
        train(tiny(tmp_path, max_steps=3))
        before = (tmp_path / name).read_bytes()
    options = shlex.join(tiny_command(tmp_path))
    done = subprocess.run(["bash", "-c", f"ulimit -f {limit}; {options}"], capture_output=True, text=True,
                          env=environment(), timeout=300)  # fmt: skip
    said = [line for line in done.stderr.splitlines() if line.startswith("dssl train:")]
    assert done.returncode == 2 and len(said) == 1 and "File too large" in said[0] and name in said[0], done.stderr
    assert not list(tmp_path.glob("*.tmp"))
    if name == "checkpoint.pt":
        assert (tmp_path / name).read_bytes() == before and checkpoint.load(tmp_path / name)["progress"]["step"] == 3


@pytest.mark.parametrize("when", ["record.replacing", "checkpoint.torch.save"])
def test_failing_disk_leaves_the_last_good_checkpoint(when, tmp_path, monkeypatch):
    train(tiny(tmp_path, max_steps=3))
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"dssl_trainer.{when}", full)
    with pytest.raises((OSError, TrainerError), match="No space left on device"):
        train(tiny(tmp_path))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before and not list(tmp_path.glob("*.tmp"))
    monkeypatch.undo()
    train(tiny(tmp_path))
    assert max(losses(tmp_path)) == 6


def test_checkpoints_that_stay(tmp_path):
    train(tiny(tmp_path, keep_every=1))
    kept = sorted(path.name for path in tmp_path.glob("checkpoint*.pt"))
    assert kept == ["checkpoint-epoch1.pt", "checkpoint-epoch2.pt", "checkpoint.pt"]
    assert checkpoint.load(tmp_path / "checkpoint-epoch1.pt")["progress"]["step"] == 3


@pytest.mark.parametrize("method, prefixes", [
    ("simsiam", {"encoder", "projector", "predictor"}),
    ("byol", {"encoder", "projector", "predictor", "target"}),
    ("mocov2", {"encoder", "projector", "slow", "queue", "passes"}),
    ("simclr", {"encoder", "projector"}),
])  # fmt: skip
def test_state_dict_is_as_documented(method, prefixes):
    state = Learner(tiny("x", method), 3).state()["model"]
    assert {name.split(".")[0] for name in state} == prefixes
    assert all(f"{prefix}." in checkpoint.__doc__ or prefix in checkpoint.__doc__ for prefix in prefixes)


# ---- collapse


def test_collapse_ends_the_run_well(tmp_path, capfd, monkeypatch):
    found = {"knn": 9.0, "rankme": 1.0, "std": 0.01}
    monkeypatch.setattr("dssl_trainer.run.evaluate", lambda *_: dict(found))
    result = train(tiny(tmp_path, epochs=5, knn_every=1, checkpoint_every=5, on_collapse="stop"))
    said = capfd.readouterr().err
    assert result["step"] == 6 and "COLLAPSE ALARM at step 6: std of l2-normalised features 0.010 < 0.1" in said
    assert "collapsed: step 6" in said and (tmp_path / "plot.png").exists()
    assert checkpoint.load(tmp_path / "checkpoint.pt")["progress"]["step"] == 6
    assert train(tiny(tmp_path, epochs=5, knn_every=1, on_collapse="stop"))["step"] == 6  # it stays stopped
    assert train(tiny(tmp_path, epochs=5, knn_every=1))["step"] == 15  # unless told to go on


def test_fresh_start_takes_no_result_of_the_old_run_along(tmp_path):
    """Both end at step 6: the old run's evaluation would pass for that of the new one."""
    train(tiny(tmp_path))
    (tmp_path / "evaluation-knn.json").write_text('{"protocol": "knn", "top1": 99.0, "step": 6}')
    assert train(tiny(tmp_path))["step"] == 6 and (tmp_path / "evaluation-knn.json").exists()  # nothing new was trained
    train(tiny(tmp_path, seed=1, resume=False))
    assert not (tmp_path / "evaluation-knn.json").exists()


# ---- drift


# Losses of ten steps in float64. Another processor sums in another order, a relative change of 1e-16. These tiny
# batches multiply changes: noise of 1e-7 on the images moved a loss by up to 0.05, so float32 would guard nothing
# here; noise of 1e-12 moved none by more than 2e-9. Hence float64, and 1e-6.
GOLDEN = {
    "simsiam": [
        0.0492913975,
        -0.0579292087,
        -0.043204293,
        -0.10283202,
        0.0318905475,
        -0.0926127708,
        -0.12869398,
        -0.171643379,
        -0.23416481,
        -0.172865084,
    ],
    "byol": [
        -0.142164777,
        -0.24962428,
        -0.373497931,
        -0.553509731,
        -0.745492167,
        -0.902423625,
        -0.925987376,
        -1.03387569,
        -1.09699018,
        -1.14448729,
    ],
    "simclr": [
        3.39622931,
        2.69760948,
        2.88450919,
        3.33374279,
        3.13732117,
        2.55397624,
        3.65668749,
        3.15557177,
        2.96756981,
        3.28763558,
    ],
    "mocov2": [
        -0.867988686,
        1.98590524,
        2.59501452,
        3.14786725,
        3.08759571,
        3.48748957,
        3.51405616,
        3.32221306,
        3.03558886,
        3.18153635,
    ],
    "barlow": [
        26.662304,
        20.4771101,
        6.91229551,
        34.9708769,
        5.50471351,
        5.26865911,
        24.2748403,
        32.0541695,
        25.0883536,
        20.0996366,
    ],
}


@pytest.mark.parametrize("method", METHODS)
def test_ten_golden_steps(method, double):
    assert ten_steps(method) == [pytest.approx(loss, rel=1e-6, abs=1e-6) for loss in GOLDEN[method]]


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def ten_steps(method, perturbed=0.0):
    config = tiny("unused", method, epochs=4)
    loader, learner, found = Loader(load(config).train, config), Learner(config, 3), []
    for step in range(10):
        (batch,) = loader.get(step, 10)
        views = [view.double() * (1 + perturbed * torch.randn(view.shape)) for view in batch.views]
        found.append(learner.step([batch._replace(views=views)], step).loss)
    return found
