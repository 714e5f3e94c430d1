"""What one forward pass of a method gives the training loop."""

from typing import NamedTuple

from torch import Tensor


class Result(NamedTuple):
    """loss: what is minimised. z: projections of the encoded views in the order of the views, None where a view is
    not encoded. parts: the loss's symmetric and directed part, for the log. keys: MoCo's, for its queue."""

    loss: Tensor
    z: list
    parts: dict = {}  # noqa: RUF012
    keys: list = []  # noqa: RUF012
