"""DSSL's four terms at B = 512, D = 2,048: ours against eager, torch.compile and lightly where installed.

"copy" writes what the loss must write at least, a gradient for each of the four predictions, from memory as it comes.
"""

import torch
from harness import compare_and_time, installed
from torch.nn import functional as F

from dssl_ops import directional_loss

EDGES = ((0, 1), (1, 0), (2, 0), (3, 1))


def ours(*views):
    return directional_loss(views[:4], views[4:])


def dense(*views):
    p, t = ([F.normalize(view, dim=1) for view in half] for half in (views[:4], [z.detach() for z in views[4:]]))
    return -0.5 * sum((p[i] * t[j]).sum(1).mean() for i, j in EDGES)


class Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *views):
        ctx.save_for_backward(*views[:4])
        return views[0].new_zeros(())

    @staticmethod
    def backward(ctx, upstream):
        return *(view.clone() for view in ctx.saved_tensors), None, None


def make():
    return [torch.randn(512, 2048, requires_grad=i < 4) for i in range(6)]


if __name__ == "__main__":
    providers = {"dssl_ops": ours, "eager": dense, "compile": torch.compile(dense)}
    if installed("lightly"):
        from lightly.loss import NegativeCosineSimilarity

        cosine = NegativeCosineSimilarity()
        providers["lightly"] = lambda *v: 0.5 * sum(cosine(v[i], v[4 + j].detach()) for i, j in EDGES)
    compare_and_time("directional_loss", "4x512x2048", make, providers, rounds=40)
    compare_and_time("directional_loss", "4x512x2048", make, {"copy": Copy.apply}, rounds=40)
