"""SimSiam with DSSL in a plain PyTorch loop, on images that the program draws: `python examples/plain_pytorch.py`."""

import torch
from torch import nn
from torch.utils.data import DataLoader

from dssl_ops import ViewGraph, directional_loss
from dssl_ops import transforms as T


def drawn_images(count=64):
    """[(uint8 (3, 32, 32), label)]: stripes of as many widths as there are labels. Take a data set of yours instead."""
    stripes = torch.arange(32) // torch.arange(1, 5)[:, None] % 2 * 255
    colours = torch.rand(count, 3, 1, 1)
    return [((stripes[k % 4].expand(3, 32, 32) * colours[k]).to(torch.uint8), k % 4) for k in range(count)]


def head(*widths):
    layers = [(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()) for a, b in zip(widths, widths[1:-1])]
    return nn.Sequential(*(part for layer in layers for part in layer), nn.Linear(widths[-2], widths[-1]))


def main(epochs=3, batch_size=16):
    torch.manual_seed(0)
    normalize = T.Normalize(mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))
    views = T.DirectedViews(T.StandardView.cifar10(), T.policy("RA(2,5)+Jigsaw(4)"), normalize)
    collate = T.Collate(views, seed=0)
    loader = DataLoader(T.Indexed(drawn_images()), batch_size, shuffle=True, drop_last=True, collate_fn=collate)

    backbone = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(),
                             nn.AdaptiveAvgPool2d(1), nn.Flatten())  # fmt: skip
    encoder, predictor = nn.Sequential(backbone, head(32, 64, 64)), head(64, 16, 64)
    optimizer = torch.optim.SGD([*encoder.parameters(), *predictor.parameters()], lr=0.05, momentum=0.9)
    graph = ViewGraph.dssl()  # v <-> v', v^ -> v, v^' -> v'
    losses = []
    for epoch in range(epochs):
        collate.set_epoch(epoch)
        for four_views, _ in loader:
            z = [encoder(view) for view in four_views]
            loss = directional_loss([predictor(z_i) for z_i in z], z, graph)  # z gets no gradient as a target
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {losses[-1]:.3f}")  # -2 where all views agree: four terms of weight 1/2
    return losses


if __name__ == "__main__":
    main()
