"""MoCo v2 (He et al. 2020, Chen et al. 2020) and its directional form.

    for x in loader:
        v, v', v^, v^' = views(x)
        q = g(f(v))                           encoder f and projector g
        k = g_slow(f_slow(v'))                without gradient, rows shuffled over batch-norm groups
        L = InfoNCE(q, k, queue)              query i must pick key i among the queue
          + D(g(f(v^')), k)                   v^' derives from the key's view: no further key. D(a, b) = -cos(a, b)
        update f, g
        f_slow, g_slow = m (f_slow, g_slow) + (1 - m) (f, g);  enqueue k, never a heavy view's

`symmetric`: the same with v and v' exchanged is added, and both keys go into the queue. gamma weighs the second line.
baseline and heavy: the first line alone, of two views. Each rank's queue holds the keys of all.
"""

import torch
import torch.nn.functional as F
from torch import nn

from dssl_ops import KeyQueue, ViewGraph, directional_loss, info_nce

from ..encoders import fan_in_init, new_encoder
from ..heads import projector
from ..variants import directed, edge_weights, pairs
from .ema import follow, slow_copy
from .passes import gathered, in_groups, shuffled
from .result import Result


class MoCoV2(nn.Module):
    passes: torch.Tensor

    def __init__(self, encoder, projector, queue, temperature, pairs, directed, groups=1, ranks=None, seed=0):
        super().__init__()
        self.encoder, self.projector, self.queue = encoder, projector, queue
        self.slow = slow_copy(nn.Sequential(encoder, projector))
        self.pairs, self.directed, self.temperature = pairs, directed, temperature
        self.groups, self.ranks, self.seed = groups, ranks, seed
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))  # the shuffles are drawn from its count

    def forward(self, views, severity=None):
        """Views are two or four of (B, 3, H, W); severity, (2, B) of v^ and v^', softens the directed terms."""
        edges = (*self.pairs, *self.directed.edges)
        q = {i: in_groups(self.project, views[i], self.groups) for i in sorted({i for i, _, _ in edges})}
        k = {j: self.key(views[j], j) for j in sorted({j for _, j, _ in edges})}
        self.passes += 1
        parts = {"symmetric": sum(w * self.contrast(q[i], k[j]) for i, j, w in self.pairs)}
        z = [q.get(view, k.get(view)) for view in range(len(views))]
        if self.directed.edges:
            targets = [k.get(view, z[view]) for view in range(len(views))]
            first = next(iter(q.values()))  # stands where the graph has no edge
            predictions, targets = ([first if row is None else row for row in rows] for rows in (z, targets))
            weights = edge_weights(self.directed, severity)
            parts["directed"] = directional_loss(predictions, targets, self.directed, weights)
        enqueued = [k[j] for j in k if not self.directed.edges or j < 2]
        return Result(sum(parts.values()), z, parts, enqueued)

    def contrast(self, q, k):
        return info_nce(q, k, self.queue.keys, self.temperature, self.ranks)

    def key(self, view, number):
        return F.normalize(shuffled(self.slow, view, self.groups, self.ranks, (self.seed, int(self.passes), number)))

    def project(self, view):
        return self.projector(self.encoder(view))

    def after_step(self, momentum, keys):
        """After the optimiser's step: `keys` of all its passes."""
        follow(self.slow, nn.Sequential(self.encoder, self.projector), momentum)
        for rows in keys:
            self.queue.enqueue(rows if self.ranks is None else gathered(rows, self.ranks))


def mocov2(config, ranks=None):
    """The method that the settings describe, freshly initialised."""
    encoder = new_encoder(config)
    head = projector(encoder.width, config.projector, config.projector_norm, hidden_norm=False)
    if config.fan_in_init:
        fan_in_init(nn.ModuleList([encoder, head]))
    queue = KeyQueue(config.queue, config.projector[-1])
    ways = 2 if config.symmetric else 1
    terms = tuple((a, b, w) for i, j, w in pairs(config) for a, b in ((i, j), (j, i))[:ways])
    # The key's side is v': without `symmetric` only v^' has a key to learn from. A term counts 1, as InfoNCE does.
    edges = ((i, j, 2 * w) for i, j, w in directed(config).edges if config.symmetric or i in (1, 3))
    graphs = terms, ViewGraph(tuple(edges))
    return MoCoV2(encoder, head, queue, config.temperature, *graphs, config.bn_splits, ranks, config.seed)
