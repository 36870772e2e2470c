"""Neighbours in other groups: exact is the double loop, hnsw obeys the same law on any data."""

import builtins

import numpy as np
import pytest

from handtool.errors import HandtoolError
from handtool.progress import silent
from handtool.search import (
    Exclusion,
    Search,
    describe_neighbors,
    find_neighbors,
    limit_in_degree,
    neighbors_in_other_groups,
    recall_on_sample,
)
from handtool.search.cells import make_cells
from handtool.search.exact import find_exact
from handtool.search.gpu import search_blocks_on
from handtool.search.hnsw import Graph
from handtool.search.neighbors import RADIUS_SHARES, SHARE_CELLS, _Search
from handtool.search.parts import merge_best


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
    how = Search("hnsw", 4, 10, 8, threads=1, seed=7)
    first, again = (find_neighbors(vectors, Exclusion(groups), 5, how) for _ in range(2))
    assert np.array_equal(first.positive, again.positive)
    assert np.array_equal(first.distance, again.distance)


def test_exact_does_not_depend_on_the_number_of_threads():
    vectors, groups = make_data("clustered", np.random.default_rng(2))
    one, three = (neighbors_in_other_groups(vectors, groups, 3, index="exact", threads=threads) for threads in (1, 3))
    assert np.array_equal(one[0], three[0]) and np.array_equal(one[1], three[1])


def test_videos_of_near_duplicates_are_scanned_and_no_graph_is_built(monkeypatch):
    monkeypatch.setattr("handtool.search.neighbors.Graph", None)
    vectors, groups = make_data("clustered", np.random.default_rng(4))
    found = find_neighbors(vectors, Exclusion(groups), 5, Search(threads=1))
    assert found.scanned == len(vectors), "100 hands of one's own video stand before the first other"
    assert np.array_equal(found.positive, loop_over_everything(vectors, groups, 5)[0])


def test_random_videos_are_answered_by_the_graph():
    vectors, groups = make_data("random", np.random.default_rng(4), n=3000)
    found = find_neighbors(vectors, Exclusion(groups), 5, Search(threads=1))
    assert found.scanned < 30 and 0.1 < found.rejected < 0.2


def test_anchors_of_a_large_video_are_asked_again_where_that_is_cheaper(monkeypatch):
    monkeypatch.setattr("handtool.search.neighbors.STEPS_PER_EF", 0)
    monkeypatch.setattr("handtool.search.neighbors.GRAPH_STEPS", 0)
    rng = np.random.default_rng(4)
    groups = np.where(rng.random(3000) < 0.8, 0, 1)
    vectors = rng.normal(size=(3000, 4)).astype(np.float32)
    found = find_neighbors(vectors, Exclusion(groups), 5, Search(threads=1))
    assert found.asked_again > 100
    assert recall_on_sample(vectors, Exclusion(groups), found.positive, found.distance) > 0.99


@pytest.mark.parametrize("spread", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("dim", [2, 4, 14, 42])
def test_a_scan_believes_as_much_of_the_rims_as_finds_99_in_a_hundred(dim, spread):
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(60), 250)
    vectors = (rng.normal(size=(60, dim))[groups] + spread * rng.normal(size=(15000, dim))).astype(np.float32)
    found = find_neighbors(vectors, Exclusion(groups), 5, Search("scan"))
    assert recall_on_sample(vectors, Exclusion(groups), found.positive, found.distance) >= 0.99


@pytest.mark.parametrize("enough", [0.0, 0.9999, 2.0])
def test_the_smallest_rim_that_finds_enough_is_believed_and_all_of_it_where_none_does(monkeypatch, enough):
    monkeypatch.setattr("handtool.search.neighbors.LEAST_RECALL", enough)
    rng = np.random.default_rng(9)
    groups = np.repeat(np.arange(60), 250)
    vectors = (rng.normal(size=(60, 14))[groups] + 0.3 * rng.normal(size=(15000, 14))).astype(np.float32)
    search = _Search(vectors, Exclusion(groups), 5, Search("scan"), np.arange(15000), np.arange(15000), silent)
    recall = {radius_share: recall_of(search, radius_share) for radius_share in RADIUS_SHARES}
    assert search.radius_share == next(
        (radius_share for radius_share in RADIUS_SHARES if recall[radius_share] >= enough), 1.0
    )
    assert recall[RADIUS_SHARES[0]] < 0.9999 and recall[1.0] == 1


def recall_of(search: _Search, radius_share: float) -> float:
    probe = search.probe(np.arange(15000), SHARE_CELLS)
    found, truth = search.scan_some(probe, radius_share).positive, search.scan_some(probe, 1.0).positive
    return np.mean([len(set(f) & set(t)) / 5 for f, t in zip(found, truth)])


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
    found = find_neighbors(vectors, Exclusion(groups), 5, Search(threads=1))
    assert found.scanned >= (vectors[:, 0] > 0).sum()
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
    assert recall_on_sample(vectors, Exclusion(groups), positive, distance) == 1.0
    spoiled, farther = positive.copy(), distance.copy()
    spoiled[:, 4], farther[:, 4] = -1, np.inf
    assert recall_on_sample(vectors, Exclusion(groups), spoiled, farther) == pytest.approx(0.8)
    assert np.isnan(recall_on_sample(vectors, Exclusion(np.zeros(len(vectors), int)), positive, distance))


def test_in_degree_and_quantiles_describe_the_pairs():
    positive = np.array([[1, 2], [2, -1], [1, -1], [-1, -1]])
    distance = np.array([[1, 2], [3, np.inf], [4, np.inf], [np.inf, np.inf]], np.float32)
    described = describe_neighbors(positive, distance)
    assert described["distance_quantiles"][0] == 1 and described["distance_quantiles"][-1] == 4
    assert described["in_degree_max"] == 2 and described["in_degree_mean"] == 1.0
    assert describe_neighbors(positive[:0], distance[:0])["in_degree_max"] == 0


def loop_over_allowed(vectors, allowed, topk):
    """The slow truth where `allowed` (m, n) says who may pair: every distance in float64, sorted by (distance, row)."""
    positive = np.full((len(allowed), topk), -1)
    distance = np.full((len(allowed), topk), np.inf, np.float32)
    for i, may in enumerate(allowed):
        others = np.flatnonzero(may)
        apart = np.sqrt(((vectors[others].astype(np.float64) - vectors[i]) ** 2).sum(axis=1))
        best = np.lexsort((others, apart))[:topk]
        positive[i, : len(best)], distance[i, : len(best)] = others[best], apart[best]
    return positive, distance


@pytest.mark.parametrize("index", ["exact", "hnsw"])
@pytest.mark.parametrize("seed", range(4))
def test_hands_of_one_video_pair_only_when_they_are_far_enough_apart_in_time(index, seed):
    rng = np.random.default_rng(seed)
    n = 400
    video, time = np.sort(rng.integers(0, 4, n)), np.round(rng.uniform(0, 20, n), 1)
    time[rng.random(n) < 0.1] = np.nan
    vectors = rng.integers(0, 3, (n, 5)).astype(np.float32) if seed % 2 else rng.normal(size=(n, 5)).astype(np.float32)
    exclusion = Exclusion(np.arange(n), video, time, gap_s=3.0)
    found = find_neighbors(vectors, exclusion, 4, Search(index))
    near = ~(np.abs(time[:, None] - time) >= 3.0)
    expected, distance = loop_over_allowed(vectors, ~((video[:, None] == video) & near) & ~np.eye(n, dtype=bool), 4)
    assert np.array_equal(found.distance, distance)
    assert index == "hnsw" or np.array_equal(found.positive, expected)


@pytest.mark.parametrize("index", ["exact", "hnsw"])
def test_positives_come_from_the_pool_and_of_the_same_kind(index):
    rng = np.random.default_rng(6)
    vectors, groups, kind = (
        rng.normal(size=(900, 6)).astype(np.float32),
        rng.integers(0, 9, 900),
        rng.integers(0, 2, 900),
    )
    vectors[::50] = np.nan
    vectors[300:310] = vectors[:1]
    anchors, pool = np.arange(300), np.arange(300, 900)
    found = find_neighbors(vectors, Exclusion(groups), 3, Search(index), anchors, pool, kind)
    finite = np.isfinite(vectors).all(axis=1)
    allowed = (
        (groups[anchors, None] != groups)
        & (kind[anchors, None] == kind)
        & finite[anchors, None]
        & finite
        & (np.arange(900) >= 300)
    )
    expected, distance = loop_over_allowed(vectors, allowed, 3)
    assert np.array_equal(found.distance, distance)
    assert np.array_equal(found.positive, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_search_on_a_torch_device_is_the_exact_one(kind, monkeypatch):
    monkeypatch.setattr("handtool.search.gpu.ROWS_AT_ONCE", 100)
    monkeypatch.setattr("handtool.search.gpu.ANCHORS_AT_ONCE", 90)
    vectors, groups = make_data(kind, np.random.default_rng(9), n=420)
    rows = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    exclusion = Exclusion(np.unique(groups, return_inverse=True)[1])
    cells = make_cells(vectors, exclusion.group, rows)
    positive, squared = np.empty((len(rows), 5), int), np.empty((len(rows), 5))
    for places, row, apart, _ in search_blocks_on("cpu", vectors, exclusion, rows, cells, 5):
        positive[places], squared[places] = row, apart
    expected = find_exact(vectors, exclusion, rows, cells, 5)
    assert np.array_equal(positive, expected.positive)
    assert np.array_equal(np.sqrt(squared), expected.distance)


def greedy(anchor, row, distance, topk, most):
    """The slow truth: pairs in order of (distance, anchor, row), each taken while both have room."""
    taken, need, room = [], {}, {}
    for _, a, r in sorted(zip(distance.tolist(), anchor.tolist(), row.tolist())):
        if need.get(a, 0) < topk and room.get(r, 0) < most:
            taken.append((a, r))
            need[a], room[r] = need.get(a, 0) + 1, room.get(r, 0) + 1
    return sorted(taken)


@pytest.mark.parametrize("seed", range(6))
def test_pairs_are_given_out_nearest_first_and_no_row_to_too_many(seed):
    rng = np.random.default_rng(seed)
    n, topk, most = 120, int(rng.integers(1, 5)), int(rng.integers(1, 6))
    vectors = (
        (rng.normal(size=(n, 2)) ** 3).astype(np.float32) if seed % 2 else rng.integers(0, 4, (n, 2)).astype(np.float32)
    )
    exclusion = Exclusion(rng.integers(0, 6, n))
    first = find_neighbors(vectors, exclusion, 2 * topk, Search("exact"))

    def ask(places, depth):
        found = find_neighbors(vectors, exclusion, depth, Search("exact"), places)
        return found.positive, found.distance

    positive, distance = limit_in_degree(first.positive, first.distance, topk, most, ask, n)
    everything = find_neighbors(vectors, exclusion, n, Search("exact"))
    anchor, place = np.nonzero(everything.positive >= 0)
    expected = greedy(anchor, everything.positive[anchor, place], everything.distance[anchor, place], topk, most)
    anchor, place = np.nonzero(positive >= 0)
    assert sorted(zip(anchor.tolist(), positive[anchor, place].tolist())) == expected
    assert (distance[:, 1:] >= distance[:, :-1]).all()
    assert np.bincount(positive[positive >= 0]).max() <= most


@pytest.mark.parametrize("index", ["exact", "scan", "hnsw", "device"])
@pytest.mark.parametrize("kind", ["spread", "on a grid", "copies of a film"])
def test_rows_that_are_too_near_are_left_out_and_the_lists_stay_full(index, kind, monkeypatch):
    rng, n, least = np.random.default_rng(14), 500, 1.0
    vectors = rng.normal(size=(n, 4)).astype(np.float32)
    if kind == "on a grid":  # many rows are equal, and many exactly `least` apart
        vectors = rng.integers(0, 3, (n, 4)).astype(np.float32)
    if kind == "copies of a film":  # all that is near is too near
        vectors = (vectors[:20][np.arange(n) % 20] + rng.normal(0, 1e-4, (n, 4))).astype(np.float32)
    groups = rng.integers(0, 25, n)
    apart = np.linalg.norm(vectors.astype(np.float64)[:, None] - vectors, axis=2)
    expected, distance = loop_over_allowed(vectors, (groups[:, None] != groups) & (apart >= least), 5)
    exclusion = Exclusion(groups, least=least)
    if index == "device":
        monkeypatch.setattr("handtool.search.gpu.ROWS_AT_ONCE", 100)
        cells, positive, found = make_cells(vectors, groups, np.arange(n)), np.empty((n, 5), int), np.empty((n, 5))
        for places, row, squared, _ in search_blocks_on("cpu", vectors, exclusion, np.arange(n), cells, 5):
            positive[places], found[places] = row, np.sqrt(squared)
        assert np.array_equal(positive, expected) and np.array_equal(found.astype(np.float32), distance)
        return
    found = find_neighbors(vectors, exclusion, 5, Search(index, threads=1))
    assert found.distance.min() >= least and np.isfinite(found.distance).all()
    if index == "exact":
        assert np.array_equal(found.positive, expected) and np.array_equal(found.distance, distance)
    else:
        assert (found.distance == distance).mean() > 0.98


@pytest.mark.parametrize("topk", [1, 4])
def test_lists_merge_by_distance_and_row_and_a_row_in_two_lists_counts_once(topk):
    rng = np.random.default_rng(topk)
    rows = np.sort(rng.permuted(np.tile(np.arange(60), (50, 1)), axis=1).reshape(50, 5, 12), axis=2)[:, :, :topk]
    rows[rng.random(rows.shape) < 0.2] = -1
    squared = np.where(rows >= 0, rng.integers(0, 3, (50, 60))[np.arange(50)[:, None, None], rows], np.inf)
    best = np.full((50, topk), -1), np.full((50, topk), np.inf)
    for part in (0, 1, 2, 1, 3, 4, 4):
        best = merge_best(*best, rows[:, part], squared[:, part])
    for n in range(50):
        found = sorted((d, r) for d, r in zip(squared[n].ravel().tolist(), rows[n].ravel().tolist()) if r >= 0)[:topk]
        found += [(np.inf, -1)] * (topk - len(found))
        assert list(zip(best[1][n].tolist(), best[0][n].tolist())) == found
