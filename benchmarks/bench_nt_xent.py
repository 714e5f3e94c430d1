"""NT-Xent, D = 128: ours against dense eager, torch.compile, lightly and pytorch-metric-learning where installed.

python benchmarks/bench_nt_xent.py [N ...]
"""

import sys

import torch
from harness import compare_and_time, installed
from torch.nn import functional as F

from dssl_ops import nt_xent

ROUNDS = {128: 100, 512: 40, 2048: 10, 4096: 5, 8192: 3}


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
    if installed("pytorch_metric_learning") and n <= 256:  # its memory is cubic
        from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

        yield "pytorch-metric-learning", SelfSupervisedLoss(NTXentLoss(0.5))


compiled = torch.compile(dense)

if __name__ == "__main__":
    nt_xent(torch.ones(2, 2), torch.ones(2, 2))  # builds
    for n in map(int, sys.argv[1:] or ROUNDS):
        make = lambda dtype=torch.float32, n=n: [torch.randn(n, 128).to(dtype).requires_grad_() for _ in range(2)]  # noqa: E731
        compare_and_time("nt_xent", f"{n}x128", make, dict(implementations(n)), ROUNDS.get(n, 5))
        half = lambda make=make: make(torch.bfloat16)  # noqa: E731
        compare_and_time("nt_xent", f"{n}x128", half, {"dssl_ops": nt_xent}, ROUNDS.get(n, 5))
