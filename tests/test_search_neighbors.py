"""Neighbours in other groups: exact is the double loop, hnsw obeys the same law on any data."""

import builtins

import numpy as np
import pytest

from handtool.errors import HandtoolError
from handtool.search import describe_neighbors, find_neighbors, neighbors_in_other_groups, recall_on_sample
from handtool.search.hnsw import Graph


def loop_over_everything(vectors, groups, topk):
    """The slow truth: every distance in float64, sorted by (distance, row)."""
    positive = np.full((len(vectors), topk), -1)
    distance = np.full((len(vectors), topk), np.inf, np.float32)
    vectors = vectors.astype(np.float64)
    finite = np.isfinite(vectors).all(axis=1)
    for i in np.flatnonzero(finite):
        others = np.flatnonzero((groups != groups[i]) & finite)
        apart = np.sqrt(((vectors[others] - vectors[i]) ** 2).sum(axis=1))
        best = np.lexsort((others, apart))[:topk]
        positive[i, : len(best)], distance[i, : len(best)] = others[best], apart[best]
    return positive, distance


def make_data(kind, rng, n=700):
    """vectors (n, 14), groups (n,)."""
    vectors = rng.normal(size=(n, 14)).astype(np.float32)
    groups = rng.integers(0, 7, n)
    match kind:
        case "random":
            return vectors, groups
        case "many small groups":
            return vectors, rng.integers(0, n // 2, n)
        case "clustered":
            groups = np.repeat(np.arange(7), n // 7)
            return (rng.normal(size=(7, 14))[groups] + 0.02 * vectors).astype(np.float32), groups
        case "duplicates":
            return rng.integers(0, 2, (n, 6)).astype(np.float32), groups
        case "near duplicates far from the origin":
            return (1000 + 1e-4 * vectors).astype(np.float32), groups
        case "one giant group":
            return vectors, (rng.random(n) < 0.04).astype(int)
        case "a giant group of one vector":
            giant = rng.random(n) < 0.9
            return np.where(giant[:, None], np.float32(0.5), vectors), np.where(giant, 9, groups)
        case "all equal":
            return np.ones((n, 14), np.float32), groups
        case "holes":
            vectors[rng.random(n) < 0.2, 3] = np.nan
            vectors[5, 2] = np.inf
            return vectors, groups
    raise AssertionError(kind)


KINDS = [
    "random",
    "many small groups",
    "clustered",
    "duplicates",
    "near duplicates far from the origin",
    "one giant group",
    "a giant group of one vector",
    "all equal",
    "holes",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("topk", [1, 5])
def test_exact_is_the_double_loop(kind, topk):
    vectors, groups = make_data(kind, np.random.default_rng(topk))
    positive, distance = neighbors_in_other_groups(vectors, groups, topk, index="exact")
    expected, expected_distance = loop_over_everything(vectors, groups, topk)
    assert np.array_equal(positive, expected)
    assert np.array_equal(distance, expected_distance)
    assert positive.dtype == np.int64 and distance.dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
def test_hnsw_is_complete_sorted_in_other_groups_and_nearly_right(kind):
    vectors, groups = make_data(kind, np.random.default_rng(3))
    positive, distance = neighbors_in_other_groups(vectors, groups, 5, index="hnsw")
    expected, expected_distance = loop_over_everything(vectors, groups, 5)
    there = positive >= 0
    assert np.array_equal(there, expected >= 0), "as many as there are"
    anchors = np.nonzero(there)[0]
    assert (groups[positive[there]] != groups[anchors]).all()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in positive), "no row twice"
    assert (distance[:, 1:] >= distance[:, :-1]).all()
    measured = np.linalg.norm(vectors[positive[there]].astype(np.float64) - vectors[anchors], axis=1)
    assert np.allclose(distance[there], measured, rtol=1e-6)
    assert np.isinf(distance[~there]).all()
    assert (distance <= expected_distance)[there].mean() >= 0.99


def test_every_pair_obeys_the_constraint_on_data_of_any_shape():
    rng = np.random.default_rng(11)
    for _ in range(25):
        n, dim, topk = (int(value) for value in rng.integers([1, 1, 1], [300, 20, 12]))
        vectors = rng.integers(0, rng.integers(1, 9), (n, dim)).astype(np.float32)
        groups = rng.integers(0, rng.integers(1, 12), n)
        for index in ("exact", "hnsw"):
            positive, distance = neighbors_in_other_groups(vectors, groups, topk, index=index)
            expected, expected_distance = loop_over_everything(vectors, groups, topk)
            assert np.array_equal(distance, expected_distance), (n, dim, topk, index)
            assert (groups[positive] != groups[:, None])[positive >= 0].all()
            if index == "exact":
                assert np.array_equal(positive, expected)


@pytest.mark.parametrize("index", ["exact", "hnsw"])
def test_fewer_than_k_is_minus_one_at_infinity(index):
    vectors = np.array([[0.0], [1.0], [5.0]], np.float32)
    positive, distance = neighbors_in_other_groups(vectors, np.array(["a", "a", "b"]), 4, index=index)
    assert positive.tolist() == [[2, -1, -1, -1], [2, -1, -1, -1], [1, 0, -1, -1]]
    assert distance.tolist() == [[5, np.inf, np.inf, np.inf], [4, np.inf, np.inf, np.inf], [4, 5, np.inf, np.inf]]


@pytest.mark.parametrize("index", ["exact", "hnsw"])
@pytest.mark.parametrize("count", [0, 1, 200])
def test_a_single_group_has_no_neighbours(index, count):
    vectors = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    positive, distance = neighbors_in_other_groups(vectors, np.zeros(count, int), 2, index=index)
    assert positive.shape == distance.shape == (count, 2)
    assert (positive == -1).all() and np.isinf(distance).all()


def test_a_row_with_nan_has_no_neighbours_and_is_nobodys():
    vectors = np.array([[0.0], [np.nan], [2.0]], np.float32)
    positive, _ = neighbors_in_other_groups(vectors, np.array([0, 1, 2]), 2, index="hnsw")
    assert positive.tolist() == [[2, -1], [-1, -1], [0, -1]]


def test_one_thread_and_a_seed_give_the_same_graph_answers():
    vectors, groups = make_data("random", np.random.default_rng(2))
    first, again = (find_neighbors(vectors, groups, 5, "hnsw", 4, 10, 8, threads=1, seed=7) for _ in range(2))
    assert np.array_equal(first.positive, again.positive)
    assert np.array_equal(first.distance, again.distance)


def test_exact_does_not_depend_on_the_number_of_threads():
    vectors, groups = make_data("clustered", np.random.default_rng(2))
    one, three = (neighbors_in_other_groups(vectors, groups, 3, index="exact", threads=threads) for threads in (1, 3))
    assert np.array_equal(one[0], three[0]) and np.array_equal(one[1], three[1])


def test_a_video_of_near_duplicates_is_finished_exactly():
    vectors, groups = make_data("clustered", np.random.default_rng(4))
    found = find_neighbors(vectors, groups, 5, "hnsw", 16, 100, 64, threads=1, seed=5)
    assert found.finished_exactly > 0.9 * len(vectors), "100 hands of one's own video stand before the first other"
    assert found.rejected > 0.9
    assert np.array_equal(found.positive, loop_over_everything(vectors, groups, 5)[0])


def test_a_video_larger_than_the_first_question_is_asked_again_where_that_is_cheaper(monkeypatch):
    monkeypatch.setattr("handtool.search.neighbors.STEPS_PER_EF", 0)
    rng = np.random.default_rng(4)
    groups = np.where(rng.random(3000) < 0.9, 0, 1)
    vectors = rng.normal(size=(3000, 4)).astype(np.float32)
    found = find_neighbors(vectors, groups, 5, "hnsw", 16, 100, 64, threads=1, seed=5)
    assert found.asked_again > 100
    assert recall_on_sample(vectors, groups, found.positive, found.distance) > 0.99


def test_a_graph_that_refuses_to_answer_is_finished_exactly(monkeypatch):
    """hnswlib: "Cannot return the results in a contiguous 2D array. Probably ef or M is too small"."""
    vectors, groups = make_data("random", np.random.default_rng(5), n=300)
    ask = Graph._query

    class Refusing:
        def __init__(self, index):
            self.index = index

        def knn_query(self, queries, k, num_threads):
            if (queries[:, 0] > 0).any():
                raise RuntimeError("Cannot return the results in a contiguous 2D array. Probably ef or M is too small")
            return self.index.knn_query(queries, k=k, num_threads=num_threads)

    def refuse(graph, queries, count):
        graph.index = graph.index if isinstance(graph.index, Refusing) else Refusing(graph.index)
        return ask(graph, queries, count)

    monkeypatch.setattr(Graph, "_query", refuse)
    monkeypatch.setattr(Refusing, "set_ef", lambda self, ef: self.index.set_ef(ef), raising=False)
    found = find_neighbors(vectors, groups, 5, "hnsw", 16, 100, 64, threads=1, seed=5)
    assert found.finished_exactly >= (vectors[:, 0] > 0).sum()
    assert np.array_equal(found.positive, loop_over_everything(vectors, groups, 5)[0])


def test_without_hnswlib_the_message_names_the_compiler(monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments, **more):
        if name == "hnswlib":
            raise ImportError("No module named 'hnswlib'")
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    vectors, groups = make_data("random", np.random.default_rng(5), n=50)
    with pytest.raises(HandtoolError, match="C\\+\\+ compiler") as caught:
        neighbors_in_other_groups(vectors, groups, 2, index="hnsw")
    assert "--index exact" in caught.value.hint
    assert (neighbors_in_other_groups(vectors, groups, 2, index="exact")[0] >= 0).all()


def test_recall_counts_what_is_missing():
    vectors, groups = make_data("random", np.random.default_rng(6))
    positive, distance = neighbors_in_other_groups(vectors, groups, 5, index="exact")
    assert recall_on_sample(vectors, groups, positive, distance) == 1.0
    spoiled, farther = positive.copy(), distance.copy()
    spoiled[:, 4], farther[:, 4] = -1, np.inf
    assert recall_on_sample(vectors, groups, spoiled, farther) == pytest.approx(0.8)
    assert np.isnan(recall_on_sample(vectors, np.zeros(len(vectors)), positive, distance))


def test_in_degree_and_quantiles_describe_the_pairs():
    positive = np.array([[1, 2], [2, -1], [1, -1], [-1, -1]])
    distance = np.array([[1, 2], [3, np.inf], [4, np.inf], [np.inf, np.inf]], np.float32)
    described = describe_neighbors(positive, distance)
    assert described["distance_quantiles"][0] == 1 and described["distance_quantiles"][-1] == 4
    assert described["in_degree_max"] == 2 and described["in_degree_mean"] == 1.0
    assert describe_neighbors(positive[:0], distance[:0])["in_degree_max"] == 0
