"""BYOL (Grill et al. 2020) and its directional form; the loss is that of SimSiam with a slow network's targets.

    for x in loader:
        v, v', v^, v^' = views(x)
        q = h(g(f(v)))                        online encoder, projector, predictor, for each view on its own
        t = g_slow(f_slow(v))                 target, only of views that another view predicts: in DSSL v and v'
        L = sum over edges (i, j, w) of w D(q_i, t_j),   D(q, t) = -cos(q, t), mean over the batch
        update f, g, h
        f_slow, g_slow = tau (f_slow, g_slow) + (1 - tau) (f, g)

The paper's and the authors' D, negative cosine with weight 1/2, is BYOL's squared distance / 4, but for a constant.
"""

import torch
from torch import nn

from dssl_ops import directional_loss

from ..encoders import fan_in_init, new_encoder
from ..heads import predictor, projector
from ..variants import edge_weights, graph
from .ema import follow, slow_copy
from .passes import in_groups
from .result import Result


class BYOL(nn.Module):
    def __init__(self, encoder, projector, predictor, graph, groups=1):
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.target = slow_copy(nn.Sequential(encoder, projector))
        self.graph, self.groups = graph, groups

    def forward(self, views, severity=None):
        """Views are four of (B, 3, H, W); severity, (2, B) of v^ and v^', softens the directed terms."""
        z = [in_groups(self.project, view, self.groups) for view in views]
        q = [in_groups(self.predictor, z_i, self.groups) for z_i in z]
        with torch.no_grad():
            t = [in_groups(self.target, view, self.groups) for view in views[: self.graph.targets]]
        return Result(directional_loss(q, t, self.graph, edge_weights(self.graph, severity)), z)

    def project(self, view):
        return self.projector(self.encoder(view))

    def after_step(self, momentum, keys):
        follow(self.target, nn.Sequential(self.encoder, self.projector), momentum)


def byol(config, ranks=None):
    """The method that the settings describe, freshly initialised."""
    encoder = new_encoder(config)
    head = projector(encoder.width, config.projector, config.projector_norm)
    online = encoder, head, predictor(config.projector[-1], config.predictor)
    if config.fan_in_init:
        fan_in_init(nn.ModuleList(online))
    return BYOL(*online, graph(config), config.bn_splits)
