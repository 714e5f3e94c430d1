"""SimSiam (Chen and He 2021) and its directional form (DSSL, Algorithm 1); only the view graph differs.

    for x in loader:
        v, v', v^, v^' = views(x)             four views of every image
        z = g(f(v)), p = h(z)                 encoder f and projector g, predictor h, for each view on its own
        L = sum over edges (i, j, w) of w D(p_i, stopgrad(z_j)),   D(p, z) = -cos(p, z), mean over the batch

baseline and heavy: two pairs, (v1, v1') and (v2, v2'), each symmetric. dssl: (v, v') symmetric, and each
heavy view predicts the standard view it was made from: v^ -> v, v^' -> v'. Always four terms of equal weight.
"""

from torch import nn

from dssl_ops import ViewGraph, directional_loss

from ..encoders import ENCODERS
from ..heads import predictor, projector


class SimSiam(nn.Module):
    def __init__(self, encoder, projector, predictor, graph):
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.graph = graph

    def forward(self, views):
        """Loss of four views (B, 3, H, W). Each has its own pass: batch norm must not mix their statistics."""
        z = [self.projector(self.encoder(view)) for view in views]
        p = [self.predictor(z_i) for z_i in z]
        return directional_loss(p, z, self.graph)


def simsiam(config):
    """The method that the settings describe, freshly initialised (torch's default init, as the authors')."""
    encoder = ENCODERS[config.encoder]()
    hidden, width = config.projector
    graph = view_graph(config.variant, config.loss_scale)
    return SimSiam(encoder, projector(encoder.width, hidden, width), predictor(width, config.predictor), graph)


def view_graph(variant, scale):
    return ViewGraph.dssl(scale=scale) if variant == "dssl" else ViewGraph.symmetric(pairs=2, scale=scale)
