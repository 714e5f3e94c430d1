"""Barlow Twins (Zbontar et al. 2021) and its directional form.

    for x in loader:
        v, v', v^, v^' = views(x)
        z = g(f(v))                           encoder f and projector g, for each view on its own
        C = correlation over the batch of the features of z with those of z'
        L = s [sum_i (C_ii - 1)^2 + lambda sum_{i != j} C_ij^2]
          + 1/2 [D(z^, stopgrad(z)) + D(z^', stopgrad(z'))]        D(a, b) = -cos(a, b), mean over the batch

D takes z as the projector gives it, without the batch norm of C. The first line is in the hundreds or thousands at
s = 1, the second one at most 1: the log has both. baseline and heavy: the first line alone, of two views.
Several processes: the batch is that of all.
"""

from torch import nn

from dssl_ops import barlow_twins, directional_loss

from ..encoders import fan_in_init, new_encoder
from ..heads import projector
from ..variants import directed, edge_weights, pairs
from .passes import in_groups
from .result import Result


class BarlowTwins(nn.Module):
    def __init__(self, encoder, projector, lambd, scale, pairs, directed, groups=1, ranks=None):
        super().__init__()
        self.encoder, self.projector, self.lambd, self.scale = encoder, projector, lambd, scale
        self.pairs, self.directed, self.groups, self.ranks = pairs, directed, groups, ranks

    def forward(self, views, severity=None):
        """Views are two or four of (B, 3, H, W); severity, (2, B) of v^ and v^', softens the directed terms."""
        z = [in_groups(self.project, view, self.groups) for view in views]
        parts = {"symmetric": sum(w * self.twins(z[i], z[j]) for i, j, w in self.pairs)}
        if self.directed.edges:
            parts["directed"] = directional_loss(z, z, self.directed, edge_weights(self.directed, severity))
        return Result(sum(parts.values()), z, parts)

    def twins(self, a, b):
        return barlow_twins(a, b, self.lambd, self.scale, self.ranks)

    def project(self, view):
        return self.projector(self.encoder(view))


def barlow(config, ranks=None):
    """The method that the settings describe, freshly initialised."""
    encoder = new_encoder(config)
    head = projector(encoder.width, config.projector, config.projector_norm, bias=False)
    terms = pairs(config), directed(config)
    method = BarlowTwins(encoder, head, config.lambd, config.barlow_scale, *terms, config.bn_splits, ranks)
    if config.fan_in_init:
        fan_in_init(method)
    return method
