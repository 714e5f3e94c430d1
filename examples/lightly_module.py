"""DSSL with lightly's heads: four views in place of two; `python examples/lightly_module.py` needs lightly."""

import torch
from lightly.models.modules import SimCLRProjectionHead, SimSiamPredictionHead, SimSiamProjectionHead
from plain_pytorch import drawn_images
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18

from dssl_ops import ViewGraph, directional_loss, nt_xent
from dssl_ops import transforms as T


class SimSiam(nn.Module):
    """lightly's tutorial, whose loss was 0.5 * (criterion(z0, p1) + criterion(z1, p0))."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.projection_head = backbone, SimSiamProjectionHead(512, 128, 128)
        self.prediction_head = SimSiamPredictionHead(128, 32, 128)

    def forward(self, views):
        z = [self.projection_head(self.backbone(view)) for view in views]
        return directional_loss([self.prediction_head(z_i) for z_i in z], z)


class SimCLR(nn.Module):
    """lightly's tutorial, whose loss was NTXentLoss()(z0, z1); the heavy views' graph is v^ -> v, v^' -> v'."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.projection_head = backbone, SimCLRProjectionHead(512, 128, 64)

    def forward(self, views):
        z = [self.projection_head(self.backbone(view)) for view in views]
        return nt_xent(z[0], z[1], temperature=0.5) + directional_loss(z, z, ViewGraph.weighted(0, 0, 1, 0))


def main(kind=SimSiam, epochs=2):
    torch.manual_seed(0)
    views = T.DirectedViews(T.StandardView.cifar10(), T.policy("RA(2,5)+Jigsaw(4)"), T.Normalize((0.5,), (0.25,)))
    loader = DataLoader(T.Indexed(drawn_images(32)), 16, shuffle=True, collate_fn=T.Collate(views, seed=0))
    backbone = resnet18()
    backbone.fc = nn.Identity()
    model = kind(backbone)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for epoch in range(epochs):
        loader.collate_fn.set_epoch(epoch)  # without it every epoch has the same views
        for four_views, _ in loader:
            loss = model(four_views)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")
    return loss.item()


if __name__ == "__main__":
    main()
