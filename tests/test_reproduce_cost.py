"""What a run costs, against counts of real steps and against the figures of section 5.2 of the recipes' facts."""

import dataclasses

import pytest
import torch
from dssl_trainer.data.dataset import Images
from dssl_trainer.data.loader import Loader
from dssl_trainer.learner import Learner
from dssl_trainer.presets import PRESETS
from dssl_trainer.reproduce.cost import bytes_text, cost, flop_text, images_seen
from torch.utils.flop_counter import FlopCounterMode
from trainer_setup import METHODS, tiny


def full(name, **changes):
    return dataclasses.replace(PRESETS[name]["full"], **changes)


@pytest.mark.parametrize(
    "recipe, scale, mflop",
    [("simsiam-cifar10", "full", 1111), ("simsiam-cifar10", "small", 31.9), ("simsiam-imagenet", "full", 8174)],
)
def test_encoders_cost_what_the_facts_say(recipe, scale, mflop):
    assert cost(PRESETS[recipe][scale]).encoder / 1e6 == pytest.approx(mflop, rel=5e-4)


def test_whole_runs_cost_what_the_facts_say():
    """SimSiam with DSSL: 533 PFLOP on CIFAR-10, 12.6 EFLOP on ImageNet, encoder alone; heads 10.5 + 4.2 MFLOP."""
    cifar, imagenet = (full(f"simsiam-{data}", variant="dssl") for data in ("cifar10", "imagenet"))
    assert flop_text(cost(cifar).encoder_total(images_seen(cifar))) == "533 PFLOP"
    assert flop_text(cost(imagenet).encoder_total(images_seen(imagenet))) == "12.6 EFLOP"
    assert cost(cifar).heads / 1e6 == pytest.approx(10.5 + 4.2, abs=0.05)


@pytest.mark.parametrize("variant", ["baseline", "heavy", "dssl"])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_costs_what_torch_counts(method, variant):
    """Ours are three forward passes for forward and backward; torch also sees that the first convolution of each view
    has no gradient to hand on. Similarity matrices of 16 rows, which we leave out, are below 1 %."""
    expect_what_torch_counts(tiny("nowhere", method, variant=variant))


@pytest.mark.parametrize(
    "weights, passes",
    [({"gamma": 0.0, "delta": 1.0}, (2, 2)), ({"alpha": 0.0}, (4, 0)), ({"gamma": 0.0}, (2, 2)),
     ({"beta": 1.0, "gamma": 0.0}, (4, 0))],
)  # fmt: skip
@pytest.mark.parametrize("method", ["simsiam", "byol", "simclr", "barlow"])
def test_views_that_predict_nothing_have_no_backward_pass(method, weights, passes):
    """Fig. 5's delta 1: v^ and v^' are targets alone. With alpha 0 v and v' get gradients of zero."""
    config = tiny("nowhere", method, variant="dssl", **weights)
    assert (cost(config).passes, cost(config).forward_only) == passes
    expect_what_torch_counts(config)


def expect_what_torch_counts(config):
    images = Images(torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8), torch.zeros(16, dtype=torch.int64))
    learner, batches = Learner(config, 1), Loader(images, config).get(0, 1)
    with FlopCounterMode(display=False) as counter:
        learner.step(batches, 0)
    price = cost(config)
    first = 2 * 27 * 8 * 16 * 16 * price.passes  # FLOP of a 3x3 convolution of 3 channels to 8 of 16x16 pixels
    assert counter.get_total_flops() / 16 == pytest.approx(price.per_image - first, rel=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_memory_is_what_autograd_keeps(method):
    """Against a real forward pass in which each saved tensor's storage is counted once."""
    config = tiny("nowhere", method, variant="dssl")
    images = Images(torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8), torch.zeros(16, dtype=torch.int64))
    learner, batch = Learner(config, 1), Loader(images, config).get(0, 1)[0]
    weights = {p.untyped_storage().data_ptr() for p in learner.method.parameters()}
    saved = {}

    def note(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = learner.method(batch.views).loss
    assert loss.requires_grad
    kept = sum(count for place, count in saved.items() if place not in weights)
    numbers = sum(p.numel() for p in learner.method.parameters() if p.requires_grad)
    slow = sum(p.numel() for p in learner.method.parameters() if not p.requires_grad)
    queue = 64 * 32 if method == "mocov2" else 0
    assert cost(config).bytes == pytest.approx(kept + 4 * (3 * numbers + slow + queue), rel=0.05)


def test_batches_in_parts_need_less_memory():
    whole, parts = full("byol-imagenet"), full("byol-imagenet", accumulate=8)
    assert cost(parts).bytes < cost(whole).bytes / 6 and cost(parts).per_image == cost(whole).per_image


def test_amounts_in_words():
    assert [flop_text(x) for x in (1.234e9, 5.33e17, 1.26e19)] == ["1.23 GFLOP", "533 PFLOP", "12.6 EFLOP"]
    assert [bytes_text(x) for x in (3 * 2**20, 9.4 * 2**30)] == ["3 MiB", "9.4 GiB"]
