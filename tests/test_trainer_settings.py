"""Settings, presets and command lines."""

import dataclasses

import pytest
from dssl_trainer import cli
from dssl_trainer.config import Config, override
from dssl_trainer.presets import PRESETS
from trainer_setup import SMALL, tiny_command

COMMON = {
    "method": "simsiam", "dataset": "cifar10", "variant": "dssl", "image_size": 32,
    "op_set": "author16", "heavy": "RA(2,5)+Jigsaw(4)", "heavy_from": "view",
    "alpha": 1, "beta": 0, "gamma": 1, "delta": 0,
    "loss_scale": "sum", "lr": 0.06, "momentum": 0.9, "weight_decay": 5e-4, "max_steps": 0, "seed": 0,
    "knn_k": 200, "knn_temperature": 0.1, "limit_train": 0, "limit_test": 0,
}  # fmt: skip
SCALES = {
    "small": {
        "encoder": "resnet10_half", "projector": (512, 512), "predictor": 128, "batch_size": 128, "epochs": 10,
        "warmup_epochs": 0, "schedule": "step", "precision": "auto", "knn_every": 2,
    },
    "full": {
        "encoder": "resnet18_cifar", "projector": (2048, 2048), "predictor": 512, "batch_size": 512, "epochs": 800,
        "warmup_epochs": 10, "schedule": "epoch", "precision": "fp32", "knn_every": 5,
    },
}  # fmt: skip


@pytest.mark.parametrize("scale", ["small", "full"])
def test_presets_hold_the_documented_numbers(scale):
    expected = COMMON | SCALES[scale] | {"scale": scale}
    preset = vars(PRESETS["simsiam-cifar10"][scale])
    assert {name: preset[name] for name in expected} == expected


def test_overrides_are_typed():
    texts = {"lr": "0.1", "epochs": "3", "projector": "64-32", "channels_last": "false", "variant": "heavy"}
    config = override(SMALL, texts)
    assert (config.lr, config.epochs, config.projector) == (0.1, 3, (64, 32))
    assert config.channels_last is False and config.variant == "heavy" and config.batch_size == SMALL.batch_size


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--lrr", "1"], "unknown setting --lrr; did you mean --lr?"),
        (["--frobnicate", "1"], "unknown setting --frobnicate (`dssl train --help` lists all)"),
        (["--epochs", "many"], "--epochs: expected an integer; got 'many'"),
        (["--channels-last", "maybe"], "--channels-last: expected true or false; got 'maybe'"),
        (["--lr", "nan"], "lr: expected a finite number; got nan"),
        (["--batch-size", "1"], "batch_size: must be at least 2; got 1"),
        (["--variant", "light"], "variant: expected one of baseline, heavy, dssl, soft; got 'light'"),
        (["--scale", "huge"], "--scale: expected one of small, full; got 'huge'"),
        (["--warmup-epochs", "10"], "warmup_epochs (10) must be below epochs (10)"),
        (["--heavy", ""], "variant dssl needs a heavy augmentation"),
        (["--data", "/nowhere/at/all"], "data: no folder /nowhere/at/all"),
        (["--device", "cuda:99"], "device: cannot use 'cuda:99'"),
        (["--limit-train", "100", "--batch-size", "200"], "batch_size 200 exceeds the 100 training images"),
        (["--heavy", "Jigsaw(40)"], "jigsaw: grid must be at most the side"),
        (["--projector", "0-0"], "projector: must be at least 1; got 0"),
        (["--seed", "99999999999999999999"], "seed: must be at most 9223372036854775807; got 99999999999999999999"),
        (["--threads", "100000"], "threads: must be at most 1024; got 100000"),
        (["--device", "meta"], "device: expected auto, cpu or cuda; got 'meta'"),
        (["--device", "cuda:x"], "device: "),
        (["--device", "cpu", "--cuda-graph"], "cuda_graph needs one process on a CUDA device; got cpu"),
        (["--cuda-graph", "--accumulate", "2"], "cuda_graph goes with neither method mocov2"),
        (["--cuda-graph", "--compile"], "cuda_graph goes with neither method mocov2"),
        (["--data", ""], "data: expected a folder with the images, or 'drawn'"),
        (["--image-size", "24"], "data: train images are 32x32, but image_size is 24"),
    ],
)
def test_wrong_command_lines_end_in_one_line(arguments, message, tmp_path, capsys):
    code = cli.main(["train", "simsiam-cifar10", "--data", "drawn", "--out", str(tmp_path), *arguments])
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dssl train:")]
    assert code == 2 and len(error) == 1 and message.lower() in error[0].lower()


def test_unknown_recipe_and_missing_data(capsys):
    assert cli.main(["train", "simsiam-cifar100", "--data", "drawn"]) == 2
    assert "unknown recipe 'simsiam-cifar100'; there is simsiam-cifar10, " in capsys.readouterr().err
    assert cli.main(["train", "simsiam-cifar10"]) == 2
    assert "--data: expected a folder" in capsys.readouterr().err


def test_absurd_learning_rate_ends_in_one_line(tmp_path, capsys):
    code = cli.main(tiny_command(str(tmp_path), "--lr", "1e38", "--max-steps", "1")[3:])
    assert code == 2 and "dssl train: the encoder's features are not finite" in capsys.readouterr().err


def test_empty_data_variable_means_drawn_images(monkeypatch):
    for text, expected in (("", "drawn"), ("somewhere", "somewhere")):
        monkeypatch.setenv("DSSL_DATA", text)
        assert cli.parser().parse_args(["demo"]).data == expected


def test_a_switch_alone_means_true():
    for arguments, expected in ((["--download"], True), (["--download", "false"], False), ([], False)):
        options = cli.parser().parse_args(["train", "simsiam-cifar10", "--data", "x", *arguments])
        assert cli.train.config_of(options).download is expected


def test_help_tells_layouts_and_defaults(monkeypatch, capsys):
    text = help_text(monkeypatch, capsys)
    for part in ("train/<class>/<image>", "train.zip and test.zip", "data_batch_1", "--limit-train N", "--data PATH",
                 "[runs/<preset>-<variant>-<scale>-seed<N>]", "simsiam-cifar10 at --scale small",
                 "with the paper's heavy policy",
                 "--download [true|false]", "--lr X", "--projector N-N", "--heavy TEXT"):  # fmt: skip
        assert part in text
    assert "data.py" not in text and "[drawn]" not in text and "authors' recipe" not in text


def help_text(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_setting(monkeypatch, capsys):
    text = help_text(monkeypatch, capsys)
    for field in dataclasses.fields(Config):
        if field.name not in cli.train.CHOSEN_BY_PRESET:
            assert f"--{field.name.replace('_', '-')}" in text
