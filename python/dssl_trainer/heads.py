"""Projector and predictor of SimSiam on CIFAR-10 as in the authors' code: two layers, Linear with bias."""

from torch import nn


def projector(width_in, hidden, width_out):
    """z = g(f(v)): the output's batch norm has no learnt scale or shift."""
    return nn.Sequential(
        nn.Linear(width_in, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True),
        nn.Linear(hidden, width_out), nn.BatchNorm1d(width_out, affine=False),
    )  # fmt: skip


def predictor(width, hidden):
    """p = h(z): a bottleneck, no batch norm at the end."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width)
    )
