"""What a variant is: which views there are, which of them are heavy, and which learns from which (Eq. 6).

View 0 is v, 1 is v'; views 2 and 3 are v^ and v^', or v2 and v2' of a second pair.
baseline: pairs of standard views. heavy (w/ T-hat): the same, each followed by the heavy policy (`heavy_views` hh), or
the second of each pair only (sh), or v, v', v^, v^' all pulled together (all). dssl: v, v' and v^, v^', which continue
from them and predict them. soft: dssl, its directed terms weighted per image.

`pairs` are what a framework's own symmetric loss S sums over; `directed` is the graph of the asymmetric terms
D(heavy -> standard) beside it. SimSiam's and BYOL's S is made of such terms, too: `graph` has all of them.
"""

import torch

from dssl_ops import ViewGraph

LABELS = {"baseline": "baseline", "heavy": "w/ T-hat", "dssl": "DSSL", "soft": "soft DSSL"}
TWO_PAIRS = ("simsiam", "byol")  # where nothing is directed: as many predictions in every variant (Sec. 4.1)
ALL = ((0, 1), (2, 3), (0, 2), (1, 3))


# ---- views


def is_directed(config):
    return config.variant in ("dssl", "soft")


def has_heavy_copies(config):
    """Whether views 2 and 3 are made from views 0 and 1 by the heavy policy."""
    return is_directed(config) or (config.variant == "heavy" and config.heavy_views == "all")


def pair_count(config):
    """Pairs of views: (0, 1), and for two of them (2, 3)."""
    return 2 if has_heavy_copies(config) or config.method in TWO_PAIRS else 1


def heavy_views(config):
    """Numbers of the views that are heavy."""
    if has_heavy_copies(config):
        return (2, 3)
    if config.variant != "heavy":
        return ()
    return tuple(view for view in range(2 * pair_count(config)) if config.heavy_views == "hh" or view % 2 == 1)


def view_names(config):
    if has_heavy_copies(config):
        return ("v", "v'", "v^", "v^'")
    names = ("v1", "v1'", "v2", "v2'") if pair_count(config) == 2 else ("v", "v'")
    return tuple(f"t^({name})" if view in heavy_views(config) else name for view, name in enumerate(names))


# ---- terms


def unit(config):
    """The authors' code sums the four terms of 1/2 each; Algorithm 1 takes half of that."""
    return 1.0 if config.loss_scale == "sum" else 0.5


def pairs(config):
    """((i, j, weight), ..) for S(view i, view j)."""
    found: tuple[tuple[int, int, float], ...]
    if is_directed(config):
        found = ((0, 1, config.alpha), (2, 3, config.beta))
    elif has_heavy_copies(config):
        found = tuple((i, j, 1.0) for i, j in ALL)
    else:
        found = tuple((2 * k, 2 * k + 1, 1.0) for k in range(pair_count(config)))
    return tuple((i, j, unit(config) * weight) for i, j, weight in found if weight)


def directed(config):
    """gamma of v^ -> v and v^' -> v', delta of the reverse; each term weighs 1/2. Empty where nothing is directed."""
    if not is_directed(config):
        return ViewGraph(())
    return ViewGraph.weighted(0, 0, config.gamma, config.delta, config.loss_scale)


def graph(config):
    """All terms of SimSiam and BYOL: S is D both ways, half each."""
    symmetric = ((a, b, weight / 2) for i, j, weight in pairs(config) for a, b in ((i, j), (j, i)))
    return ViewGraph((*symmetric, *directed(config).edges))


def edge_weights(graph, severity):
    """(E, B): 1, but for terms between a heavy view and its standard view 1 - severity (2, B); None without severity.

    severity: of v^ and v^' (data/severity.py)."""
    if severity is None:
        return None
    ones = severity.new_ones(severity.shape[1])
    rows = [1 - severity[min(i, j)] if abs(i - j) == 2 else ones for i, j, _ in graph.edges]
    return torch.stack(rows)
