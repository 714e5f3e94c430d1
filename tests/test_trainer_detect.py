"""`dssl detect` on a COCO-format set that is made here."""

import functools
import json
import os
import signal
import sys

import numpy as np
import pytest
import torch
from dssl_trainer import checkpoint, cli
from dssl_trainer.config import as_dict
from dssl_trainer.evaluation.coco import Split, detections, metrics
from dssl_trainer.evaluation.detect import COLUMNS, Recipe, example, new_detector
from dssl_trainer.learner import Learner
from dssl_trainer.trained import open_run
from PIL import Image
from torchvision.models.detection import MaskRCNN
from trainer_setup import tiny

# pycocotools' own: NumPy 2 would like __array__ to take copy=
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

BOXES = {1: (8, 12, 30, 20), 2: (40, 6, 18, 48)}  # x, y, width, height of the first image's objects
RED, BLUE = 7, 3  # categories: ids neither from 1 on nor in order


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six images of 80x64 with a red and a blue rectangle, the last two for val; one of train's has a crowd only."""
    place, random = tmp_path_factory.mktemp("coco"), np.random.default_rng(0)
    (place / "annotations").mkdir()
    for split, count in (("train2017", 4), ("val2017", 2)):
        (place / split).mkdir()
        images, objects = [], []
        for number in range(1, count + 1):
            pixels = random.integers(0, 60, (64, 80, 3), dtype=np.uint8)
            for colour, (x, y, w, h) in zip((0, 2), BOXES.values()):
                pixels[y : y + h, x : x + w, colour] = 255
            Image.fromarray(pixels).save(place / split / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 80})
            crowd = int(number == 4)
            objects += [thing(10 * number + k, number, (RED, BLUE)[k - 1], box, crowd) for k, box in BOXES.items()]
        record = {"images": images, "annotations": objects,
                  "categories": [{"id": RED, "name": "red"}, {"id": BLUE, "name": "blue"}]}  # fmt: skip
        (place / "annotations" / f"instances_{split}.json").write_text(json.dumps(record))
    return place


def thing(number, image, category, box, crowd):
    x, y, w, h = box
    outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    if crowd:
        outline = {"counts": [64 * 80], "size": [64, 80]}
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "area": w * h,
            "iscrowd": crowd, "segmentation": outline}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return new_run(tmp_path_factory.mktemp("run"), "resnet18")


def new_run(folder, encoder):
    learner = Learner(tiny(folder, encoder=encoder), 1)
    checkpoint.save({"config": as_dict(learner.config), "progress": {"step": 0}, **learner.state()},
                    folder / "checkpoint.pt")  # fmt: skip
    return folder


SHORT = ["--batch-size", "2", "--sizes", "64", "--warmup", "0", "--device", "cpu"]


def detect(run, data, out, *more):
    return cli.main(["detect", str(run), "--data", str(data), "--out", str(out), *SHORT, *more])


def test_targets_are_those_of_the_file(data):
    split = Split(data, "train")
    assert (split.categories, split.ids, split.with_targets()) == ([BLUE, RED], [1, 2, 3, 4], [1, 2, 3])
    target = split.target(2)
    assert target["labels"].tolist() == [2, 1]
    assert target["boxes"].tolist() == [[8, 12, 38, 32], [40, 6, 58, 54]]
    for mask, (x, y, w, h) in zip(target["masks"], BOXES.values()):
        expected = torch.zeros(64, 80, dtype=torch.uint8)
        expected[y : y + h, x : x + w] = 1
        assert torch.equal(mask, expected)


class Never:
    def random(self):
        return 0.9


class Always:
    def random(self):
        return 0.1


def test_mirrored_boxes_and_masks_follow_the_image(data):
    split = Split(data, "train")
    (image, _), (mirrored, moved) = (example(split, 1, choice) for choice in (Never(), Always()))
    assert torch.equal(mirrored, image.flip(2))
    for box, mask in zip(moved["boxes"].int().tolist(), moved["masks"]):
        rows, columns = mask.nonzero().T
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]  # half-open, as COCO's


def test_perfect_detections_have_all_points_and_shifted_ones_fewer(data):
    split = Split(data, "val")
    for shift, ap50, ap in ((0, 100, 100), (4, 100, 99), (60, 0, 0)):
        records = []
        for number in split.ids:
            target = split.target(number)
            masks = torch.zeros(2, 1, 64, 80)
            for mask, (x, y, w, h) in zip(masks, BOXES.values()):
                mask[0, y : y + h, x + shift : x + shift + w] = 1
            output = {"boxes": target["boxes"] + torch.tensor([shift, 0, shift, 0]), "scores": torch.tensor([0.9, 0.8]),
                      "labels": target["labels"], "masks": masks}  # fmt: skip
            records += detections(split, number, output)
        found = metrics(split, records)
        for ending in ("", "_mask"):
            assert found[f"AP50{ending}"] == pytest.approx(ap50)
            assert found[f"AP{ending}"] == pytest.approx(ap) if shift != 4 else 0 < found[f"AP{ending}"] < ap
    assert set(metrics(split, []).values()) == {0.0}


def test_rate_warms_up_and_falls_at_60_and_80_of_90_thousand():
    rates = [Recipe().rate(k) for k in (0, 999, 59_999, 60_000, 79_999, 80_000)]
    assert rates == pytest.approx([2e-5, 0.02, 0.02, 0.002, 0.002, 0.0002])


def test_detector_has_the_encoder_and_trains_all_of_it(run):
    trained = open_run(run, "cpu")
    expected = {name: tensor.clone() for name, tensor in trained.encoder.state_dict().items()}
    model = new_detector(trained, 2, Recipe(sizes=(64,)))
    body = model.backbone.body.state_dict()
    assert body.keys() == expected.keys() and all(torch.equal(body[k], expected[k]) for k in body)
    assert all(p.requires_grad for p in model.parameters())
    assert model.roi_heads.box_predictor.cls_score.out_features == 3  # and the background


@pytest.fixture
def few_proposals(monkeypatch):
    """30 regions an image instead of 2,000, and 1,000 in evaluation: seconds instead of a minute."""
    count = {f"rpn_{when}_nms_top_n_{how}": 30 for when in ("pre", "post") for how in ("train", "test")}
    fewer = functools.partial(MaskRCNN, **count, box_detections_per_img=5)
    monkeypatch.setattr("dssl_trainer.evaluation.detect.MaskRCNN", fewer)


def test_trains_resumes_and_evaluates(run, data, tmp_path, capsys, monkeypatch, few_proposals):
    monkeypatch.setattr("os.fsync", lambda _: None)  # a quarter of a gigabyte each time
    assert detect(run, data, tmp_path / "whole", "--iterations", "2") == 0
    found = json.loads((tmp_path / "whole" / "detection.json").read_text())
    assert all(0 <= found[name] <= 100 for name in COLUMNS)
    assert (found["train_images"], found["val_images"], found["recipe"]["iterations"]) == (3, 2, 2)
    assert found["recipe"]["lr"] == 0.0025
    out = capsys.readouterr().out
    assert "SimSiam w/ DSSL" in out and "this run" in out
    with monkeypatch.context() as patch:
        stop_at_the_first_step(patch)
        assert detect(run, data, tmp_path / "halves", "--iterations", "2") == 143
    assert "stopped: iteration 1 of 2 saved in" in capsys.readouterr().err
    assert detect(run, data, tmp_path / "halves", "--iterations", "2") == 0
    whole, halves = (torch.load(tmp_path / name / "detector.pt", weights_only=True) for name in ("whole", "halves"))
    assert whole["iteration"] == halves["iteration"] == 2
    moved = open_run(run, "cpu").encoder.conv1.weight
    assert not torch.equal(whole["model"]["backbone.body.conv1.weight"], moved)
    for name, tensor in whole["model"].items():
        assert torch.equal(tensor, halves["model"][name]), name
    assert detect(run, data, tmp_path / "halves", "--iterations", "3") == 2
    assert "made with another iterations: 2; use another --out" in capsys.readouterr().err


def stop_at_the_first_step(monkeypatch):
    from dssl_trainer.evaluation import detect

    original = detect.step

    def stopped(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(detect, "step", stopped)


def test_what_cannot_be_done_is_one_line(run, data, tmp_path, capsys, monkeypatch):
    small = new_run(tmp_path, "resnet10_eighth")
    (tmp_path / "empty").mkdir()
    cases = {(small, data): "no network with the weights of resnet10_eighth",
             (run, tmp_path / "empty"): "expected one annotations/instances_train*.json"}  # fmt: skip
    for (place, images), message in cases.items():
        assert detect(place, images, tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    monkeypatch.setitem(sys.modules, "pycocotools", None)  # as where it is not installed
    assert detect(run, data, tmp_path / "out") == 2
    assert "pip install 'dssl_ops[detect]'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        detect(run, data, tmp_path / "out", "--iterations", "0")
    assert "invalid positive value: '0'" in capsys.readouterr().err
