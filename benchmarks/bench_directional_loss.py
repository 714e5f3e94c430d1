"""DSSL's four terms at D = 2,048: ours against eager, torch.compile and lightly.

"copy" writes what the loss must write at least, a gradient for each of the four predictions.
"""

from functools import partial

import torch
from torch.nn import functional as F

from dssl_ops import directional_loss

from .harness import Case, Peer, compiled, loss, plain

WIDTH, EDGES = 2048, ((0, 1), (1, 0), (2, 0), (3, 1))


def ours(*views):
    return directional_loss(views[:4], views[4:])


def dense(*views):
    p, t = ([F.normalize(view, dim=1) for view in half] for half in (views[:4], [z.detach() for z in views[4:]]))
    return -0.5 * sum((p[i] * t[j]).sum(1).mean() for i, j in EDGES)


def lightly():
    from lightly.loss import NegativeCosineSimilarity

    cosine = NegativeCosineSimilarity()
    return loss(lambda *v: 0.5 * sum(cosine(v[i], v[4 + j].detach()) for i, j in EDGES))


def copy(*views):
    return torch.stack([view.detach() for view in views[:4]])


def views(rows, device):
    """Four predictions, two targets."""
    return [torch.randn(rows, WIDTH, device=device, requires_grad=i < 4) for i in range(6)]


def cases(device, full):
    peers = {"dssl_ops": Peer(lambda: loss(ours), "dssl_ops"), "eager": Peer(lambda: loss(dense))}
    peers |= {"compile": Peer(compiled(dense)), "lightly": Peer(lightly, "lightly")}
    peers["copy"] = Peer(lambda: plain(copy), equal=False)
    for rows in (64, 256, 512, 1024, 4096) if full else (64, 512):
        # predictions and targets in, gradients out: one reading would do for both passes
        moved = (4 + 2 + 4) * rows * WIDTH * 4
        yield Case(
            "directional_loss", "directional_loss", f"4x{rows}x{WIDTH}", "float32", partial(views, rows, device), peers,
            mode="forward + backward", items=rows, moved=moved, tolerance=1e-4,
        )  # fmt: skip
