"""Passes of views through networks, each view on its own: batch norm must not mix the statistics of two views."""

import numpy as np
import torch
import torch.distributed as dist


def in_groups(module, x, groups):
    """module(x) with batch-norm statistics of each of `groups` equal parts of x: what one process per part would do
    (SplitBN, MoCo's stand-in for several GPUs)."""
    if groups == 1:
        return module(x)
    return torch.cat([module(part) for part in x.chunk(groups)])


@torch.no_grad()
def shuffled(module, x, groups, ranks, key):
    """module(x), no gradient, each row in a batch-norm group of random company (MoCo's shuffling BN).

    key: integers that the permutation is drawn from, the same on all ranks."""
    own = slice(0, len(x))
    if ranks is not None:
        rank = dist.get_rank(ranks)
        own, x = slice(rank * len(x), (rank + 1) * len(x)), gathered(x, ranks)
    order = torch.from_numpy(np.random.default_rng(key).permutation(len(x))).to(x.device)
    y = in_groups(module, x[order[own]], groups)
    if ranks is not None:
        y = gathered(y, ranks)
    return torch.empty_like(y).index_copy_(0, order, y)[own]


def gathered(rows, ranks):
    """Rows of all ranks, in their order; every rank has as many."""
    parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size(ranks))]
    dist.all_gather(parts, rows.contiguous(), group=ranks)
    return torch.cat(parts)
