"""What a run costs before it runs: floating-point operations and memory, from its shapes alone.

Networks are built on torch's meta device, where nothing is computed. A multiplication and an addition count 2;
convolutions and matrix products count, nothing else. A backward pass costs twice its forward pass.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..encoders import ENCODERS
from ..heads import predictor, projector
from ..learner import new_method
from ..variants import directed, graph, pairs, view_names

IMAGES = {"cifar10": 50_000, "imagenet": 1_281_167}  # in training


class Cost(NamedTuple):
    """encoder: FLOP of one view's forward pass; heads: of projector and predictor. passes: forward and backward
    passes per image through the online network; forward_only: of views that predict nothing; slow: forward passes
    through the slow network. bytes: see `memory`."""

    encoder: int
    heads: int
    slow_heads: int
    passes: int
    forward_only: int
    slow: int
    bytes: int

    @property
    def per_image(self):
        slow = self.slow * (self.encoder + self.slow_heads)
        return (3 * self.passes + self.forward_only) * (self.encoder + self.heads) + slow

    def total(self, images):
        return self.per_image * images

    def encoder_total(self, images):
        """Of the encoder alone: what is usually quoted."""
        return (3 * self.passes + self.forward_only + self.slow) * self.encoder * images


class Shape(NamedTuple):
    """Of a network: FLOP of a forward pass, parameters, and bytes that the backward pass needs, per row."""

    flop: int
    parameters: int
    kept: int


def cost(config):
    encoder, width = encoder_shape(config.encoder, config.image_size)
    hidden_norm, bias = config.method != "mocov2", config.method not in ("simclr", "barlow")
    head = projector_shape(width, config.projector, config.projector_norm, bias, hidden_norm)
    last = Shape(0, 0, 0)
    if config.method in ("simsiam", "byol"):
        last = predictor_shape(config.projector[-1], config.predictor)
    learning, forward_only, slow = passes(config)
    size = memory(config, [encoder, head, last], slow > 0, learning + forward_only)
    return Cost(encoder.flop, head.flop + last.flop, head.flop, learning, forward_only, slow, size)


@functools.cache
def encoder_shape(name, side):
    """(Shape, width of the features)."""
    with torch.device("meta"):
        encoder = ENCODERS[name]()
    return shape(encoder, (3, side, side)), encoder.width


@functools.cache
def projector_shape(width, *arguments):
    with torch.device("meta"):
        return shape(projector(width, *arguments), (width,))


@functools.cache
def predictor_shape(width, hidden):
    with torch.device("meta"):
        return shape(predictor(width, hidden), (width,))


def shape(module, of_row):
    return Shape(operations(module, of_row), sum(p.numel() for p in module.parameters()), kept(module, of_row))


def operations(module, of_row):
    module.eval()  # batch norm takes one row
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(1, *of_row, device="meta"))
    return counter.get_total_flops()


def kept(module, of_row):
    """Bytes of what autograd saves for the backward pass, per row: what a third row adds to two."""
    module.train()
    return saved(module, torch.empty(3, *of_row, device="meta")) - saved(module, torch.empty(2, *of_row, device="meta"))


def saved(module, x):
    found = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        found[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = module(x)
    total = sum(found.values())
    del result  # until here it kept alive what it needs: no address came twice
    return total


def passes(config):
    """Views that learn, that the online network only encodes, and that the slow network encodes. One that predicts
    nothing learns if a later one predicts: directional_loss gives it a gradient, of zeros."""
    if config.method == "mocov2":
        method = new_method(
            dataclasses.replace(config, encoder="resnet10_eighth", projector=(8,), queue=1, device="cpu")
        )
        edges = (*method.pairs, *method.directed.edges)
        return len({i for i, *_ in edges}), 0, len({j for _, j, *_ in edges})
    if config.method in ("simsiam", "byol"):
        learning = graph(config).predictions
    else:
        learning = max([directed(config).predictions, *(1 + j for _, j, _ in pairs(config))])
    slow = graph(config).targets if config.method == "byol" else 0
    return learning, len(view_names(config)) - learning, slow


def memory(config, shapes, has_slow, views):
    """Bytes on the device, in float32: weights, gradients, momentum, the slow network, the queue, and what autograd
    keeps of all views of a part of the batch, these included. Without libraries' workspaces and evaluation."""
    parameters = sum(one.parameters for one in shapes)
    slow = sum(one.parameters for one in shapes[:2]) if has_slow else 0
    queue = config.queue * config.projector[-1] if config.method == "mocov2" else 0
    rows = config.batch_size // config.accumulate
    others = (len(view_names(config)) - views) * 3 * config.image_size**2 * 4  # one tensor holds all views
    return 4 * (3 * parameters + slow + queue) + rows * (views * sum(one.kept for one in shapes) + others)


def images_seen(config):
    """Images of all epochs; without a limit as many as the real data set has. (A last, smaller batch is dropped in
    training; it counts here.)"""
    return config.epochs * (config.limit_train or IMAGES[config.dataset])


def flop_text(flop):
    """Such as '533 PFLOP'."""
    power = min(max(int(math.log10(max(flop, 1)) // 3), 3), 6)
    return f"{flop / 10 ** (3 * power):.3g} {' KMGTPE'[power]}FLOP".replace("  ", " ")


def bytes_text(count):
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
