"""NT-Xent, InfoNCE with a queue and CLIP's loss both ways, D = 128: ours against what else computes the same loss.

Peers: dense eager PyTorch and the same under torch.compile; lightly; up to N = 256, as its memory is cubic,
pytorch-metric-learning. bfloat16 inputs: ours and the dense forms, which compute in float32, and those whose product
is in bfloat16, as under autocast. InfoNCE has torch's linear_cross_entropy besides, whole and in chunks: keys and queue
are its weight, so it makes a gradient for the queue that nobody wants. It cannot leave the diagonal out: NT-Xent has no
such row. On CUDA inf-cl and memeff compute CLIP's loss; neither has been run by us yet.
"""

from functools import partial

import torch
from dssl_trainer.device import fast_bf16
from torch.nn import functional as F

from dssl_ops import info_nce, nt_xent

from .harness import Case, Peer, Skip, compiled, loss

WIDTH, QUEUE, QUERIES = 128, 4096, 256


def dense(z_a, z_b, temperature=0.5):
    return cross_entropy_of(F.normalize(torch.cat([z_a, z_b]).float(), dim=1), temperature)


def dense_bfloat16(z_a, z_b, temperature=0.5):
    return cross_entropy_of(F.normalize(torch.cat([z_a, z_b]).float(), dim=1).bfloat16(), temperature)


def cross_entropy_of(z, temperature):
    count = z.shape[0]
    logits = ((z @ z.t()).float() / temperature).masked_fill(
        torch.eye(count, dtype=torch.bool, device=z.device), -torch.inf
    )
    return F.cross_entropy(logits, torch.arange(count, device=z.device).roll(count // 2))


def half_product(device, build):
    if not fast_bf16(torch.device(device)):
        raise Skip("bfloat16 products are emulated here, and take minutes")
    return build()


def lightly():
    from lightly.loss import NTXentLoss

    return loss(NTXentLoss(0.5))


def metric_learning(n):
    if n > 256:
        raise Skip("memory is cubic in N")
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    return loss(SelfSupervisedLoss(NTXentLoss(0.5)))


def ours_with_queue(queries, keys, queue):
    return info_nce(queries, keys, queue, in_batch=True)


def dense_with_queue(queries, keys, queue):
    queries = F.normalize(queries, dim=1) / 0.2
    logits = torch.cat([queries @ F.normalize(other, dim=1).t() for other in (keys, queue)], dim=1)
    return F.cross_entropy(logits, torch.arange(queries.shape[0], device=queries.device))


def linear_cross_entropy(queries, keys, queue, options=None):
    columns = F.normalize(torch.cat([keys, queue]), dim=1)
    target = torch.arange(queries.shape[0], device=queries.device)
    return F.linear_cross_entropy(F.normalize(queries, dim=1) / 0.2, columns, target, options=options)


def chunked():
    return loss(partial(linear_cross_entropy, options=torch.nn.LinearCrossEntropyOptions()))


def ours_both_ways(x, y):
    return (info_nce(x, y) + info_nce(y, x)) / 2


def dense_both_ways(x, y):
    logits = F.normalize(x, dim=1) @ F.normalize(y, dim=1).t() / 0.2
    target = torch.arange(x.shape[0], device=x.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2


def inf_cl(device):
    if device != "cuda":
        raise Skip("needs CUDA")
    from inf_cl import cal_inf_loss

    scale = torch.tensor(5.0, device=device)

    def both_ways(x, y):
        x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
        return sum(cal_inf_loss(q, k, scale=scale, head_dim=WIDTH) for q, k in ((x, y), (y, x))) / 2

    return loss(both_ways)


def memeff(device):
    if device != "cuda":
        raise Skip("needs CUDA")
    from memeff import MemoryEfficientCLIPLoss

    return loss(MemoryEfficientCLIPLoss(temperature=0.2, stable=False))


def views(n, device, dtype=torch.float32):
    return [torch.randn(n, WIDTH, device=device).to(dtype).requires_grad_() for _ in range(2)]


def with_queue(device):
    return [*views(QUERIES, device), torch.randn(QUEUE, WIDTH, device=device)]


def case(op, shape, dtype, make, peers, **of_case):
    return Case("nt_xent", op, shape, dtype, make, peers, mode="forward + backward", **of_case)


def cases(device, full):
    both = {"dssl_ops": Peer(lambda: loss(nt_xent), "dssl_ops"), "eager": Peer(lambda: loss(dense))}
    both["compile"] = Peer(compiled(dense))
    in_half = {"eager, bfloat16 product": Peer(partial(half_product, device, lambda: loss(dense_bfloat16)))}
    in_half["compile, bfloat16 product"] = Peer(partial(half_product, device, compiled(dense_bfloat16)))
    for n in (16, 64, 128, 512, 2048, 4096, 8192) if full else (64, 512, 2048):
        # S is symmetric: half of a product forward, half again and one with the rows backward
        counted = dict(items=n, moved=4 * n * WIDTH * 4, operations=2 * 2 * (2 * n) ** 2 * WIDTH)
        peers = both | {"lightly": Peer(lightly, "lightly")}
        peers["pytorch-metric-learning"] = Peer(partial(metric_learning, n), "pytorch-metric-learning")
        shape = f"{n}x{WIDTH}"
        yield case("nt_xent", shape, "float32", partial(views, n, device), peers, tolerance=1e-4, **counted)
        if full:
            half = partial(views, n, device, torch.bfloat16)
            yield case("nt_xent", shape, "bfloat16", half, both | in_half, tolerance=2**-7, **counted)
    peers = {"dssl_ops": Peer(lambda: loss(ours_with_queue), "dssl_ops")}
    peers |= {"eager": Peer(lambda: loss(dense_with_queue)), "compile": Peer(compiled(dense_with_queue))}
    peers |= {"linear_cross_entropy": Peer(lambda: loss(linear_cross_entropy))}
    peers["linear_cross_entropy, chunked"] = Peer(chunked)
    counted = dict(items=QUERIES, operations=6 * QUERIES * (QUERIES + QUEUE) * WIDTH, tolerance=1e-4)
    shape = f"{QUERIES}x{WIDTH}, queue of {QUEUE}"
    yield case("info_nce", shape, "float32", partial(with_queue, device), peers, **counted)
    peers = {"dssl_ops": Peer(lambda: loss(ours_both_ways), "dssl_ops"), "eager": Peer(lambda: loss(dense_both_ways))}
    peers["compile"] = Peer(compiled(dense_both_ways))
    peers |= {"inf-cl": Peer(partial(inf_cl, device), "inf-cl"), "memeff": Peer(partial(memeff, device), "memeff")}
    n = 2048
    counted = dict(items=n, operations=6 * n**2 * WIDTH, tolerance=1e-2)  # inf-cl multiplies in tf32
    yield case("info_nce", f"{n}x{WIDTH}, both ways", "float32", partial(views, n, device), peers, **counted)
