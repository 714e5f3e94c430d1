"""Projectors and predictors: Linear, batch norm and ReLU in turn; recipes differ in biases and the last norm."""

from torch import nn


def projector(width_in, widths, last_norm, bias=True, hidden_norm=True):
    """z = g(f(v)): `widths` of its layers; after the last one a batch norm, or none, and no ReLU.

    last_norm: none; fixed: no learnt scale and shift; scale: no shift (SimCLR); affine: both."""
    *hidden, width_out = widths
    layers = []
    for width in hidden:
        norm = [nn.BatchNorm1d(width)] if hidden_norm else []
        layers += [nn.Linear(width_in, width, bias=bias), *norm, nn.ReLU(inplace=True)]
        width_in = width
    return nn.Sequential(*layers, nn.Linear(width_in, width_out, bias=bias), *batch_norm(width_out, last_norm))


def batch_norm(width, kind):
    if kind == "none":
        return []
    norm = nn.BatchNorm1d(width, affine=kind != "fixed")
    if kind == "scale":
        norm.bias.requires_grad_(False)  # stays 0
    return [norm]


def predictor(width, hidden):
    """p = h(z): two layers, no batch norm at the end."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width)
    )
