"""The graph of views that a directional loss sums over: who predicts whom, and with which weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_VIEWS = ("v", "v'", "v^", "v^'")
_SCALES = ("sum", "mean")


@dataclass(frozen=True)
class ViewGraph:
    """Directed edges ``(prediction, target, weight)`` over views; immutable and hashable.

    An edge ``(i, j, w)`` adds ``w * mean(-cos(p_i, stopgrad(t_j)))`` to the loss: view i is pulled towards view j.
    The four views of DSSL come in the order (v, v', v^, v^'), v^ being derived from v and v^' from v'.

    Raises ValueError for negative or non-integer views and for weights that are not finite.
    """

    edges: tuple[tuple[int, int, float], ...]

    def __post_init__(self) -> None:
        if not isinstance(self.edges, Sequence):
            raise ValueError(f"ViewGraph: edges must be a sequence of (prediction, target, weight); got {self.edges!r}")
        edges = tuple(self._checked(edge) for edge in self.edges)
        object.__setattr__(self, "edges", edges)

    @staticmethod
    def _checked(edge: tuple[int, int, float]) -> tuple[int, int, float]:
        expected = "ViewGraph: an edge must be (prediction >= 0, target >= 0, finite weight)"
        try:
            prediction, target, weight = edge
            valid = int(prediction) == prediction >= 0 and int(target) == target >= 0 and math.isfinite(weight)
        except (TypeError, ValueError, OverflowError):
            valid = False
        if not valid:
            raise ValueError(f"{expected}; got {edge!r}")
        return int(prediction), int(target), float(weight)

    @classmethod
    def dssl(cls, scale: str = "sum") -> ViewGraph:
        """Eq. 5: v <-> v', v <- v^ and v' <- v^'. ``scale="sum"`` weighs each of the four terms 1/2, as the
        authors' code does; ``"mean"`` 1/4, as Algorithm 1 does."""
        return cls.weighted(1, 0, 1, 0, scale)

    @classmethod
    def weighted(cls, alpha: float, beta: float, gamma: float, delta: float, scale: str = "sum") -> ViewGraph:
        """Eq. 6: alpha for v <-> v', beta for v^ <-> v^', gamma for v <- v^, delta for v^ <- v (and the primed
        pair); each term weighs 1/2 (``scale="sum"``) or 1/4 (``"mean"``) of its factor. Zero terms are left out."""
        unit = _unit(scale, terms=4)
        terms = (
            (alpha, ((0, 1), (1, 0))),
            (beta, ((2, 3), (3, 2))),
            (gamma, ((2, 0), (3, 1))),
            (delta, ((0, 2), (1, 3))),
        )
        return cls(tuple((i, j, unit * factor) for factor, pairs in terms for i, j in pairs if factor != 0))

    @classmethod
    def symmetric(cls, pairs: int = 1, scale: str = "sum") -> ViewGraph:
        """``pairs`` disjoint pairs (0, 1), (2, 3), ..., each pulled together both ways, as SimSiam does: a term
        weighs 1/2 (``scale="sum"``) or 1 / (2 pairs) (``"mean"``)."""
        if not isinstance(pairs, int) or pairs < 1:
            raise ValueError(f"ViewGraph.symmetric: pairs must be a whole number of at least 1; got {pairs}")
        unit = _unit(scale, terms=2 * pairs)
        return cls(tuple((2 * k + i, 2 * k + 1 - i, unit) for k in range(pairs) for i in (0, 1)))

    @classmethod
    def all_pairs(cls, n: int, scale: str = "sum") -> ViewGraph:
        """Every ordered pair of ``n`` views: n (n - 1) terms that weigh 1/2 (``scale="sum"``) or
        1 / (n (n - 1)) (``"mean"``) each."""
        if not isinstance(n, int) or n < 2:
            raise ValueError(f"ViewGraph.all_pairs: n must be a whole number of at least 2; got {n}")
        unit = _unit(scale, terms=n * (n - 1))
        return cls(tuple((i, j, unit) for i in range(n) for j in range(n) if i != j))

    @property
    def predictions(self) -> int:
        """The number of predictions that the graph needs, its largest prediction index and one."""
        return max([0, *(i + 1 for i, _, _ in self.edges)])  # no default=: the dynamo of torch 2.10 does not know it

    @property
    def targets(self) -> int:
        """The number of targets that the graph needs."""
        return max([0, *(j + 1 for _, j, _ in self.edges)])

    def __str__(self) -> str:
        names = self._names()
        return ", ".join(f"{names[j]} <- {names[i]} ({weight:g})" for i, j, weight in self.edges)

    def _names(self) -> tuple[str, ...]:
        views = max(self.predictions, self.targets)
        return _VIEWS[:views] if views <= len(_VIEWS) else tuple(f"v{i}" for i in range(views))

    def draw(self, ax: Axes | None = None) -> Axes:
        """Draw the views on a circle and an arrow from each prediction to its target; returns the Matplotlib axes."""
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(figsize=(3.2, 3.2), layout="constrained").add_subplot()
        names = self._names()
        angles = [math.pi * (0.75 - 2 * k / max(1, len(names))) for k in range(len(names))]
        places = [(math.cos(a), math.sin(a)) for a in angles]
        for i, j, weight in self.edges:
            ax.annotate("", places[j], places[i], arrowprops=_arrow(weight))
        for (x, y), name in zip(places, names, strict=True):
            ax.text(x, y, name, ha="center", va="center", size=14, bbox={"boxstyle": "circle", "fc": "white"})
        ax.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
        ax.axis("off")
        return ax


def _unit(scale: str, terms: int) -> float:
    if scale not in _SCALES:
        raise ValueError(f"ViewGraph: scale must be 'sum' or 'mean'; got {scale!r}")
    return 0.5 if scale == "sum" else 1.0 / terms


def _arrow(weight: float) -> dict:
    style = {"arrowstyle": "-|>", "connectionstyle": "arc3,rad=0.15", "shrinkA": 16, "shrinkB": 16}
    return style | {"lw": 0.5 + 3 * min(1.0, abs(weight)), "color": "tab:blue" if weight > 0 else "tab:red"}
