"""Recipes: their numbers, what `dssl show` prints, where settings came from, and combinations that cannot be."""

import csv
import dataclasses
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from dssl_trainer import checkpoint, cli, log
from dssl_trainer.config import Config
from dssl_trainer.data import load
from dssl_trainer.data.dataset import Files
from dssl_trainer.data.loader import image_order
from dssl_trainer.data.views import view_maker
from dssl_trainer.encoders import ENCODERS
from dssl_trainer.errors import TrainerError
from dssl_trainer.experiments import EXPERIMENTS
from dssl_trainer.presets import PRESETS
from dssl_trainer.train import train
from PIL import Image
from torchvision.transforms import functional as TF
from trainer_setup import METHODS, losses, tiny, tiny_command

from dssl_ops.transforms import DirectedViews

FULL = {  # facts of the recipes, copied from their sources
    "simsiam-imagenet": {"lr": 0.1, "weight_decay": 1e-4, "projector": (2048, 2048, 2048), "projector_norm": "affine",
                         "predictor": 512, "schedule": "epoch", "warmup_epochs": 0, "fan_in_init": True},
    "byol-cifar10": {"lr": 0.06, "projector": (4096, 256), "predictor": 4096, "ema": 0.99, "ema_schedule": "constant"},
    "byol-imagenet": {"lr": 0.1, "weight_decay": 1e-4, "projector": (4096, 256), "predictor": 4096, "ema": 0.99},
    "simclr-cifar10": {"optimizer": "lars", "lr": 2.0, "temperature": 0.5, "blur": (0.0, 0.0), "normalize": False},
    "simclr-imagenet": {"optimizer": "lars", "lr": 0.6, "weight_decay": 1e-6, "temperature": 0.1, "warmup_epochs": 10,
                        "projector": (2048, 128), "projector_norm": "scale", "jitter": (0.8, 0.8, 0.8, 0.2)},
    "mocov2-cifar10": {"lr": 0.06, "projector": (128,), "queue": 4096, "ema": 0.99, "temperature": 0.1, "bn_splits": 8},
    "mocov2-imagenet": {"lr": 0.06, "queue": 65536, "ema": 0.999, "temperature": 0.2, "projector": (2048, 128)},
    "barlow-imagenet": {"lr": 0.4, "lr_1d": 0.0096, "lr_end": 0.001, "weight_decay": 1e-6, "lambd": 0.0051,
                        "projector": (8192, 8192, 8192), "zero_init": True, "blur": (1.0, 0.1), "solarize": (0.0, 0.2)},
}  # fmt: skip


@pytest.mark.parametrize("name", FULL)
def test_full_recipes_hold_the_documented_numbers(name):
    config = vars(PRESETS[name]["full"])
    assert {key: config[key] for key in FULL[name]} == FULL[name]
    dataset = {"cifar10": ("resnet18_cifar", 800, 32), "imagenet": ("resnet50", 100, 224)}[config["dataset"]]
    assert (config["encoder"], config["epochs"], config["image_size"]) == dataset and config["batch_size"] == 512


def test_every_method_has_both_data_sets_and_scales():
    assert set(PRESETS) == {f"{m}-{d}" for m in METHODS for d in ("cifar10", "imagenet")}
    assert all(scales.keys() == {"small", "full"} and {c.scale for c in scales.values()} == {"small", "full"}
               for scales in PRESETS.values())  # fmt: skip
    assert all(config.encoder in ENCODERS for scales in PRESETS.values() for config in scales.values())


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("variant", ["baseline", "heavy", "dssl", "soft"])
def test_views_of_every_recipe_can_be_made(name, variant):
    config = Config(**vars(PRESETS[name]["small"]) | {"variant": variant})
    images = torch.randint(0, 256, (2, 3, config.image_size, config.image_size), dtype=torch.uint8)
    views = view_maker(config)(images, seed=0)
    two = variant in ("baseline", "heavy") and config.method not in ("simsiam", "byol")
    assert len(views) == (2 if two else 4)


def test_the_authors_harder_byol_views_are_reachable():
    small = PRESETS["byol-imagenet"]["small"]
    config = dataclasses.replace(small, heavy="byol_harder")
    images = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    found = view_maker(config, normalized=False)(images, seed=1)
    expected = DirectedViews.byol_harder(64)(images, seed=1)
    assert torch.equal(torch.stack(list(found)), torch.stack(list(expected)))
    with pytest.raises(TrainerError, match=r"^heavy byol_harder is of op_set author16; got ra14$"):
        dataclasses.replace(config, op_set="ra14")


def test_commands_of_one_process_say_so_under_torchrun(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for arguments in (["evaluate", "run"], ["detect", "run", "--data", "coco"], ["export", "run", "--to", "timm"]):
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err == f"dssl {arguments[0]}: it is one process; start it without torchrun\n"


def test_show_prints_every_setting_with_its_origin(capsys):
    assert cli.main(["show", "barlow-imagenet", "--scale", "full", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:3] for line in said.splitlines()[7:] if line}
    assert rows["lr_1d"] == ["0.0096", "preset"] and rows["delta"] == ["0.0", "preset"]
    assert rows["seed"] == ["3", "command"] and rows["knn_k"] == ["200", "default"]
    assert set(vars(PRESETS["barlow-imagenet"]["full"])) <= set(rows) and "Barlow Twins on ImageNet" in said


def test_run_keeps_the_origin_of_its_settings_and_images(tmp_path):
    assert cli.main(tiny_command(str(tmp_path), "--max-steps", "1")[3:]) == 0
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["origin"]["lr"] == "preset" and record["origin"]["knn_temperature"] == "default"
    assert record["origin"]["batch_size"] == "command line" and record["settings"]["batch_size"] == 16
    assert set(record["origin"]) == set(record["settings"])
    assert record["images"] == f"{load(tiny(tmp_path)).crc():08x}"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--heavy-from", "crop", "--variant", "soft"], "variant soft needs heavy_from view"),
        (["--bn-splits", "3"], "batch_size 128 must be a multiple of accumulate x bn_splits (1 x 3)"),
        (["--alpha", "0", "--gamma", "0"], "alpha, beta, gamma and delta are all 0"),
        (["--gamma", "-1"], "gamma: must be at least 0; got -1.0"),
        (["--heavy", "RA(2,5"], "policy: "),
        (["--heavy", "Rand(2,5)"], "policy: expected one of RA, UA"),
        (["--blur", "0.5"], "blur: expected 2 values; got '0.5'"),
        (["--jitter", "0.4-0.4-x-0.1"], "--jitter: expected numbers such as 0.5-0; got '0.4-0.4-x-0.1'"),
        (["--encoder", "resnet99"], "encoder: expected one of resnet10_eighth, "),
        (["--on-collapse", "cry"], "on_collapse: expected one of warn, stop"),
        (["--data", "hf:nothing"], "data: hf:nothing needs the package datasets"),
    ],
)
def test_impossible_combinations_end_in_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    code = cli.main(["train", "simsiam-cifar10", "--data", "drawn", "--out", str(tmp_path / "run"), *arguments])
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dssl train:")]
    assert code == 2 and len(error) == 1 and message in error[0] and not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [("lr", "0.1"), ("epochs", 1.5), ("projector", 64), ("normalize", 1), ("seed", True)])
def test_recipes_are_typed(value):
    with pytest.raises(TrainerError, match=rf"^{value[0]}: expected "):
        Config(**dict([value]))


# ---- ImageNet folders, Hugging Face, what a row of the log says


@pytest.fixture
def photos(tmp_path):
    """Noise of several sizes: 24 training and 8 validation images of two classes."""
    random = np.random.default_rng(0)
    for i in range(32):
        path = tmp_path / ("train" if i < 24 else "val") / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40 + i, 70 - i, 3), dtype=np.uint8)).save(path)
    return tmp_path


def folder_run(photos, out, **changes):
    return tiny(out, dataset="imagenet", data=str(photos), limit_train=0, limit_test=0, batch_size=8, **changes)


def test_files_are_decoded_in_workers_with_the_same_result(photos, tmp_path):
    for workers in (0, 3):
        train(folder_run(photos, tmp_path / str(workers), workers=workers))
    assert losses(tmp_path / "0") == losses(tmp_path / "3") and len(losses(tmp_path / "0")) == 6


def test_evaluation_sees_the_centre_of_the_resized_image(photos):
    part = load(folder_run(photos, "x")).test
    assert isinstance(part, Files)
    for i, plain in enumerate(part.plain(torch.arange(8))):
        with Image.open(part.members[i].path) as image:
            short = TF.resize(image, round(32 * 8 / 7), antialias=True)  # torchvision's, on Pillow images
            expected = TF.pil_to_tensor(TF.center_crop(short, [32, 32]))
        assert torch.equal(plain, expected)


def test_files_that_moved_are_the_same_data(photos):
    """A run goes on where its images have another path, as on another machine."""
    before = load(folder_run(photos, "x")).crc()
    moved = photos / "elsewhere"
    moved.mkdir()
    for split in ("train", "val"):
        (photos / split).rename(moved / split)
    assert load(folder_run(moved, "x")).crc() == before
    (moved / "val" / "a" / "24.png").rename(moved / "val" / "a" / "other.png")
    assert load(folder_run(moved, "x")).crc() != before


def test_shorter_side_is_exact(monkeypatch):
    """98 x (256 / 98) is 255.99..: it was cut to 255."""
    pixels = np.random.default_rng(0).integers(0, 256, (98, 301, 3), dtype=np.uint8)
    monkeypatch.setattr("dssl_trainer.data.dataset.decode_one", lambda member: pixels)
    found = Files([], torch.empty(0), 224, 0).centre(None)
    expected = TF.center_crop(TF.resize(Image.fromarray(pixels), 256, antialias=True), [224, 224])
    assert np.array_equal(found, np.asarray(expected))


def test_corrupt_file_ends_the_run_in_one_line_and_the_run_goes_on_once_mended(photos, tmp_path):
    """The file of epoch 2's last image: what the epoch has trained until then is kept."""
    config = folder_run(photos, tmp_path / "run", max_steps=3)
    train(config)
    victim = Path(load(config).train.members[image_order(config.seed, 1, 24)[-1]].path)
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainerError, match=rf"^data: cannot decode .*{victim.name}: ") as caught:
        train(folder_run(photos, tmp_path / "run", workers=2))
    assert "\n" not in str(caught.value)
    assert checkpoint.load(tmp_path / "run" / "checkpoint.pt")["progress"]["step"] == 5
    victim.write_bytes(whole)
    train(folder_run(photos, tmp_path / "run"))
    train(folder_run(photos, tmp_path / "whole"))
    assert losses(tmp_path / "run") == losses(tmp_path / "whole") and max(losses(tmp_path / "run")) == 6


def test_hugging_face_data_sets(monkeypatch):
    random = np.random.default_rng(0)

    class Split:
        def __init__(self, count):
            self.features = {"img": None, "label": types.SimpleNamespace(names=["ant", "bee"])}
            self.pixels = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)

        def __getitem__(self, key):
            if key == "label":
                return [i % 2 for i in range(len(self.pixels))]
            return {"img": Image.fromarray(self.pixels[key])}

    splits = {"train": Split(20), "test": Split(6)}
    fake = types.SimpleNamespace(load_dataset=lambda name: splits, __version__="4.0.0")
    monkeypatch.setitem(sys.modules, "datasets", fake)
    dataset = load(Config(data="hf:insects"))
    for part, split in ((dataset.train, splits["train"]), (dataset.test, splits["test"])):
        assert np.array_equal(part.pixels.permute(0, 2, 3, 1).numpy(), split.pixels)
        assert part.labels.tolist() == split["label"]
    assert dataset.classes == ("ant", "bee") and "insects" in dataset.about


def test_numbers_in_the_log_have_nine_digits_at_most(tmp_path):
    log.append(tmp_path / "log.csv", {"step": 7, "knn": 100 * 0.4513, "loss": float(np.float32(-0.1)) / 3})
    with open(tmp_path / "log.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["knn"] == "45.13" and row["step"] == "7" and row["loss"] == "-0.0333333338"


def test_tensorboard_holds_the_rows(tmp_path):
    pytest.importorskip("tensorboard", reason="an optional package")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step in (1, 2):
        log.append_tensorboard(tmp_path, {"step": step, "epoch": 0.5, "loss": step / 4})
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.25), (2, 0.5)]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_resumes(precision, tmp_path):
    train(tiny(tmp_path / "whole", "simclr", precision=precision))
    train(tiny(tmp_path / "cut", "simclr", precision=precision, max_steps=4))
    train(tiny(tmp_path / "cut", "simclr", precision=precision))
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def test_compiled_and_deterministic_steps_equal_plain_ones(tmp_path, monkeypatch):
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: real(module, backend="eager"))  # traces; compiles no C++
    train(tiny(tmp_path / "plain", max_steps=2))
    train(tiny(tmp_path / "compiled", max_steps=2, compile=True, deterministic=True))
    assert losses(tmp_path / "plain") == losses(tmp_path / "compiled")
    assert not torch.are_deterministic_algorithms_enabled()


# ---- tables and figures


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_cells_of_tables_are_runs_that_can_be(name):
    cells = EXPERIMENTS[name]
    assert len({(cell.recipe, tuple(sorted(cell.settings.items()))) for cell in cells}) == len(cells) > 1
    for cell in cells:
        for scale in ("small", "full"):
            config = cell.config(scale)
            side = config.image_size
            maker = view_maker(config)
            assert len(maker(torch.zeros(1, 3, side, side, dtype=torch.uint8), seed=0)) in (2, 4)
            assert all(str(getattr(config, key)) == text or float(text) == getattr(config, key)
                       for key, text in cell.settings.items())  # fmt: skip


def test_cells_hold_the_papers_numbers():
    """Sums over the tables as the facts list them; 4 of the cells of Tables 2 to 4 collapse."""
    cells = [cell for name in ("table2", "table3", "table4") for cell in EXPERIMENTS[name]]
    tables = [cell.paper for cell in cells if cell.paper is not None]
    assert tables.count("collapse") == 4 and len(tables) == 24 + 8 + 6
    assert sum(number for number in tables if number != "collapse") == pytest.approx(
        (91.5 + 92.2 + 93.2) + (92.2 + 94.4 + 94.7) + (92.1 + 94.5) + (59.5 + 60.0 + 60.3) + (67.8 + 68.3 + 68.3)
        + (67.4 + 68.6) + (64.4 + 64.2 + 65.3) + (62.4 + 62.0 + 62.6) + (92.2 + 84.1 + 94.4 + 94.0)
        + (67.8 + 60.6 + 67.8) + (55.7 + 60.8 + 67.1 + 69.3 + 67.7), abs=1e-6
    )  # fmt: skip
    assert [cell.paper for cell in EXPERIMENTS["fig4"]] == [
        "collapse", 59.7, 20.4, "collapse", 93.1, "collapse", 93.7, 94.2]  # fmt: skip
