"""A linear classifier on cached features by L-BFGS: a convex problem, no rate to tune."""

import torch
import torch.nn.functional as F

from ..bar import bar

DECAYS = tuple(10.0**k for k in range(-6, 1))
HELD_OUT = 0.1


def fit_lbfgs(features, labels, classes, decay, weight=None, iterations=200):
    """(classes, d + 1) minimising mean cross entropy + decay / 2 * |weight without bias|^2: convex, so no rate to tune.

    features: (N, d) float32; weight: where to start."""
    ones = features.new_ones(len(features), 1)
    x = torch.cat([features, ones], 1)
    weight = features.new_zeros(classes, x.shape[1]) if weight is None else weight.clone()
    weight.requires_grad_(True)
    optimizer = torch.optim.LBFGS([weight], 1.0, iterations, tolerance_grad=1e-6, tolerance_change=1e-10,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def objective():
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight.T, labels) + 0.5 * decay * weight[:, :-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return weight.detach()


def predict(weight, features):
    return (features @ weight[:, :-1].T + weight[:, -1]).argmax(1)


def fast_linear(bank, bank_labels, queries, query_labels, classes):
    """(top-1 in percent of the queries, decay): standardised features; the decay is chosen on a tenth of the bank."""
    mean, std = bank.mean(0), bank.std(0).clamp_min(1e-6)
    bank, queries = (bank - mean) / std, (queries - mean) / std
    order = torch.randperm(len(bank), generator=torch.Generator().manual_seed(0)).to(bank.device)
    held, kept = order.tensor_split([max(1, int(HELD_OUT * len(bank)))])
    found: dict[float, float] = {}
    weight = None
    for decay in bar(sorted(DECAYS, reverse=True), desc="L-BFGS", unit="fit", leave=False):
        weight = fit_lbfgs(bank[kept], bank_labels[kept], classes, decay, weight)  # from the stronger decay's solution
        found[decay] = (predict(weight, bank[held]) == bank_labels[held]).double().mean().item()
    decay = max(found, key=found.__getitem__)  # of equals the strongest
    weight = fit_lbfgs(bank, bank_labels, classes, decay)
    return 100 * (predict(weight, queries) == query_labels).double().mean().item(), decay
