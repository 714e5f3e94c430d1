"""Optimisers and their parameter groups."""

import torch
from torch.optim import Optimizer


class LARS(Optimizer):
    """Layer-wise adaptive rates (You et al. 2017) as SimCLR, BYOL and Barlow Twins have it. With g + decay * w for g:

    rate = trust * |w| / |g|    (1 where either is 0, and in groups with adapt=False)
    velocity = momentum * velocity + rate * g,    w = w - lr * velocity
    """

    def __init__(self, params, lr, momentum=0.9, weight_decay=0.0, trust=1e-3):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": True}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is not None:
                    self.update(w, group)

    def update(self, w, group):
        g = w.grad.add(w, alpha=group["weight_decay"])
        if group["adapt"]:
            norms = w.norm(), g.norm()
            rate = group["trust"] * norms[0] / norms[1]
            g = g * torch.where((norms[0] > 0) & (norms[1] > 0), rate, 1.0)
        state = self.state[w]
        velocity = state.setdefault("velocity", torch.zeros_like(w))
        velocity.mul_(group["momentum"]).add_(g)
        w.sub_(velocity, alpha=group["lr"])


def new_optimizer(config, method):
    """SGD on all parameters alike, or LARS, which leaves biases and norms (1-D) without decay and adaptation.

    Each group's `peak` is its highest rate; `fixed` groups stay at it."""
    groups = [group for group in parameter_groups(config, method) if group["params"]]
    if config.optimizer == "lars":
        return LARS(groups, config.lr, config.momentum, config.weight_decay, config.trust)
    return torch.optim.SGD(groups, config.lr, config.momentum, weight_decay=config.weight_decay)


def parameter_groups(config, method):
    fixed = set(method.predictor.parameters()) if config.fix_predictor_lr and hasattr(method, "predictor") else set()
    for of_predictor in (False, True):
        params = [p for p in method.parameters() if p.requires_grad and (p in fixed) == of_predictor]
        common = {"fixed": of_predictor, "peak": config.lr}
        if config.optimizer == "sgd" and not config.lr_1d:
            yield {"params": params, **common}
            continue
        yield {"params": [p for p in params if p.dim() > 1], **common}
        vectors = {"params": [p for p in params if p.dim() <= 1], **common, "peak": config.lr_1d or config.lr}
        yield vectors | ({"weight_decay": 0.0, "adapt": False} if config.optimizer == "lars" else {})


def set_learning_rates(optimizer, rate, highest):
    """`rate` is that of groups whose peak is `highest`; the others move with it."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] if group["fixed"] or not highest else group["peak"] / highest * rate
