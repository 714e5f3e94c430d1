"""DSSL's four terms at D = 2,048: ours against eager, torch.compile and lightly where installed.

python -m benchmarks.bench_directional_loss [--quick] [B ...]        all of it: about a minute on two idle cores

"copy" writes what the loss must write at least, a gradient for each of the four predictions: to memory as it comes, as
every loss has to, and "copy, warm" to memory that was written before.
"""

import torch
from torch.nn import functional as F

from benchmarks.harness import compare_and_time, sizes, version
from dssl_ops import directional_loss

WIDTH, EDGES = 2048, ((0, 1), (1, 0), (2, 0), (3, 1))


def ours(*views):
    return directional_loss(views[:4], views[4:])


def dense(*views):
    p, t = ([F.normalize(view, dim=1) for view in half] for half in (views[:4], [z.detach() for z in views[4:]]))
    return -0.5 * sum((p[i] * t[j]).sum(1).mean() for i, j in EDGES)


def implementations():
    yield "dssl_ops", ours
    yield "eager", dense
    yield "compile", torch.compile(dense)
    if found := version("lightly"):
        from lightly.loss import NegativeCosineSimilarity

        cosine = NegativeCosineSimilarity()
        yield f"lightly {found}", lambda *v: 0.5 * sum(cosine(v[i], v[4 + j].detach()) for i, j in EDGES)


def views(rows, count=6):
    """Four predictions, two targets."""
    return [torch.randn(rows, WIDTH, requires_grad=count == 6 and i < 4) for i in range(count)]


if __name__ == "__main__":
    directional_loss(torch.ones(4, 1, 2), torch.ones(2, 1, 2))  # builds
    for b in sizes([64, 512]):
        shape, rounds = f"4x{b}x{WIDTH}", 40
        compare_and_time("directional_loss", shape, lambda b=b: views(b), dict(implementations()), rounds)
        kept = torch.zeros(4, b, WIDTH)
        copies = {
            "copy": lambda *v: torch.stack(v),
            "copy, warm": lambda *v, kept=kept: torch.stack(v, out=kept),
        }
        compare_and_time("directional_loss", shape, lambda b=b: views(b, count=4), copies, rounds)
