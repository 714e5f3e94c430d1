"""NT-Xent and InfoNCE, D = 128: ours against what else computes the same loss.

python benchmarks/bench_nt_xent.py [N ...]

Peers: dense eager PyTorch and the same under torch.compile (one compiled function for all sizes: first_ms of its first
row is the compilation, that of the others tells whether it recompiled); lightly and, up to N = 256 as its memory is
cubic, pytorch-metric-learning, where installed. bfloat16 inputs: ours and eager, which computes in float32. InfoNCE
has torch's linear_cross_entropy besides, dense and in chunks: keys and queue are its weight. It cannot leave the
diagonal out, so NT-Xent has no such row.
"""

import sys

import torch
from harness import compare_and_time, installed
from torch.nn import functional as F

from dssl_ops import info_nce, nt_xent

ROUNDS = {16: 200, 32: 200, 64: 200, 128: 100, 512: 40, 2048: 10, 4096: 5, 8192: 3}
QUEUE = torch.randn(65536, 128)


def dense(z_a, z_b, temperature=0.5):
    z = F.normalize(torch.cat([z_a, z_b]).float(), dim=1)
    count = z.shape[0]
    logits = (z @ z.t() / temperature).masked_fill(torch.eye(count, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(logits, torch.arange(count).roll(count // 2))


def implementations(n):
    yield "dssl_ops", nt_xent
    yield "eager", dense
    yield "compile", compiled
    if installed("lightly"):
        from lightly.loss import NTXentLoss

        yield "lightly", NTXentLoss(0.5)
    if installed("pytorch_metric_learning") and n <= 256:
        from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

        yield "pytorch-metric-learning", SelfSupervisedLoss(NTXentLoss(0.5))


def ours_with_queue(queries, keys):
    return info_nce(queries, keys, QUEUE, in_batch=True)


def linear_cross_entropy(options=None):
    def loss(queries, keys):
        columns = F.normalize(torch.cat([keys, QUEUE]), dim=1)
        target = torch.arange(queries.shape[0])
        return F.linear_cross_entropy(F.normalize(queries, dim=1) / 0.2, columns, target, options=options)

    return loss


def views(n, dtype=torch.float32):
    return [torch.randn(n, 128).to(dtype).requires_grad_() for _ in range(2)]


compiled = torch.compile(dense)

if __name__ == "__main__":
    nt_xent(torch.ones(2, 2), torch.ones(2, 2))  # builds
    for n in map(int, sys.argv[1:] or ROUNDS):
        rounds = ROUNDS.get(n, 5)
        compare_and_time("nt_xent", f"{n}x128", lambda n=n: views(n), dict(implementations(n)), rounds)
        half = {"dssl_ops": nt_xent, "eager": dense}
        compare_and_time("nt_xent", f"{n}x128", lambda n=n: views(n, torch.bfloat16), half, rounds, tolerance=2**-7)
    chunked = linear_cross_entropy(torch.nn.LinearCrossEntropyOptions())
    peers = {"dssl_ops": ours_with_queue, "eager": linear_cross_entropy(), "linear_cross_entropy, chunked": chunked}
    compare_and_time("info_nce", "256x128, queue 65536", lambda: views(256), peers, rounds=5)
