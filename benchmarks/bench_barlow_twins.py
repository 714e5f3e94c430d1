"""Barlow Twins, N = 512: ours against eager, torch.compile and lightly, all three through C."""

from functools import partial

import torch

from dssl_ops import barlow_twins, barlow_twins_reference

from .harness import Case, Peer, compiled, loss

ROWS = 512
LAMBDA = 0.0051  # ours by default; lightly has 0.005


def lightly():
    from lightly.loss import BarlowTwinsLoss

    return loss(BarlowTwinsLoss(LAMBDA))


def views(width, device):
    return [torch.randn(ROWS, width, device=device, requires_grad=True) for _ in range(2)]


def cases(device, full):
    peers = {
        "dssl_ops": Peer(lambda: loss(barlow_twins), "dssl_ops"),
        "eager": Peer(lambda: loss(barlow_twins_reference)),
    }
    peers |= {"compile": Peer(compiled(barlow_twins_reference)), "lightly": Peer(lightly, "lightly")}
    for width in (128, 2048, 8192) if full else (128, 2048):
        yield Case(
            "barlow_twins", "barlow_twins", f"{ROWS}x{width}", "float32", partial(views, width, device), peers,
            mode="forward + backward", items=ROWS, moved=4 * ROWS * width * 4, tolerance=1e-4,
            # C and its two products backward, or through rows two products of N x N and two of N x D
            operations=min(6 * ROWS * width**2, 8 * ROWS**2 * width),
        )  # fmt: skip
