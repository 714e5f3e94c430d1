"""LARS, parameter groups, momentum schedules and the severity of programs, each against its formula."""

import math

import numpy as np
import pytest
import torch
from dssl_trainer.data.severity import severity, step_severity
from dssl_trainer.learner import Learner, new_method
from dssl_trainer.optimizers import LARS, new_optimizer, set_learning_rates
from dssl_trainer.presets import PRESETS
from dssl_trainer.schedule import ema_momentum, learning_rate
from PIL import Image, ImageOps
from trainer_setup import tiny

from dssl_ops import Program, augment
from dssl_ops.transforms import DirectedViews, StandardView, policy

# ---- optimisers


def lars_by_hand(w, v, g, lr, momentum, decay, trust):
    """Numpy, float64: SimCLR's order, decay before adaptation."""
    g = g + decay * w
    norms = math.sqrt((w**2).sum()), math.sqrt((g**2).sum())
    if trust and norms[0] and norms[1]:
        g = g * trust * norms[0] / norms[1]
    v = momentum * v + g
    return w - lr * v, v


def test_lars_equals_the_formula_and_leaves_vectors_alone():
    random = np.random.default_rng(0)
    start = [random.normal(size=(4, 3)), random.normal(size=3), np.zeros((2, 2))]  # the last: |w| = 0, rate 1
    parameters = [torch.nn.Parameter(torch.tensor(w)) for w in start]
    groups = [
        {"params": [parameters[0], parameters[2]]},
        {"params": [parameters[1]], "weight_decay": 0.0, "adapt": False},
    ]
    optimizer = LARS(groups, lr=0.3, momentum=0.9, weight_decay=0.1, trust=0.02)
    truth = [(w, np.zeros_like(w)) for w in start]
    for step in range(4):
        gradients = [random.normal(size=w.shape) * (step != 2) for w in start]  # step 2: no gradient
        for k, gradient in enumerate(gradients):
            parameters[k].grad = torch.tensor(gradient)
            decay, trust = (0, 0) if k == 1 else (0.1, 0.02)
            truth[k] = lars_by_hand(*truth[k], gradient, 0.3, 0.9, decay, trust)
        optimizer.step()
        for parameter, (w, _) in zip(parameters, truth, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), w, rtol=1e-12, atol=1e-14)


def test_groups_of_lars_exclude_biases_and_norms():
    config = tiny("x", "barlow", optimizer="lars", lr=0.4, lr_1d=0.01, weight_decay=1e-6)
    method = new_method(config)
    matrices, vectors = new_optimizer(config, method).param_groups
    assert {p.dim() for p in matrices["params"]} == {2, 4} and {p.dim() for p in vectors["params"]} == {1}
    assert matrices["adapt"] and matrices["weight_decay"] == 1e-6 and matrices["peak"] == 0.4
    assert not vectors["adapt"] and vectors["weight_decay"] == 0 and vectors["peak"] == 0.01
    names = {id(p): name for name, p in method.named_parameters()}
    assert all(".bn" in names[id(p)] or "projector" in names[id(p)] or "downsample.1" in names[id(p)]
               for p in vectors["params"])  # fmt: skip


def test_sgd_decays_everything_and_a_fixed_predictor_keeps_its_rate():
    config = tiny("x", fix_predictor_lr=True)
    method = new_method(config)
    optimizer = new_optimizer(config, method)
    assert all(group["weight_decay"] == 5e-4 for group in optimizer.param_groups)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(method.parameters()))
    set_learning_rates(optimizer, 0.015, config.lr)
    assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(0.015), config.lr]
    assert set(optimizer.param_groups[1]["params"]) == set(method.predictor.parameters())


def test_slow_networks_and_queues_are_not_optimised():
    for name in ("byol", "mocov2"):
        config = tiny("x", name)
        method = new_method(config)
        optimised = {id(p) for group in new_optimizer(config, method).param_groups for p in group["params"]}
        slow = method.target if name == "byol" else method.slow
        assert not optimised & {id(p) for p in slow.parameters()} and len(optimised) > 20


def test_rates_with_warm_up_end_at_a_share_of_the_peak():
    """Barlow Twins: linear warm-up of 10 epochs, then a cosine to a thousandth; biases move with the matrices."""
    config = PRESETS["barlow-imagenet"]["full"]
    rates = [learning_rate(config, step, 50) for step in range(5000)]
    assert rates[0] == pytest.approx(0.4 / 500) and max(rates) == pytest.approx(0.4) == rates[500]
    q = 0.5 * (1 + math.cos(math.pi * 1500 / 4500))
    assert rates[2000] == pytest.approx(0.4 * (q + 0.001 * (1 - q)), rel=1e-12)  # the official formula
    optimizer = LARS([{"params": [torch.zeros(1)], "peak": 0.0096, "fixed": False}], lr=0.4)
    set_learning_rates(optimizer, rates[2000], 0.4)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rates[2000] * 0.0048 / 0.2, rel=1e-12)


def test_momentum_schedules():
    config = tiny("x", "byol", ema=0.96, ema_schedule="cosine")
    found = [ema_momentum(config, step, 1000) for step in (0, 250, 500, 1000)]
    expected = [1 - 0.04 * (math.cos(math.pi * k) + 1) / 2 for k in (0, 0.25, 0.5, 1)]
    assert found == pytest.approx(expected, rel=1e-12) and found[0] == 0.96 and found[-1] == 1
    assert {ema_momentum(tiny("x", "byol"), step, 1000) for step in (0, 500, 1000)} == {0.99}


def test_gradient_norm_is_that_of_all_parameters():
    learner = Learner(tiny("x"), 3)
    batch = torch.randn(4, 8, 3, 32, 32)
    learner.method(list(batch)).loss.backward()
    squares = sum(p.grad.double().square().sum() for p in learner.method.parameters())
    assert learner.gradient_norm() == pytest.approx(math.sqrt(squares), rel=1e-5)  # sums in float32


# ---- severity


def one_step(name, *values):
    return Program.from_steps([[(name, values)]], (32, 32))


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)  # every byte once
TONES = {
    "Invert": ((), ImageOps.invert),
    "Posterize": ((1,), lambda image: ImageOps.posterize(image, 1)),
    "Solarize": ((42.5,), lambda image: ImageOps.solarize(image, 42.5)),
}


@pytest.mark.parametrize("name", TONES)
def test_severity_of_tones_is_the_mean_change_of_a_byte(name):
    values, operation = TONES[name]
    changed = np.asarray(operation(Image.fromarray(RAMP))).astype(int)
    expected = abs(changed - RAMP).mean() / 255
    found = step_severity(one_step(name, *values))[0]
    assert found == pytest.approx(expected, abs=0.002)  # 1/2 for Invert stands for 128/255


@pytest.mark.parametrize("factor", [0.16, 0.4, 1.0, 1.9])
def test_severity_of_brightness_is_the_engines_change(factor):
    image = torch.from_numpy(RAMP)[None, None].repeat(1, 3, 1, 1)
    program = Program.from_steps([[("Brightness", (factor,))]], (16, 16))
    changed = augment(image, program)[0].int()
    expected = (changed - image.int()).abs().float().mean().item() / 255
    assert step_severity(program)[0] == pytest.approx(expected, abs=0.5 / 255)  # the engine truncates


@pytest.mark.parametrize(
    "name, values, expected",
    [
        ("TranslateX", (-16, 0), 0.5),
        ("TranslateY", (100, 0), 1.0),  # nothing is left
        ("Cutout", (0, 0, 7, 15), 8 * 16 / 1024),
        ("ResizedCrop", (0, 0, 16, 16, 32, 32, 2, 13), 0.75),
        ("Jigsaw", (0, 1, 3, 2), 0.25),  # half of the tiles moved
        ("Identity", (), 0.0),
        ("Contrast", (0.6,), 0.1),
    ],
)
def test_severity_of_places(name, values, expected):
    assert step_severity(one_step(name, *values))[0] == pytest.approx(expected, rel=1e-12)


def test_severity_of_views_multiplies_what_is_kept_of_the_heavy_steps_alone():
    crop = ("ResizedCrop", (0, 0, 8, 8, 32, 32, 2, 13))  # in the standard view: does not count
    invert, shift = ("Invert", ()), ("TranslateX", (8, 0))
    gentle = [crop, ("Emit", (0,)), ("Emit", (2,)), ("Source", ()), crop, invert, ("Emit", (1,)), shift, ("Emit", (3,))]
    harsh = [crop, ("Emit", (0,)), invert, shift, ("Emit", (2,)), ("Source", ()), crop, ("Emit", (1,)),
             ("Jigsaw", (1, 0, 2, 3)), ("Jigsaw", (0,)), ("Emit", (3,))]  # fmt: skip
    found = severity(Program.from_steps([gentle, harsh], (32, 32)))
    expected = torch.tensor([[0.0, 1 - 0.5 * 0.75], [0.25, 0.25]])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_views_that_a_translation_empties_have_severity_1():
    images = torch.randint(0, 256, (200, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    views = DirectedViews(StandardView.cifar10(), policy("RA(4,10)"))  # translates by 33 pixels
    program = views.sample(images, seed=0)
    found = severity(program)
    emptied = [[any("Translate" in name for name, _ in steps) for steps in heavy_steps(program, k)] for k in (2, 3)]
    emptied = torch.tensor(emptied)
    assert 120 < emptied.sum() < 210  # 1 - (14/16)^4 = 41 % of 400
    assert (found[emptied] == 1).all() and (found[~emptied] < 1).all() and found.min() >= 0


def heavy_steps(program, view):
    """Of each image the steps between the Emit before that of `view` and its own."""
    for i in range(len(program)):
        steps = program.steps(i)
        end = steps.index(("Emit", (float(view),)))
        start = max(k for k in range(end) if steps[k][0] == "Emit")
        yield steps[start + 1 : end]
