"""The trainer on a GPU: its views are the CPU's bits, its losses close to the CPU's, its runs resume, fp16 scales."""

import pytest
import torch
from dssl_trainer.data import load
from dssl_trainer.data.dataset import Files, Images
from dssl_trainer.data.loader import Loader
from dssl_trainer.device import memory_format
from dssl_trainer.evaluation.features import features
from dssl_trainer.evaluation.linear import CIFAR10, centred
from dssl_trainer.learner import Learner
from dssl_trainer.train import train
from trainer_setup import METHODS, VARIANTS, losses, tiny, weights

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
GPU = torch.device("cuda")


def both(**changes):
    """The settings on the CPU and on the GPU."""
    return [tiny("unused", device=device, **changes) for device in ("cpu", str(GPU))]


@pytest.fixture
def exact_products():
    """Convolutions without tf32, so that float32 on both devices differs in the order of its sums alone."""
    convolutions = torch.backends.cudnn.conv
    before, convolutions.fp32_precision = convolutions.fp32_precision, "ieee"
    yield
    convolutions.fp32_precision = before


class AsFiles(Files):
    """Images in memory that come as those of files do: a list of differing sizes."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def batch(self, ids):
        return [self.images.pixels[i, :, : 32 - i % 3] for i in ids.tolist()]


@pytest.mark.parametrize("kind", [lambda images: images, AsFiles], ids=["tensor", "list"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_views_are_made_there_and_are_the_cpus(variant, kind):
    here, there = both(variant=variant)
    images = kind(load(here).train)
    want, got = (Loader(images, config).make(1)[0] for config in (here, there))
    for a, b in zip(want.views, got.views, strict=True):
        assert b.device.type == GPU.type and torch.equal(a, b.cpu())
        for view, config in ((a, here), (b, there)):
            assert view.is_contiguous(memory_format=memory_format(config))
    assert variant != "soft" or torch.equal(want.severity, got.severity.cpu())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("method", METHODS)
def test_a_step_equals_the_cpus(method, variant, exact_products):
    """Loss of the first step, and of the second, which sees the first one's update.

    float32 sums in another order: 1e-6 a layer, which batch norm over 16 rows of near-equal features magnifies."""
    found = []
    for config in both(method=method, variant=variant, channels_last=False):
        loader = Loader(load(config).train, config)
        learner = Learner(config, loader.steps_per_epoch)
        found.append([learner.step(loader.make(step), step).loss for step in range(2)])
    assert found[1] == pytest.approx(found[0], rel=2e-3, abs=2e-3)


def test_features_and_test_images_equal_the_cpus(exact_products):
    here, there = both()
    dataset, encoder = load(here), Learner(here, 3).method.encoder
    want = features(encoder, dataset.test, here)
    got = features(encoder.to(GPU), dataset.test, there)
    torch.testing.assert_close(got.cpu(), want, rtol=1e-4, atol=1e-5)  # float32 sums in another order
    ids, images = torch.arange(7), Images(dataset.test.pixels, dataset.test.labels)
    assert torch.equal(centred(images, ids, there, CIFAR10).cpu(), centred(images, ids, here, CIFAR10))


@pytest.mark.parametrize("method", METHODS)
def test_a_run_resumes_bit_for_bit(method, tmp_path):
    """With deterministic algorithms."""
    settings = dict(device=str(GPU), deterministic=True, precision="bf16", log_every=1)
    train(tiny(tmp_path / "whole", method, **settings))
    train(tiny(tmp_path / "parts", method, max_steps=4, **settings))
    train(tiny(tmp_path / "parts", method, **settings))
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    whole, parts = (weights(tmp_path / name) for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_trains(precision, tmp_path):
    config = tiny(tmp_path, device=str(GPU), precision=precision, epochs=6, lr=0.02)
    train(config)
    loss = list(losses(tmp_path).values())
    assert sum(loss[-3:]) / 3 < sum(loss[:3]) / 3  # SimSiam's goes from about 0 towards -2


def test_workers_make_the_same_views():
    ahead, here = (tiny("unused", device=str(GPU), workers=workers) for workers in (2, 0))
    images = load(here).train
    loader = Loader(images, ahead)
    try:
        for step in range(3):
            got, want = loader.get(step, 3)[0], Loader(images, here).get(step, 3)[0]
            assert all(map(torch.equal, got.views, want.views))
    finally:
        loader.close()


@pytest.mark.parametrize(
    "method, variant", [("simsiam", "soft"), ("byol", "dssl"), ("simclr", "dssl"), ("barlow", "heavy")]
)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_cuda_graph_trains_to_the_same_bits(method, variant, precision, tmp_path):
    """Six epochs of three steps, three of them before the capture; also where a thread makes views meanwhile, and where
    a run that began without the graph goes on with it."""
    settings = dict(variant=variant, precision=precision, device=str(GPU), deterministic=True, epochs=6)
    train(tiny(tmp_path / "plain", method, **settings))
    train(tiny(tmp_path / "graph", method, cuda_graph=True, workers=2, **settings))
    train(tiny(tmp_path / "later", method, max_steps=4, **settings))
    train(tiny(tmp_path / "later", method, cuda_graph=True, on_nan="skip", **settings))
    plain = weights(tmp_path / "plain")
    for name in ("graph", "later"):
        assert losses(tmp_path / "plain") == losses(tmp_path / name)
        assert all(torch.equal(tensor, plain[key]) for key, tensor in weights(tmp_path / name).items())
