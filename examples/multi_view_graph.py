"""Five views and a graph of your own, as SupCon or multi-crop training has many positives.

Views 0 and 1 are standard, 2 to 4 ever heavier. Each learns from the two standard ones, with less weight the heavier it
is; samples of a batch may be weighted, too. `python examples/multi_view_graph.py` also draws the graph.
"""

import torch
from plain_pytorch import drawn_images, head
from torch import nn

from dssl_ops import ViewGraph, directional_loss
from dssl_ops import transforms as T

STANDARD = T.StandardView.cifar10()
VIEWS = T.MultiView(
    (STANDARD, STANDARD, *(T.Compose([STANDARD, T.RandAugment(2, m)]) for m in (3, 9, 15))),  # they take turns
    views=5,
    normalize=T.Normalize((0.5,), (0.25,)),
)
STRENGTH = {2: 0.5, 3: 0.3, 4: 0.2}
GRAPH = ViewGraph(
    [(0, 1, 1.0), (1, 0, 1.0), *((heavy, target, w) for heavy, w in STRENGTH.items() for target in (0, 1))]
)


def main(steps=5, picture="graph.png"):
    torch.manual_seed(0)
    images = torch.stack([image for image, _ in drawn_images(32)])
    encoder = nn.Sequential(nn.Conv2d(3, 32, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head(32, 64, 64))
    predictor = head(64, 16, 64)
    optimizer = torch.optim.Adam([*encoder.parameters(), *predictor.parameters()], lr=1e-3)
    print(GRAPH)
    losses = []
    for step in range(steps):
        z = [encoder(view) for view in VIEWS(images, seed=0, epoch=step)]
        weights = torch.ones(len(GRAPH.edges), len(images))
        weights[2:, ::2] = 0.5  # every other sample's heavy views count half
        loss = directional_loss([predictor(z_i) for z_i in z], z, GRAPH, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    GRAPH.draw().figure.savefig(picture)
    print(losses)
    return losses


if __name__ == "__main__":
    main()
