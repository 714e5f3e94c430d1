"""Exported encoders in the libraries that they are for: strict loading, equal features."""

import dataclasses
import pickle
import shlex

import numpy as np
import pytest
import timm
import torch
import torchvision
from dssl_trainer import checkpoint, cli
from dssl_trainer.config import as_dict
from dssl_trainer.learner import Learner
from dssl_trainer.trained import open_run
from torchvision.models.detection import maskrcnn_resnet50_fpn
from trainer_setup import TINY

NAMES = ("resnet18", "resnet50")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """{encoder: folder} of checkpoints with random weights and random batch-norm statistics."""
    found = {}
    for name in (*NAMES, "resnet18_cifar"):
        folder = tmp_path_factory.mktemp(name)
        learner = Learner(dataclasses.replace(TINY, encoder=name, out=str(folder)), 1)
        generator = torch.Generator().manual_seed(1)
        for key, tensor in learner.method.encoder.state_dict().items():
            if "running" in key or "bn" in key or "downsample.1" in key:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.5)
        state = {"config": as_dict(learner.config), "progress": {"step": 3}, **learner.state()}
        checkpoint.save(state, folder / "checkpoint.pt")
        found[name] = folder
    return found


def exported(places, name, target, tmp_path):
    out = tmp_path / "encoder"
    assert cli.main(["export", str(places[name]), "--to", target, "--out", str(out)]) == 0
    return out


def expect_equal_features(places, name, model):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        own, theirs = open_run(places[name], "cpu").encoder(images), model.eval()(images)
    assert own.std() > 0 and torch.isfinite(own).all()
    torch.testing.assert_close(theirs, own, rtol=1e-4, atol=1e-5 * own.abs().max().item())  # summed in another order


@pytest.mark.parametrize("name", NAMES)
def test_torchvision_loads_strictly_with_equal_features(places, name, tmp_path):
    model = getattr(torchvision.models, name)()
    model.fc = torch.nn.Identity()
    model.load_state_dict(torch.load(exported(places, name, "torchvision", tmp_path), weights_only=True))
    expect_equal_features(places, name, model)


@pytest.mark.parametrize("name", NAMES)
def test_timm_loads_strictly_with_equal_features(places, name, tmp_path):
    model = timm.create_model(name, num_classes=0)
    model.load_state_dict(torch.load(exported(places, name, "timm", tmp_path), weights_only=True))
    expect_equal_features(places, name, model)


def test_mask_rcnn_backbone_loads_strictly_with_equal_features(places, tmp_path):
    body = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).backbone.body
    body.load_state_dict(torch.load(exported(places, "resnet50", "torchvision", tmp_path), weights_only=True))
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        own, last = open_run(places["resnet50"], "cpu").encoder(images), body.eval()(images)["3"]
    torch.testing.assert_close(last.mean((2, 3)), own, rtol=1e-4, atol=1e-4 * own.abs().max().item())


BLOCKS = {"resnet18": ((2, 2, 2, 2), 2, (1, 2, 3)), "resnet50": ((3, 4, 6, 3), 3, (0, 1, 2, 3))}


def detectron2_keys(name):
    """As detectron2 builds its ResNets: stem, res2 to res5, convolutions with a norm each, a shortcut where widths or
    strides change."""
    counts, convolutions, shortcuts = BLOCKS[name]
    layers = ["stem.conv1"]
    for stage, blocks in enumerate(counts):
        for block in range(blocks):
            layers += [f"res{stage + 2}.{block}.conv{k + 1}" for k in range(convolutions)]
        layers += [f"res{stage + 2}.0.shortcut"] * (stage in shortcuts)
    norms = ("weight", "bias", "running_mean", "running_var")
    return {f"{layer}.weight" for layer in layers} | {f"{layer}.norm.{part}" for layer in layers for part in norms}


@pytest.mark.parametrize("name", NAMES)
def test_detectron2_pickle_has_the_keys_of_a_converted_resnet(places, name, tmp_path):
    record = pickle.loads(exported(places, name, "detectron2", tmp_path).read_bytes())  # the test made it: trusted
    found = {text(key): value for key, value in record.items()}
    assert found.keys() == {"model", "__author__", "matching_heuristics"} and found["matching_heuristics"] is True
    arrays = {text(key): value for key, value in found["model"].items()}
    assert arrays.keys() == detectron2_keys(name)
    assert len(arrays) == {"resnet50": 265, "resnet18": 100}[name]
    assert all(isinstance(a, np.ndarray) and a.dtype == np.float32 for a in arrays.values())
    encoder = open_run(places[name], "cpu").encoder
    expected = {
        "stem.conv1.norm.running_var": encoder.bn1.running_var,
        "res2.1.conv2.weight": encoder.layer1[1].conv2.weight,
        "res4.0.shortcut.weight": encoder.layer3[0].downsample[0].weight,
        "res5.0.shortcut.norm.bias": encoder.layer4[0].downsample[1].bias,
        "res5.1.conv1.norm.weight": encoder.layer4[1].bn1.weight,
    }
    for key, tensor in expected.items():
        np.testing.assert_array_equal(arrays[key], tensor.numpy())


def text(key):
    return key.decode() if isinstance(key, bytes) else key


def test_told_line_loads_the_file(places, tmp_path, capsys):
    for target, library in (("torchvision", torchvision), ("timm", timm)):
        exported(places, "resnet18", target, tmp_path)
        how = capsys.readouterr().out.splitlines()[1].partition("; inputs RGB")[0]
        scope = {"torch": torch, library.__name__: library}
        exec(how, scope)
        expect_equal_features(places, "resnet18", scope["model"])


def test_default_name_stands_beside_the_checkpoint(places):
    assert cli.main(["export", str(places["resnet18"]), "--to", "detectron2"]) == 0
    assert (places["resnet18"] / "resnet18-detectron2.pkl").stat().st_size > 40e6  # 11.2 M float32


@pytest.mark.parametrize(
    "encoder, options, message",
    [
        ("resnet18_cifar", "--to torchvision", "no network with the weights of resnet18_cifar: its stem is a 3x3"),
        ("resnet18_cifar", "--to detectron2", "expected resnet18 or resnet50"),
        ("resnet18", "--to onnx", "--to: expected one of torchvision, timm, detectron2; got 'onnx'"),
        ("resnet18", "--to timm --out /dev/null/x/encoder.pth", "/dev/null/x"),
    ],
)
def test_what_cannot_be_exported_is_one_line(places, encoder, options, message, capsys):
    assert cli.main(["export", str(places[encoder]), *shlex.split(options)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
