"""SimCLR (Chen et al. 2020) and its directional form (Sec. 4.1: one more term for each view, 2 n^2 + 2 n in all).

    for x in loader:
        v, v', v^, v^' = views(x)
        z = g(f(v))                           encoder f and projector g, for each view on its own
        L = NT-Xent(z, z')                    each of the 2 n rows against all others of the batch
          + 1/2 [D(z^, stopgrad(z)) + D(z^', stopgrad(z'))]        D(a, b) = -cos(a, b), mean over the batch

Heavy views have no negatives. The target is detached, or D would be symmetric; gamma weighs the second line.
baseline and heavy: the first line alone, of two views. Several processes: negatives are those of all.
"""

from torch import nn

from dssl_ops import directional_loss, nt_xent

from ..encoders import fan_in_init, new_encoder
from ..heads import projector
from ..variants import directed, edge_weights, pairs
from .passes import in_groups
from .result import Result


class SimCLR(nn.Module):
    def __init__(self, encoder, projector, temperature, pairs, directed, groups=1, ranks=None):
        super().__init__()
        self.encoder, self.projector, self.temperature = encoder, projector, temperature
        self.pairs, self.directed, self.groups, self.ranks = pairs, directed, groups, ranks

    def forward(self, views, severity=None):
        """Views are two or four of (B, 3, H, W); severity, (2, B) of v^ and v^', softens the directed terms."""
        z = [in_groups(self.project, view, self.groups) for view in views]
        parts = {"symmetric": sum(w * nt_xent(z[i], z[j], self.temperature, self.ranks) for i, j, w in self.pairs)}
        if self.directed.edges:
            parts["directed"] = directional_loss(z, z, self.directed, edge_weights(self.directed, severity))
        return Result(sum(parts.values()), z, parts)

    def project(self, view):
        return self.projector(self.encoder(view))


def simclr(config, ranks=None):
    """The method that the settings describe, freshly initialised."""
    encoder = new_encoder(config)
    head = projector(encoder.width, config.projector, config.projector_norm, bias=False)
    terms = pairs(config), directed(config)
    method = SimCLR(encoder, head, config.temperature, *terms, config.bn_splits, ranks)
    if config.fan_in_init:
        fan_in_init(method)
    return method
