"""kNN and collapse diagnostics against brute force; encoders; views."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dssl_trainer.data import load
from dssl_trainer.data.dataset import Images
from dssl_trainer.data.drawn import draw
from dssl_trainer.data.views import normalized, view_maker
from dssl_trainer.encoders import ENCODERS
from dssl_trainer.errors import TrainerError
from dssl_trainer.evaluation.collapse import collapse_evidence, feature_std, rankme, with_data_statistics
from dssl_trainer.evaluation.features import evaluate, evaluate_untrained, features
from dssl_trainer.evaluation.knn import knn_accuracy, knn_predict
from dssl_trainer.run import Run
from torchvision.models.resnet import BasicBlock, ResNet
from trainer_setup import TINY, tiny

# ---- kNN and diagnostics


def slow_knn(bank, labels, query, classes, k, temperature):
    """One query in float64, by sorting all cosines; also the winner's lead over the second class.

    A vote counts relative to the nearest neighbour's, which moves no argmax and keeps exp in range."""
    cosine = [float(x @ query / (np.linalg.norm(x) * np.linalg.norm(query))) for x in bank]
    nearest = sorted(range(len(bank)), key=lambda i: -cosine[i])[:k]
    votes = np.zeros(classes)
    for i in nearest:
        votes[labels[i]] += math.exp((cosine[i] - cosine[nearest[0]]) / temperature)
    return int(votes.argmax()), (np.sort(votes)[-1] - np.sort(votes)[-2]) / votes.sum()


@pytest.mark.parametrize("k, temperature", [(1, 0.1), (7, 0.1), (200, 0.1), (7, 0.02), (7, 1e-3)])
def test_knn_equals_a_brute_force_loop(k, temperature):
    random = np.random.default_rng(3)
    bank, queries = random.normal(size=(150, 13)), random.normal(size=(300, 13))  # 300: more than a chunk
    labels = random.integers(0, 5, 150)
    truth = [slow_knn(bank, labels, query, 5, k, temperature) for query in queries]
    found = knn_predict(torch.tensor(bank), torch.tensor(labels), torch.tensor(queries), 5, k, temperature)
    clear = [lead > 1e-4 for _, lead in truth]  # float32 cosines may swap classes that tie to 1e-6
    assert sum(clear) > 290
    assert [int(a) for a, c in zip(found, clear, strict=True) if c] == [
        a for (a, _), c in zip(truth, clear, strict=True) if c
    ]


def test_knn_accuracy_counts_every_query():
    bank = torch.eye(4)
    queries = torch.cat([torch.eye(4)[[0, 1, 2]], -torch.eye(4)[[3]] + 0.9 * torch.eye(4)[[0]]])
    accuracy = knn_accuracy(bank, torch.arange(4), queries, torch.tensor([0, 1, 2, 3]), 4, k=1)
    assert accuracy == 75.0  # the last query points away from its class and towards class 0


def test_rankme_equals_the_formula_on_a_known_spectrum():
    random = np.random.default_rng(0)
    spectrum = np.array([5.0, 3.0, 1.0, 0.5])
    left = np.linalg.qr(np.column_stack([np.ones(40), random.normal(size=(40, 4))]))[0][:, 1:]  # columns sum to 0
    right = np.linalg.qr(random.normal(size=(6, 4)))[0]
    share = spectrum / spectrum.sum()
    expected = math.exp(-sum(s * math.log(s) for s in share))
    matrix = torch.tensor(left @ np.diag(spectrum) @ right.T + 7)  # the constant goes in centring
    assert rankme(matrix) == pytest.approx(expected, rel=1e-9)


def test_feature_std_equals_a_loop_and_knows_its_limits():
    x = np.random.default_rng(1).normal(size=(50, 8))
    unit = np.array([row / math.sqrt(sum(row**2)) for row in x])
    deviations = [math.sqrt(np.mean((column - column.mean()) ** 2)) for column in unit.T]
    assert feature_std(torch.tensor(x)) == pytest.approx(np.mean(deviations) * math.sqrt(8), rel=1e-9)
    assert feature_std(torch.randn(5000, 64)) == pytest.approx(1, abs=0.02)  # isotropic: 1, up to 1/sqrt(5000)
    assert feature_std(torch.ones(50, 8)) < 1e-7


def test_alarm_fires_on_collapse_only():
    torch.manual_seed(0)
    healthy = torch.randn(500, 256).relu()
    constant = torch.rand(1, 256).expand(500, 256)
    line = torch.rand(500, 1) * torch.randn(1, 256).sign() + 0.0  # one direction and its opposite
    assert evidence_of(healthy, knn=45) is None
    assert "std" in evidence_of(constant, knn=45)
    assert "effective rank" in evidence_of(line * torch.randn(500, 1).sign(), knn=45)
    assert "kNN 26.0 %" in evidence_of(healthy, knn=26)
    assert evidence_of(healthy, knn=28) is None


def evidence_of(features, knn):
    return collapse_evidence(feature_std(features), rankme(features), features.shape[1], knn, random_knn=32)


def test_alarm_needs_two_checks_in_a_row(tmp_path, capfd):
    run = Run(tiny(tmp_path), load(TINY))
    run.progress.random_knn = 100.0  # kNN is now far below: every check alarms
    run.measure()
    assert "COLLAPSE" not in capfd.readouterr().err
    run.measure()
    assert "COLLAPSE ALARM at step 0: kNN" in capfd.readouterr().err


def test_healthy_check_resets_the_alarm(tmp_path, capfd, monkeypatch):
    run = Run(tiny(tmp_path), load(TINY))
    run.progress.random_knn = 30.0
    told = []
    for knn in (10.0, 50.0, 10.0, 10.0):
        monkeypatch.setattr("dssl_trainer.run.evaluate", lambda *_, knn=knn: {"knn": knn, "rankme": 50.0, "std": 0.7})
        run.measure()
        told.append("COLLAPSE" in capfd.readouterr().err)
    assert told == [False, False, False, True]


# ---- the evaluation of a run


@pytest.fixture(scope="module")
def dataset():
    return load(dataclasses.replace(TINY, limit_train=90, limit_test=40))


def backbone_features(encoder, pixels):
    """Pooled output of the last stage in evaluation mode, one image after another."""
    seen = []
    hook = encoder.layer4.register_forward_hook(lambda module, inputs, output: seen.append(output.mean((2, 3))))
    encoder.eval()
    with torch.no_grad():
        for image in pixels:
            encoder(normalized(image[None], TINY))
    hook.remove()
    encoder.train()
    return torch.cat(seen).double().numpy()


def expect_evaluation(found, encoder, dataset):
    bank, queries = (backbone_features(encoder, part.pixels) for part in (dataset.train, dataset.test))
    truth = [slow_knn(bank, dataset.train.labels, query, 10, TINY.knn_k, TINY.knn_temperature) for query in queries]
    doubtful = sum(lead < 1e-4 for _, lead in truth)
    correct = [a == label for (a, _), label in zip(truth, dataset.test.labels.tolist(), strict=True)]
    assert found["knn"] == pytest.approx(100 * np.mean(correct), abs=100 * doubtful / len(queries) + 1e-9)
    assert doubtful <= 1
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    assert found["std"] == pytest.approx(unit.std(axis=0).mean() * math.sqrt(unit.shape[1]), rel=1e-3)
    spectrum = np.linalg.svd(queries - queries.mean(0), compute_uv=False)
    share = spectrum / spectrum.sum()
    assert found["rankme"] == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=1e-2)


def test_measure_equals_brute_force_on_backbone_features(tmp_path, dataset):
    run = Run(tiny(tmp_path), dataset)
    run.method.encoder.load_state_dict(with_data_statistics(run.method.encoder, [some_images()]).state_dict())
    expect_evaluation(run.measure(), run.method.encoder, dataset)


def some_images():
    return normalized(draw(32, seed=8)[0], TINY)


def test_untrained_evaluation_takes_batch_norm_statistics_from_the_training_images(dataset):
    torch.manual_seed(0)
    encoder = ENCODERS["resnet10_half"]()
    reference = with_data_statistics(encoder, [normalized(dataset.train.pixels, TINY)])
    expect_evaluation(evaluate_untrained(encoder, dataset, TINY), reference, dataset)


def test_untrained_evaluation_mixes_the_classes_in_full_batches(dataset, monkeypatch):
    monkeypatch.setattr("dssl_trainer.evaluation.features.BATCH", 16)
    order = dataset.train.labels.argsort(stable=True)  # as files in folders: class by class
    images = Images(dataset.train.pixels[order], dataset.train.labels[order])
    encoder, seen = ENCODERS["resnet10_half"](), []
    encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]) if module.training else None)
    evaluate_untrained(encoder, dataclasses.replace(dataset, train=images), TINY)
    pixels = normalized(images.pixels, TINY)
    for batch in seen:
        ids = [int((pixels == image).flatten(1).all(1).nonzero()[0]) for image in batch]
        assert len(images.labels[ids].unique()) >= 5
    assert [len(batch) for batch in seen] == [16] * 5  # 90 images: the last 10 are left out


def test_infinite_features_are_one_line(dataset):
    encoder = ENCODERS["resnet10_half"]()
    with torch.no_grad():
        encoder.layer4[0].bn2.weight.fill_(math.inf)
    with pytest.raises(TrainerError, match=r"features are not finite; a lower --lr may help"):
        evaluate(encoder, dataset, TINY)


def test_untrained_reference_has_the_data_statistics():
    torch.manual_seed(0)
    encoder = ENCODERS["resnet10_half"]()
    batches = list(torch.randn(3, 16, 3, 32, 32) * 3 + 1)
    reference = with_data_statistics(encoder, batches)
    before_norm = [F.conv2d(batch, encoder.conv1.weight, stride=2, padding=1) for batch in batches]
    mean = torch.stack([x.mean((0, 2, 3)) for x in before_norm]).mean(0)
    torch.testing.assert_close(reference.bn1.running_mean, mean, rtol=1e-4, atol=1e-5)
    assert not reference.training and torch.equal(encoder.bn1.running_mean, torch.zeros(32))  # a copy


def test_features_are_of_evaluation_mode_and_leave_the_encoder_alone():
    torch.manual_seed(0)
    encoder = ENCODERS["resnet10_half"]().train()
    images = Images(*draw(20, seed=1))
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    found = features(encoder, images, TINY)
    assert encoder.training and all(torch.equal(before[name], t) for name, t in encoder.state_dict().items())
    alone = features(encoder, images, TINY, torch.tensor([7]))  # in training mode its neighbours would matter
    torch.testing.assert_close(found[7:8], alone, rtol=1e-4, atol=1e-5)


# ---- encoders and views


@pytest.mark.parametrize(
    "name, parameters, width", [("resnet18_cifar", 11_168_832, 512), ("resnet10_half", 1_226_400, 256)]
)
def test_encoders_have_the_documented_size_and_torchvision_names(name, parameters, width):
    encoder = ENCODERS[name]()
    assert sum(p.numel() for p in encoder.parameters()) == parameters
    assert encoder(torch.randn(2, 3, 32, 32)).shape == (2, width)
    official = ResNet(BasicBlock, [2, 2, 2, 2] if "18" in name else [1, 1, 1, 1]).state_dict()
    assert {*encoder.state_dict()} == {key for key in official if not key.startswith("fc.")}


def test_views_come_in_the_order_of_the_graph():
    pixels, _ = draw(6, seed=2)
    views = view_maker(tiny("x"), normalized=False)(pixels, seed=1, epoch=2, sample_ids=torch.arange(6))
    standard = view_maker(tiny("x", variant="baseline"), normalized=False)
    v, v_prime, *_ = standard(pixels, seed=1, epoch=2, sample_ids=torch.arange(6))
    assert torch.equal(views[0], v) and torch.equal(views[1], v_prime)  # dssl has the baseline's first pair
    assert all(view.shape == (6, 3, 32, 32) and view.dtype == torch.uint8 for view in views)


def test_jigsaw_only_heavy_view_holds_the_pixels_of_its_own_standard_view():
    pixels, _ = draw(6, seed=2)
    views = view_maker(tiny("x", heavy="Jigsaw(4)"), normalized=False)(pixels, seed=1, sample_ids=torch.arange(6))
    for heavy, source, other in ((2, 0, 1), (3, 1, 0)):
        assert torch.equal(sorted_pixels(views[heavy]), sorted_pixels(views[source]))
        assert not torch.equal(sorted_pixels(views[heavy]), sorted_pixels(views[other]))
        assert not torch.equal(views[heavy], views[source])


def test_every_view_of_the_heavy_variant_is_a_standard_view_made_heavy():
    pixels, _ = draw(6, seed=2)
    heavy, standard = (
        view_maker(tiny("x", variant=variant, heavy="Jigsaw(4)"), normalized=False)(
            pixels, seed=1, sample_ids=torch.arange(6)
        )
        for variant in ("heavy", "baseline")
    )
    for made, source in zip(heavy, standard, strict=True):  # JigSaw alone moves pixels and changes none
        assert torch.equal(sorted_pixels(made), sorted_pixels(source)) and not torch.equal(made, source)


def sorted_pixels(images):
    return images.flatten(2).sort(dim=2).values


MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # as the authors' code has them


def test_evaluation_and_views_normalise_with_the_authors_numbers():
    pixels, _ = draw(4, seed=0)
    expected = by_hand(pixels)
    np.testing.assert_allclose(
        normalized(pixels, TINY).numpy(), expected, rtol=0, atol=1e-6
    )  # float32 of numbers below 3
    made, shown = (view_maker(tiny("x"), n)(pixels, seed=1, sample_ids=torch.arange(4)) for n in (True, False))
    for view, raw in zip(made, shown, strict=True):
        np.testing.assert_allclose(view.numpy(), by_hand(raw), rtol=0, atol=1e-6)


def by_hand(pixels):
    return np.stack([(pixels[:, c].numpy() / 255 - MEAN[c]) / STD[c] for c in range(3)], axis=1)
