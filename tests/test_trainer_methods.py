"""The five methods against their formulas, written out here in a few lines of float64, value and gradient."""

import dataclasses
from itertools import combinations
from pathlib import Path

import dssl_trainer.methods
import pytest
import torch
import torch.nn.functional as F
from dssl_trainer.methods import METHODS
from dssl_trainer.methods.passes import in_groups, shuffled
from trainer_setup import tiny

from dssl_ops import ViewGraph

VIEWS = [torch.randn(8, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in range(4)]
SEVERITY = torch.rand(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


def cosine(p, t, keep=None):
    """D(p, stopgrad t) = -cos, mean over the batch, row b times 1 - severity where there is one."""
    t = t.detach()
    rows = -(p * t).sum(1) / (p.square().sum(1).sqrt() * t.square().sum(1).sqrt())
    return (rows if keep is None else rows * keep).mean()


def nt_xent(a, b, temperature):
    z = torch.cat([a, b])
    z = z / z.square().sum(1, keepdim=True).sqrt()
    logits = (z @ z.t() / temperature).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    partner = torch.arange(len(z)).roll(len(a))
    return -(logits.gather(1, partner[:, None])[:, 0] - logits.exp().sum(1).log()).mean()


def info_nce(q, k, queue, temperature):
    q, k = F.normalize(q), F.normalize(k).detach()
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ F.normalize(queue).t()], dim=1) / temperature
    return (logits.exp().sum(1).log() - logits[:, 0]).mean()


def barlow(a, b, lambd):
    a, b = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in (a, b))
    c = a.t() @ b / len(a)
    eye = torch.eye(len(c), dtype=c.dtype)
    return ((c - eye).square() * (eye + lambd * (1 - eye))).sum()


def new(method, **changes):
    torch.manual_seed(3)
    module = METHODS[method](tiny("x", method, **{"bn_splits": 1} | changes)).double()
    for slow in (getattr(module, "target", None), getattr(module, "slow", None)):
        for parameter in slow.parameters() if slow else ():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.02)  # as after some steps
    return module


def compare(module, expected, severity=None, views=VIEWS):
    """`expected(module)` is the formula."""
    found = module(views, severity).loss
    truth = expected(module)
    assert found.item() == pytest.approx(truth.item(), rel=1e-12, abs=1e-12)
    parameters = [p for p in module.parameters() if p.requires_grad]
    gradients = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (found, truth))
    for ours, theirs in zip(*gradients, strict=True):
        # float64 through some twenty layers: rounding of 1e-16 grows to perhaps 1e-11.
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def projections(module, views=VIEWS):
    return [module.projector(module.encoder(view)) for view in views]


DIRECTED = {"dssl": (None, None), "soft": tuple(1 - SEVERITY)}


@pytest.mark.parametrize("variant", DIRECTED)
def test_simclr_with_directed_terms(variant):
    module, keep = new("simclr", variant=variant), DIRECTED[variant]

    def formula(module):
        z = projections(module)
        return nt_xent(z[0], z[1], 0.5) + (cosine(z[2], z[0], keep[0]) + cosine(z[3], z[1], keep[1])) / 2

    compare(module, formula, None if variant == "dssl" else SEVERITY)


@pytest.mark.parametrize("variant", DIRECTED)
def test_barlow_with_directed_terms(variant):
    module, keep = new("barlow", variant=variant), DIRECTED[variant]

    def formula(module):
        z = projections(module)
        return barlow(z[0], z[1], 0.005) + (cosine(z[2], z[0], keep[0]) + cosine(z[3], z[1], keep[1])) / 2

    compare(module, formula, None if variant == "dssl" else SEVERITY)


@pytest.mark.parametrize("variant", DIRECTED)
@pytest.mark.parametrize("method", ["simsiam", "byol"])
def test_simsiam_and_byol_with_directed_terms(method, variant):
    module, keep = new(method, variant=variant), DIRECTED[variant]

    def formula(module):
        z = projections(module)
        p = [module.predictor(row) for row in z]
        t = [module.target(view) for view in VIEWS[:2]] if method == "byol" else z
        symmetric = cosine(p[0], t[1]) + cosine(p[1], t[0])
        return (symmetric + cosine(p[2], t[0], keep[0]) + cosine(p[3], t[1], keep[1])) / 2

    compare(module, formula, None if variant == "dssl" else SEVERITY)


@pytest.mark.parametrize("variant", DIRECTED)
@pytest.mark.parametrize("symmetric", [False, True])
def test_mocov2_with_directed_terms(variant, symmetric):
    """Without `symmetric` the key's view is v', and of the heavy views only v^' learns from a key."""
    module, keep = new("mocov2", variant=variant, symmetric=symmetric), DIRECTED[variant]
    queue = module.queue.keys.clone()

    def formula(module):
        q, k = projections(module), [module.slow(view) for view in VIEWS[:2]]
        loss = info_nce(q[0], k[1], queue, 0.1) + cosine(q[3], k[1], keep[1])
        if symmetric:
            loss = loss + info_nce(q[1], k[0], queue, 0.1) + cosine(q[2], k[0], keep[0])
        return loss

    compare(module, formula, None if variant == "dssl" else SEVERITY)


FORMULAS = {
    "simclr": lambda m, z, i, j: nt_xent(z[i], z[j], 0.5),
    "barlow": lambda m, z, i, j: barlow(z[i], z[j], 0.005),
    "mocov2": lambda m, z, i, j: info_nce(z[i], m.slow(VIEWS[j]), m.queue.keys, 0.1),
    "simsiam": lambda m, z, i, j: (cosine(m.predictor(z[i]), z[j]) + cosine(m.predictor(z[j]), z[i])) / 2,
    "byol": lambda m, z, i, j: (
        cosine(m.predictor(z[i]), m.target(VIEWS[j])) + cosine(m.predictor(z[j]), m.target(VIEWS[i]))
    ) / 2,
}  # fmt: skip


@pytest.mark.parametrize("variant", ["baseline", "heavy"])
@pytest.mark.parametrize("method", FORMULAS)
def test_without_directed_terms_pairs_are_symmetric(method, variant):
    """SimSiam and BYOL take two pairs, the others one (Sec. 4.1)."""
    pairs = ((0, 1), (2, 3)) if method in ("simsiam", "byol") else ((0, 1),)
    views = VIEWS[: 2 * len(pairs)]

    def formula(module):
        z = projections(module, views)
        return sum(FORMULAS[method](module, z, i, j) for i, j in pairs)

    compare(new(method, variant=variant), formula, views=views)


@pytest.mark.parametrize("method", FORMULAS)
def test_reading_all_pulls_eq_6_together_with_ones(method):
    def formula(module):
        z = projections(module)
        return sum(FORMULAS[method](module, z, i, j) for i, j in ((0, 1), (2, 3), (0, 2), (1, 3)))

    compare(new(method, variant="heavy", heavy_views="all"), formula)


@pytest.mark.parametrize("scale, unit", [("sum", 1.0), ("mean", 0.5)])
@pytest.mark.parametrize("method", ["simclr", "barlow", "simsiam"])
def test_eq_6_weights_and_loss_scale(method, scale, unit):
    module = new(method, alpha=0.5, beta=0.25, gamma=2.0, delta=0.75, loss_scale=scale)

    def formula(module):
        z = projections(module)
        p = [module.predictor(row) for row in z] if method == "simsiam" else z
        symmetric = 0.5 * FORMULAS[method](module, z, 0, 1) + 0.25 * FORMULAS[method](module, z, 2, 3)
        forward = cosine(p[2], z[0]) + cosine(p[3], z[1])
        reverse = cosine(p[0], z[2]) + cosine(p[1], z[3])
        return unit * (symmetric + (2.0 * forward + 0.75 * reverse) / 2)

    compare(module, formula)


@pytest.mark.parametrize("method", METHODS)
def test_targets_and_slow_networks_receive_no_gradient(method):
    module = new(method, alpha=0.0, gamma=1.0) if method != "mocov2" else new(method)
    views = [view.clone().requires_grad_() for view in VIEWS]
    if method == "mocov2":
        module.pairs = ()
    if method in ("simsiam", "byol"):
        assert module.graph == ViewGraph(((2, 0, 0.5), (3, 1, 0.5)))
    module(views).loss.backward()
    assert all(view.grad is None or not view.grad.any() for view in views[:2])  # the standard views are targets only
    assert views[3].grad.any()
    slow = getattr(module, "target", None) or getattr(module, "slow", None)
    assert slow is None or all(p.grad is None for p in slow.parameters())


# ---- slow networks, queue, groups of batch norm


@pytest.mark.parametrize("method, name", [("byol", "target"), ("mocov2", "slow")])
def test_slow_network_follows_parameters_only(method, name):
    module = new(method)
    slow, fast = getattr(module, name), torch.nn.Sequential(module.encoder, module.projector)
    expected = [0.9 * s + 0.1 * f for s, f in zip(slow.parameters(), fast.parameters(), strict=True)]
    buffers = [b.clone() for b in slow.buffers()]
    module.after_step(0.9, [])
    for parameter, truth in zip(slow.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), truth.detach(), rtol=1e-12, atol=1e-15)
    assert all(torch.equal(a, b) for a, b in zip(slow.buffers(), buffers, strict=True))


@pytest.mark.parametrize("symmetric, views", [(False, (1,)), (True, (0, 1))])
def test_queue_takes_the_keys_of_standard_views_only(symmetric, views):
    module = new("mocov2", symmetric=symmetric, queue=64)
    result = module(VIEWS)
    expected = torch.cat([F.normalize(module.slow(VIEWS[k])) for k in views])
    module.after_step(0.99, result.keys)
    torch.testing.assert_close(module.queue.keys[: len(expected)], expected.to(module.queue.keys), rtol=1e-6, atol=1e-6)
    assert int(module.queue.pointer) == len(expected)


def test_groups_have_statistics_of_their_own():
    module = new("simclr", bn_splits=2)
    z = in_groups(module.project, VIEWS[0], 2)
    expected = torch.cat([module.project(VIEWS[0][:4]), module.project(VIEWS[0][4:])])
    torch.testing.assert_close(z, expected, rtol=0, atol=0)


def test_shuffle_gives_each_row_its_own_result_in_random_company():
    norm = torch.nn.BatchNorm1d(3, affine=False).double()
    x = torch.randn(8, 3, dtype=torch.float64)
    a, b = (shuffled(norm, x, 2, None, (0, key)) for key in (1, 2))
    assert not torch.allclose(a, b) and torch.equal(a, shuffled(norm, x, 2, None, (0, 1)))
    for one in (a, b):  # within its group a row is (x - mean) / std: some split of the rows in halves explains it
        assert any(torch.allclose(one, by_halves(x, half), atol=1e-9) for half in halves(8))


def halves(count):
    return (list(chosen) for chosen in combinations(range(count), count // 2))


def by_halves(x, half):
    y = torch.empty_like(x)
    for rows in (half, [i for i in range(len(x)) if i not in half]):
        y[rows] = (x[rows] - x[rows].mean(0)) / (x[rows].var(0, correction=0) + 1e-5).sqrt()
    return y


def test_method_files_read_like_papers():
    files = Path(dssl_trainer.methods.__file__).parent.glob("*.py")
    lengths = {path.name: len(path.read_text().splitlines()) for path in files}
    assert {name: count for name, count in lengths.items() if count > 120} == {}


def test_configured_heads_are_the_recipes():
    for method, expected in (
        ("byol", ["Linear", "BatchNorm1d", "ReLU", "Linear"]),
        ("simsiam", ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]),
        ("simclr", ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]),
        ("mocov2", ["Linear", "ReLU", "Linear"]),
        ("barlow", ["Linear", "BatchNorm1d", "ReLU", "Linear"]),
    ):
        head = new(method).projector
        assert [type(layer).__name__ for layer in head] == expected
        assert (head[0].bias is None) == (method in ("simclr", "barlow"))
    assert not new("simsiam").projector[-1].affine
    last = new("simclr").projector[-1]
    assert last.weight.requires_grad and not last.bias.requires_grad and not last.bias.any()


def test_settings_reach_the_initialisation():
    config = tiny("x", zero_init=True)
    assert not METHODS["simsiam"](config).encoder.layer1[0].bn2.weight.any()
    torch.manual_seed(0)
    weight = METHODS["simsiam"](dataclasses.replace(config, fan_in_init=True)).encoder.layer4[0].conv2.weight
    bound = (64 * 9) ** -0.5
    assert weight.abs().max() <= bound and weight.abs().max() > 0.99 * bound  # of 36,864 draws
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
