"""SimSiam (Chen and He 2021) and its directional form (DSSL, Algorithm 1); only the view graph differs.

    for x in loader:
        v, v', v^, v^' = views(x)             four views of every image
        z = g(f(v)), p = h(z)                 encoder f and projector g, predictor h, for each view on its own
        L = sum over edges (i, j, w) of w D(p_i, stopgrad(z_j)),   D(p, z) = -cos(p, z), mean over the batch

baseline and heavy: two pairs, (v1, v1') and (v2, v2'), each symmetric. dssl: (v, v') symmetric, and each
heavy view predicts the standard view it was made from: v^ -> v, v^' -> v'. Four terms of equal weight in each; other
weights of Eq. 6 and heavy_views all have other terms (variants.py).
"""

from torch import nn

from dssl_ops import directional_loss

from ..encoders import fan_in_init, new_encoder
from ..heads import predictor, projector
from ..variants import edge_weights, graph
from .passes import in_groups
from .result import Result


class SimSiam(nn.Module):
    def __init__(self, encoder, projector, predictor, graph, groups=1):
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.graph, self.groups = graph, groups

    def forward(self, views, severity=None):
        """Views are four of (B, 3, H, W); severity, (2, B) of v^ and v^', softens the directed terms."""
        z = [in_groups(self.project, view, self.groups) for view in views]
        p = [in_groups(self.predictor, z_i, self.groups) for z_i in z]
        return Result(directional_loss(p, z, self.graph, edge_weights(self.graph, severity)), z)

    def project(self, view):
        return self.projector(self.encoder(view))


def simsiam(config, ranks=None):
    """The method that the settings describe, freshly initialised."""
    encoder = new_encoder(config)
    head = projector(encoder.width, config.projector, config.projector_norm)
    method = SimSiam(encoder, head, predictor(config.projector[-1], config.predictor), graph(config), config.bn_splits)
    if config.fan_in_init:
        fan_in_init(method)
    return method
