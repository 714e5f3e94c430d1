"""Settings, presets and command lines."""

import dataclasses

import pytest
from dssl_trainer import cli
from dssl_trainer.config import Config, override
from dssl_trainer.presets import PRESETS
from trainer_setup import SMALL


def test_presets_hold_the_documented_numbers():
    small, full = (PRESETS["simsiam-cifar10"][scale] for scale in ("small", "full"))
    assert (full.batch_size, full.epochs, full.lr, full.weight_decay, full.warmup_epochs) == (512, 800, 0.06, 5e-4, 10)
    assert (full.encoder, full.projector, full.predictor, full.precision) == (
        "resnet18_cifar",
        (2048, 2048),
        512,
        "fp32",
    )
    assert (small.batch_size, small.epochs, small.lr, small.encoder) == (128, 10, 0.06, "resnet10_half")
    for preset in (small, full):
        assert (preset.op_set, preset.ra_n, preset.ra_m, preset.jigsaw_grid) == ("author16", 2, 5, 4)
        assert (preset.loss_scale, preset.knn_k, preset.knn_temperature) == ("sum", 200, 0.1)


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
        (["--variant", "light"], "variant: expected one of baseline, heavy, dssl; got 'light'"),
        (["--scale", "huge"], "--scale: expected one of small, full; got 'huge'"),
        (["--projector", "8"], "projector: expected two widths such as 512-512; got 8"),
        (["--warmup-epochs", "10"], "warmup_epochs (10) must be below epochs (10)"),
        (["--ra-n", "0", "--jigsaw-grid", "0"], "variant dssl needs a heavy augmentation"),
        (["--data", "/nowhere/at/all"], "data: no folder /nowhere/at/all"),
        (["--device", "cuda:99"], "device: cannot use 'cuda:99'"),
        (["--limit-train", "100", "--batch-size", "200"], "batch_size 200 exceeds the 100 training images"),
        (["--jigsaw-grid", "40"], "jigsaw"),
    ],
)
def test_wrong_command_lines_end_in_one_line(arguments, message, tmp_path, capsys):
    code = cli.main(["train", "simsiam-cifar10", "--data", "drawn", "--out", str(tmp_path), *arguments])
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dssl train:")]
    assert code == 2 and len(error) == 1 and message.lower() in error[0].lower()


def test_unknown_recipe_and_missing_data(capsys):
    assert cli.main(["train", "simsiam-cifar100", "--data", "drawn"]) == 2
    assert "unknown recipe 'simsiam-cifar100'; there is simsiam-cifar10" in capsys.readouterr().err
    assert cli.main(["train", "simsiam-cifar10"]) == 2
    assert "--data: expected a folder" in capsys.readouterr().err


def test_help_lists_every_setting(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for field in dataclasses.fields(Config):
        if field.name not in cli.CHOSEN_BY_PRESET:
            assert f"--{field.name.replace('_', '-')}" in text
