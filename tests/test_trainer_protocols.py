"""`dssl evaluate`: classifiers against loops in NumPy, what is written, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from dssl_trainer import checkpoint, cli
from dssl_trainer.data import load
from dssl_trainer.data.dataset import Images
from dssl_trainer.data.drawn import draw
from dssl_trainer.data.loader import image_order
from dssl_trainer.device import resolve
from dssl_trainer.encoders import new_encoder
from dssl_trainer.evaluation import linear
from dssl_trainer.evaluation.fast_linear import fast_linear, fit_lbfgs
from dssl_trainer.evaluation.features import features
from dssl_trainer.evaluation.linear import CIFAR10, IMAGENET, Protocol, centred, factor, train_classifier
from dssl_trainer.evaluation.protocols import PROTOCOLS
from dssl_trainer.train import train
from dssl_trainer.trained import open_run
from PIL import Image
from trainer_setup import TINY, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny(folder, keep_every=1))
    return folder


@pytest.fixture(scope="module")
def dataset():
    return load(TINY)


def softmax(scores):
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def slopes(weight, bias, x, labels):
    """Gradient of mean cross entropy by weight and bias."""
    p = softmax(x @ weight.T + bias)
    p[np.arange(len(x)), labels] -= 1
    return p.T @ x / len(x), p.mean(0)


def test_a_run_of_a_cuda_graph_opens_without_a_gpu(run, tmp_path):
    state = checkpoint.load(run / "checkpoint.pt")
    state["config"] |= {"cuda_graph": True, "device": "cuda"}
    checkpoint.save(state, tmp_path / "checkpoint.pt")
    assert open_run(tmp_path, "cpu").config.device == "cpu"


# ---- the protocols' numbers


def test_rates_fall_as_the_authors_have_them():
    assert [factor(CIFAR10, e) for e in (0, 59, 60, 79, 80, 99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert [factor(IMAGENET, e) for e in (0, 45, 89)] == pytest.approx([1, 0.5, (1 + np.cos(np.pi * 89 / 90)) / 2])
    assert (CIFAR10.lr, CIFAR10.batch_size, CIFAR10.epochs) == (30, 256, 100)
    assert (IMAGENET.lr, IMAGENET.batch_size, IMAGENET.epochs) == (1.6, 4096, 90)


def test_larc_scales_gradients_as_its_definition_says():
    random = np.random.default_rng(0)
    start, gradients = [random.normal(size=(3, 4)), np.zeros(3)], random.normal(size=(4, 15))
    parameters = [torch.nn.Parameter(torch.tensor(p)) for p in start]
    optimizer = linear.new_optimizer(parameters, IMAGENET, 1.6)
    values, velocities = [p.copy() for p in start], [0.0, 0.0]
    for gradient in gradients:
        parts = gradient[:12].reshape(3, 4), gradient[12:]
        for k, g in enumerate(parts):
            parameters[k].grad = torch.tensor(g)
            size = np.linalg.norm(values[k])
            velocities[k] = 0.9 * velocities[k] + (0.001 * size / np.linalg.norm(g) if size else 1) * g
            values[k] = values[k] - 1.6 * velocities[k]
        optimizer.step()
    for parameter, value in zip(parameters, values, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-12)


SMALL = Protocol("test", 3, 16, 1.0, "steps", (0.8, 1.0), "bicubic")


def test_linear_training_equals_a_loop_in_numpy_and_leaves_the_encoder_alone(dataset):
    torch.manual_seed(0)
    config, encoder = TINY, new_encoder(TINY)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    curve = train_classifier(encoder, dataset, config, SMALL)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())

    encoder.eval()
    maker, head = linear.training_view(config, SMALL), linear.new_head(encoder.width, 10, config)
    weight, bias = (p.detach().double().numpy() for p in (head.weight, head.bias))
    velocity, truth = [0.0, 0.0], []
    for epoch in range(3):
        for ids in image_order(config.seed, epoch, 48).split(16):
            views = maker(dataset.train.pixels[ids], seed=config.seed, epoch=epoch, sample_ids=ids)[0]
            x = encoder(views).detach().double().numpy()
            for k, slope in enumerate(slopes(weight, bias, x, dataset.train.labels[ids].numpy())):
                velocity[k] = 0.9 * velocity[k] + slope
            rate = 0.1 if epoch == 2 else 1.0  # two of three epochs are more than 60 of 100
            weight, bias = weight - rate * velocity[0], bias - rate * velocity[1]
        found = encoder(linear.normalized(resized_by_pillow(dataset.test.pixels), config)).detach().double().numpy()
        scores = found @ weight.T + bias
        truth.append(100 * np.mean(scores.argmax(1) == dataset.test.labels.numpy()))
    assert curve.all == pytest.approx(truth)  # whole images: 20 of them, scores far enough apart for float32


def resized_by_pillow(pixels):
    """36 pixels bicubic, then the centre of 32."""
    images = [Image.fromarray(p.permute(1, 2, 0).numpy()).resize((36, 36), Image.BICUBIC) for p in pixels]
    cut = np.stack([np.asarray(image.crop((2, 2, 34, 34))) for image in images])
    return torch.from_numpy(cut).permute(0, 3, 1, 2)


def test_test_images_are_resized_as_the_authors_do():
    images = Images(*draw(5, seed=1))
    assert torch.equal(centred(images, torch.arange(5), TINY, CIFAR10), resized_by_pillow(images.pixels))


def test_supervised_training_learns_and_moves_the_encoder(dataset):
    torch.manual_seed(0)
    encoder = new_encoder(TINY)
    before = encoder.conv1.weight.clone()
    easy = dataclasses.replace(dataset, test=dataset.train)  # what it was trained on
    protocol = dataclasses.replace(SMALL, epochs=12, lr=0.1, schedule="cosine", crop=(1.0, 1.0))
    curve = train_classifier(encoder, easy, TINY, protocol, frozen=False)
    assert not torch.equal(before, encoder.conv1.weight)
    assert curve.all[-1] > 30  # one in ten by chance; 48 images


def test_the_authors_number_leaves_out_the_last_batch_and_takes_the_best_epoch(dataset, monkeypatch):
    monkeypatch.setattr(linear, "TEST_BATCH", 8)
    torch.manual_seed(0)
    curve = train_classifier(new_encoder(TINY), dataset, TINY, SMALL)
    found = curve.summary()
    assert found["top1"] == curve.all[-1] and found["authors_best_on_test"]["test_images"] == 16
    best = found["authors_best_on_test"]
    assert best["top1"] == max(curve.full_batches) == curve.full_batches[best["epoch"] - 1]
    assert "on the test set" in best["about"]


# ---- L-BFGS


@pytest.mark.parametrize("decay", [1e-4, 1e-2, 1.0])
def test_lbfgs_finds_the_minimum(decay):
    random = np.random.default_rng(1)
    x, labels = random.normal(size=(200, 6)), random.integers(0, 4, 200)
    weight = fit_lbfgs(torch.tensor(x).float(), torch.tensor(labels), 4, decay).double().numpy()
    slope, of_bias = slopes(weight[:, :-1], weight[:, -1], x, labels)
    slope += decay * weight[:, :-1]
    assert np.abs(slope).max() < 1e-4 and np.abs(of_bias).max() < 1e-4  # convex: a zero gradient is the minimum


def test_fast_protocol_separates_what_is_separable_whatever_its_scale():
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    x = torch.randn(300, 8, generator=random) * 0.1 + 4 * torch.eye(8)[labels]
    x = x * torch.logspace(-3, 3, 8) + 100
    top1, decay = fast_linear(x[:200], labels[:200], x[200:], labels[200:], 3)
    assert top1 == 100 and decay == 1.0  # of decays that do equally well the strongest


# ---- the command


def test_every_protocol_writes_its_result(run, capsys):
    assert cli.main(["evaluate", str(run), "--protocol", *PROTOCOLS, "--epochs", "2", "--seed", "3"]) == 0
    told = capsys.readouterr().out
    for name in PROTOCOLS:
        found = json.loads((run / f"evaluation-{name}.json").read_text())
        assert found["protocol"] == name and 0 <= found["top1"] <= 100
        assert (found["epochs"], found["seed"], found["classifier_seed"], found["step"]) == (2, 0, 3, 6)
        assert "scale small, seed 0, 2 epochs" in found["run"] and "author16" in found["run"]
        assert f"{name:11}{found['top1']:6.2f} %" in told
        assert found["commit"] is None or len(found["commit"].removesuffix("-dirty")) == 40
    assert not list(run.glob("*.tmp"))
    assert json.loads((run / "evaluation-linear.json").read_text())["classifier_epochs"] == 2


def test_results_repeat_and_belong_to_their_checkpoint(run):
    files = [run / f"evaluation-{name}-epoch1.json" for name in ("linear", "fast")]
    found = []
    for _ in range(2):
        again = ["evaluate", str(run / "checkpoint-epoch1.pt"), "--protocol", "linear", "fast", "--epochs", "1"]
        assert cli.main(again) == 0
        found.append([json.loads(path.read_text()) for path in files])
    assert found[0] == found[1]
    assert found[0][0]["epochs"] == 1 and found[0][0]["checkpoint"] == "checkpoint-epoch1.pt"


def test_opened_encoder_has_the_features_of_the_run(run, dataset):
    trained = open_run(run)
    weights = checkpoint.load(run / "checkpoint.pt")["model"]
    encoder = new_encoder(resolve(TINY))
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")})
    assert torch.equal(*(features(e, dataset.test, trained.config) for e in (encoder, trained.encoder)))
    assert not trained.encoder.training


def test_wrong_places_are_one_line(run, tmp_path, capsys):
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "checkpoint.pt").write_bytes((run / "checkpoint.pt").read_bytes()[:5000])
    state = checkpoint.load(run / "checkpoint.pt")
    torch.save(state | {"config": state["config"] | {"encoder": "resnet10_half"}}, tmp_path / "other.pt")
    torch.save(state | {"config": state["config"] | {"colour": 1}}, tmp_path / "newer.pt")
    cases = {
        ("nowhere",): "no run in",
        (tmp_path,): "holds no checkpoint.pt",
        (tmp_path / "torn",): "cannot read",
        (tmp_path / "other.pt",): "another architecture",
        (tmp_path / "newer.pt",): "unknown setting colour",
        (run, "--protocol", "svm"): "expected some of knn, linear, fast, supervised; got 'svm'",
        (run, "--data", tmp_path / "gone"): "no folder",
        (run, "--device", "tpu"): "expected auto, cpu or cuda",
    }
    for arguments, message in cases.items():
        assert cli.main(["evaluate", *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
