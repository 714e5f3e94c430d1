"""The slow copy of a network: BYOL's target, MoCo's key encoder."""

import copy
import math

import torch


def slow_copy(module):
    """A copy that no gradient reaches. It stays in training mode: its batch norm takes its own batch's statistics."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(slow, fast, momentum):
    """slow = momentum * slow + (1 - momentum) * fast, parameters only: running statistics are each network's own."""
    torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), 1 - momentum)


def ema_momentum(config, step, last_step):
    """tau of step 0, 1, ..: constant, or BYOL's 1 - (1 - tau0) (cos(pi k / K) + 1) / 2, which ends at 1."""
    if config.ema_schedule == "constant":
        return config.ema
    return 1 - (1 - config.ema) * (math.cos(math.pi * step / last_step) + 1) / 2
