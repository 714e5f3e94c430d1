"""Which view learns from which, for each variant: the weights of Eq. 6, the same for all five frameworks.

The four views are (v, v', v^, v^'), or two independent pairs (v1, v1', v2, v2') where the variant directs nothing.
`pairs` are what a framework's own symmetric loss S sums over; `directed` is the graph of the asymmetric terms
D(heavy -> standard) beside it. SimSiam's and BYOL's S is made of such terms, too: `graph` has all of them.
"""

import torch

from dssl_ops import ViewGraph

ALL = ((0, 1), (2, 3), (0, 2), (1, 3))


def unit(config):
    """The authors' code sums the four terms of 1/2 each; Algorithm 1 takes half of that."""
    return 1.0 if config.loss_scale == "sum" else 0.5


def is_directed(config):
    return config.variant in ("dssl", "soft")


def pairs(config, undirected):
    """((i, j, weight), ..) for S(view i, view j); `undirected`: the number of pairs where nothing is directed."""
    if is_directed(config):
        found = ((0, 1, config.alpha), (2, 3, config.beta))
    elif config.variant == "heavy" and config.heavy_views == "all":
        found = tuple((i, j, 1.0) for i, j in ALL)
    else:
        found = tuple((2 * k, 2 * k + 1, 1.0) for k in range(undirected))
    return tuple((i, j, unit(config) * weight) for i, j, weight in found if weight)


def directed(config):
    """gamma of v^ -> v and v^' -> v', delta of the reverse; each term weighs 1/2. Empty where nothing is directed."""
    if not is_directed(config):
        return ViewGraph(())
    return ViewGraph.weighted(0, 0, config.gamma, config.delta, config.loss_scale)


def graph(config):
    """All terms of SimSiam and BYOL: S is D both ways, half each. Two pairs where nothing is directed (Sec. 4.1)."""
    symmetric = ((a, b, weight / 2) for i, j, weight in pairs(config, undirected=2) for a, b in ((i, j), (j, i)))
    return ViewGraph((*symmetric, *directed(config).edges))


def edge_weights(graph, severity):
    """(E, B): 1, but for terms between a heavy view and its standard view 1 - severity (2, B); None without severity.

    severity: of v^ and v^' (`severity.py`)."""
    if severity is None:
        return None
    ones = severity.new_ones(severity.shape[1])
    rows = [1 - severity[min(i, j)] if abs(i - j) == 2 else ones for i, j, _ in graph.edges]
    return torch.stack(rows)
