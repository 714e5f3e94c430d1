"""Training against independent truths: formulas written out here, and the run that nobody interrupted."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from dssl_trainer.data import load
from dssl_trainer.methods.simsiam import simsiam
from dssl_trainer.presets import PRESETS
from dssl_trainer.run import Run
from dssl_trainer.schedule import learning_rate
from trainer_setup import SMALL, TINY, VARIANTS, tiny

from dssl_ops import ViewGraph

# ---- one training step


def cosine_loss(p, z):
    """D(p, z) = -cos(p, stopgrad z), written out; p and z are lists of views in the order v, v', v^, v^'."""
    z = z.detach()
    return -((p * z).sum(1) / (p.pow(2).sum(1).sqrt() * z.pow(2).sum(1).sqrt())).mean()


TERMS = {  # prediction -> target; each term counts 1/2, as in the authors' code
    "dssl": ((0, 1), (1, 0), (2, 0), (3, 1)),
    "baseline": ((0, 1), (1, 0), (2, 3), (3, 2)),
    "heavy": ((0, 1), (1, 0), (2, 3), (3, 2)),
    "soft": ((0, 1), (1, 0), (2, 0), (3, 1)),  # without severities
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale, weight", [("sum", 0.5), ("mean", 0.25)])
def test_loss_and_gradient_equal_the_formula(variant, scale, weight):
    torch.manual_seed(0)
    method = simsiam(dataclasses.replace(TINY, variant=variant, loss_scale=scale)).double()
    views = torch.randn(4, 8, 3, 32, 32, dtype=torch.float64)
    state = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    method(views).loss.backward()
    found = [parameter.grad.clone() for parameter in method.parameters()]
    method.load_state_dict(state)
    value = method(views).loss.item()

    method.zero_grad()
    method.load_state_dict(state)
    z = [method.projector(method.encoder(view)) for view in views]
    p = [method.predictor(z_i) for z_i in z]
    expected = sum(weight * cosine_loss(p[i], z[j]) for i, j in TERMS[variant])
    expected.backward()
    # float64 through some twenty layers: rounding of 1e-16 grows to perhaps 1e-12.
    assert value == pytest.approx(expected.item(), abs=1e-12)
    for gradient, parameter in zip(found, method.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-9, atol=1e-12)


def test_each_view_has_its_own_batch_norm_statistics():
    method = simsiam(TINY)
    seen = []
    method.encoder.bn1.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    method(torch.randn(4, 8, 3, 32, 32))
    assert seen == [8, 8, 8, 8]  # four passes of the batch, not one of 32


def test_targets_receive_no_gradient():
    method = simsiam(TINY)
    views = [torch.randn(8, 3, 32, 32, requires_grad=True) for _ in range(4)]
    method.graph = ViewGraph(((2, 0, 1.0),))  # only v^ predicts v
    method(views).loss.backward()
    assert views[0].grad is None or not views[0].grad.any()
    assert views[2].grad.any()


def test_sgd_step_follows_the_update_rule():
    """Two steps of the run equal momentum SGD with weight decay on every parameter, written out."""
    run = Run(tiny("unused", schedule="step"), load(TINY))
    run.bar = Silent()
    weights = [p.detach().clone() for p in run.method.parameters()]
    velocity = [torch.zeros_like(w) for w in weights]
    for step in range(2):
        run.step()
        rate = 0.06 * 0.5 * (1 + math.cos(math.pi * step / 6))  # 2 epochs of 3 steps, no warm-up
        for w, v, p in zip(weights, velocity, run.method.parameters(), strict=True):
            v.mul_(0.9).add_(p.grad + 5e-4 * w)
            w.sub_(rate * v)
            torch.testing.assert_close(p.detach(), w, rtol=1e-5, atol=1e-7)  # float32, another order of operations


class Silent:
    def set_postfix_str(self, text, refresh):
        assert "loss" in text

    def update(self):
        pass


# ---- schedule


def test_learning_rate_per_epoch_is_the_authors():
    config = PRESETS["simsiam-cifar10"]["full"]
    steps = 97
    warm = np.linspace(0, 0.06, 10)  # the authors index it by the epoch, numbered from 1
    for epoch in (1, 2, 9):
        assert learning_rate(config, (epoch - 1) * steps, steps) == pytest.approx(warm[epoch], rel=1e-12)
        assert learning_rate(config, epoch * steps - 1, steps) == pytest.approx(warm[epoch], rel=1e-12)
    for epoch in (10, 400, 799):
        cosine = 0.06 * (1 + np.cos(np.pi * (epoch - 10) / 790)) / 2
        assert learning_rate(config, (epoch - 1) * steps, steps) == pytest.approx(cosine, rel=1e-12)
    assert learning_rate(config, 800 * steps - 1, steps) == 0


def test_learning_rate_per_step_warms_up_peaks_and_falls():
    config = dataclasses.replace(SMALL, warmup_epochs=2)
    rates = [learning_rate(config, step, 50) for step in range(500)]
    assert rates[0] == pytest.approx(0.06 / 100) and rates[99] == rates[100] == pytest.approx(0.06)
    assert all(a > b for a, b in zip(rates[100:], rates[101:], strict=False)) and 0 < rates[-1] < 1e-6


def test_learning_rate_per_epoch_without_warm_up_starts_at_its_peak_and_ends_above_zero():
    config = dataclasses.replace(SMALL, schedule="epoch")
    rates = [learning_rate(config, 50 * epoch, 50) for epoch in range(10)]
    assert rates == pytest.approx([0.03 * (1 + math.cos(math.pi * epoch / 10)) for epoch in range(10)], rel=1e-12)
