"""The slow copy of a network: BYOL's target, MoCo's key encoder."""

import copy

import torch


def slow_copy(module):
    """A copy that no gradient reaches. It stays in training mode: its batch norm takes its own batch's statistics."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(slow, fast, momentum):
    """slow = momentum * slow + (1 - momentum) * fast, parameters only: running statistics are each network's own."""
    torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), 1 - momentum)
