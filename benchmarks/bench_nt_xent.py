"""NT-Xent and InfoNCE, D = 128: ours against what else computes the same loss.

python -m benchmarks.bench_nt_xent [--quick] [N ...]        all of it: about five minutes on two idle cores

Peers: dense eager PyTorch and the same under torch.compile (one compiled function for all sizes: first_ms of its first
row is the compilation, that of the others tells whether it recompiled); lightly and, up to N = 256 as its memory is
cubic, pytorch-metric-learning, where installed. bfloat16 inputs: ours and the dense forms, which compute in float32.
InfoNCE has torch's linear_cross_entropy besides, dense and in chunks (seconds a call): keys and queue are its weight.
It cannot leave the diagonal out, so NT-Xent has no such row.
"""

import torch
from torch.nn import functional as F

from benchmarks.harness import compare_and_time, sizes, version
from dssl_ops import info_nce, nt_xent

SIZES = [16, 64, 128, 512, 2048, 4096, 8192]
WIDTH, QUEUE = 128, torch.randn(4096, 128)


def dense(z_a, z_b, temperature=0.5):
    z = F.normalize(torch.cat([z_a, z_b]).float(), dim=1)
    count = z.shape[0]
    logits = (z @ z.t() / temperature).masked_fill(torch.eye(count, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(logits, torch.arange(count).roll(count // 2))


compiled = torch.compile(dense)


def implementations(n):
    yield "dssl_ops", nt_xent
    yield "eager", dense
    yield "compile", compiled
    if found := version("lightly"):
        from lightly.loss import NTXentLoss

        yield f"lightly {found}", NTXentLoss(0.5)
    if (found := version("pytorch-metric-learning")) and n <= 256:
        from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

        yield f"pytorch-metric-learning {found}", SelfSupervisedLoss(NTXentLoss(0.5))


def ours_with_queue(queries, keys):
    return info_nce(queries, keys, QUEUE, in_batch=True)


def linear_cross_entropy(options=None):
    def loss(queries, keys):
        columns = F.normalize(torch.cat([keys, QUEUE]), dim=1)
        target = torch.arange(queries.shape[0])
        return F.linear_cross_entropy(F.normalize(queries, dim=1) / 0.2, columns, target, options=options)

    return loss


def views(n, dtype=torch.float32):
    return [torch.randn(n, WIDTH).to(dtype).requires_grad_() for _ in range(2)]


if __name__ == "__main__":
    nt_xent(torch.ones(2, 2), torch.ones(2, 2))  # builds
    for n in sizes(SIZES):
        shape, rounds = f"{n}x{WIDTH}", 200 if n < 128 else 40
        compare_and_time("nt_xent", shape, lambda n=n: views(n), dict(implementations(n)), rounds)
        half = {"dssl_ops": nt_xent, "eager": dense, "compile": compiled}
        compare_and_time("nt_xent", shape, lambda n=n: views(n, torch.bfloat16), half, rounds, tolerance=2**-7)
    chunked = linear_cross_entropy(torch.nn.LinearCrossEntropyOptions())
    peers = {"dssl_ops": ours_with_queue, "eager": linear_cross_entropy(), "linear_cross_entropy, chunked": chunked}
    compare_and_time("nt_xent", f"InfoNCE 256x{WIDTH}, queue of {len(QUEUE)}", lambda: views(256), peers, rounds=20)
