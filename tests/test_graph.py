"""ViewGraph: each constructor against the edges written out from the paper."""

import pickle

import pytest

from dssl_ops import ViewGraph

# Eq. 6 over (v, v', v^, v^') = (0, 1, 2, 3), prediction first.
EQ6 = {"alpha": [(0, 1), (1, 0)], "beta": [(2, 3), (3, 2)], "gamma": [(2, 0), (3, 1)], "delta": [(0, 2), (1, 3)]}


def test_dssl_is_eq5_at_both_scales():
    pairs = [(0, 1), (1, 0), (2, 0), (3, 1)]
    assert ViewGraph.dssl().edges == tuple((i, j, 0.5) for i, j in pairs)
    assert ViewGraph.dssl("mean").edges == tuple((i, j, 0.25) for i, j in pairs)


@pytest.mark.parametrize("factors", [(1, 1, 1, 1), (1, 0, 0.9, 0.1), (0, 0, 0, 2.5), (-1, 0.5, 0, 3)])
@pytest.mark.parametrize("scale, unit", [("sum", 0.5), ("mean", 0.25)])
def test_weighted_is_eq6(factors, scale, unit):
    expected = {(i, j, unit * w) for w, pairs in zip(factors, EQ6.values()) for i, j in pairs if w}
    graph = ViewGraph.weighted(*factors, scale)
    assert set(graph.edges) == expected and len(graph.edges) == len(expected)


def test_symmetric_pairs_are_disjoint():
    assert ViewGraph.symmetric().edges == ((0, 1, 0.5), (1, 0, 0.5))
    graph = ViewGraph.symmetric(pairs=3, scale="mean")
    assert {(i, j) for i, j, _ in graph.edges} == {(0, 1), (1, 0), (2, 3), (3, 2), (4, 5), (5, 4)}
    assert all(w == 1 / 6 for _, _, w in graph.edges)


def test_all_pairs_of_two_are_the_symmetric_pair():
    assert ViewGraph.all_pairs(2) == ViewGraph.symmetric()
    graph = ViewGraph.all_pairs(5, "mean")
    assert sorted((i, j) for i, j, _ in graph.edges) == [(i, j) for i in range(5) for j in range(5) if i != j]
    assert sum(w for _, _, w in graph.edges) == pytest.approx(1)


def test_is_a_value():
    graph = ViewGraph.dssl()
    assert (
        graph == ViewGraph.weighted(1, 0, 1, 0)
        and hash(graph) == hash(ViewGraph.dssl())
        and graph != ViewGraph.dssl("mean")
    )
    assert pickle.loads(pickle.dumps(graph)) == graph and eval(repr(graph)) == graph
    with pytest.raises(AttributeError):
        graph.edges = ()


def test_counts_and_prints_its_views():
    graph = ViewGraph.dssl()
    assert (graph.predictions, graph.targets) == (4, 2)
    assert str(graph) == "v' <- v (0.5), v <- v' (0.5), v <- v^ (0.5), v' <- v^' (0.5)"
    assert ViewGraph(()).predictions == 0


def test_draws_an_arrow_per_edge_and_a_name_per_view():
    axes = ViewGraph.weighted(1, 1, 1, 1).draw()
    arrows = [text for text in axes.texts if getattr(text, "arrow_patch", None) is not None]
    assert len(arrows) == 8
    assert {text.get_text() for text in axes.texts} >= {"v", "v'", "v^", "v^'"}


@pytest.mark.parametrize(
    "edges", [((0, -1, 1.0),), ((0.5, 1, 1.0),), ((0, 1, float("nan")),), ((0, 1),), (("a", 1, 1.0),), (3,)]
)
def test_refuses_an_edge_that_is_none(edges):
    with pytest.raises(ValueError, match=r"ViewGraph: an edge must be .* got"):
        ViewGraph(edges)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ViewGraph.dssl("max"), "scale must be 'sum' or 'mean'; got 'max'"),
        (lambda: ViewGraph.symmetric(0), "pairs must be a whole number of at least 1; got 0"),
        (lambda: ViewGraph.all_pairs(1), "n must be a whole number of at least 2; got 1"),
        (lambda: ViewGraph.weighted(1, 0, float("inf"), 0), "finite weight.*got"),
        (lambda: ViewGraph.symmetric(2.0), "pairs must be a whole number.*got 2.0"),
        (lambda: ViewGraph.all_pairs(2.5), "n must be a whole number.*got 2.5"),
        (lambda: ViewGraph(5), "edges must be a sequence.*got 5"),
        (lambda: ViewGraph(((float("inf"), 1, 1.0),)), "an edge must be.*got"),
    ],
)
def test_refuses_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
