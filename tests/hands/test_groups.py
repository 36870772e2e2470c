"""Who belongs together: three partitions of the hands, each finer than the next, against a search for connected
hands."""

import numpy as np
import pytest

from handtool.errors import HandtoolError
from handtool.hands.groups import Groups, Origin, find_groups, find_units, join_keys, number_from_0


def make_origin(video, names, paths=None, subjects=None, label=None, sample_id=None, keys=None, owner="a"):
    """Hands of videos by their number; nothing else is known unless it is given."""
    n, v = len(video), len(names)
    label = np.zeros(n, np.uint64) if label is None else np.array(label, np.uint64)
    sample_id = np.full(n, -1) if sample_id is None else np.array(sample_id)
    about = (subjects or [""] * v, label, sample_id, keys or [""] * v)
    return Origin(owner, np.array(video, int), names, paths or names, *about)


def connected(one, other):
    """The slow truth: hands that share a key of either kind, and those that are reached from them, get the lowest of
    their rows."""
    reached = np.arange(len(one))
    for _ in one:
        for row in range(len(one)):
            alike = (one == one[row]) | (other == other[row])
            reached[alike] = reached[alike].min()
    return reached


def same_partition(one, other):
    return np.array_equal(one[:, None] == one, other[:, None] == other)


@pytest.mark.parametrize("seed", range(20))
def test_joined_keys_are_the_connected_hands(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 12, 30), rng.integers(0, 25, 30)
    assert same_partition(join_keys(one, other), connected(one, other))


def test_groups_of_films_keep_the_numbers_of_their_videos_and_units_are_in_the_order_of_hands():
    groups = find_groups([make_origin([2, 0, 2, 1], list("abc"), label=[9, 8, 9, 7])])
    assert groups.group.tolist() == groups.film.tolist() == [2, 0, 2, 1], "so that pairs are those of version 0.1.0"
    assert find_units(groups, "video", "x.h5", "--by").tolist() == [0, 1, 0, 2]


def test_numbers_go_from_0_in_the_order_of_first_appearance():
    assert number_from_0(np.array([7, 3, 7, 9, 3])).tolist() == [0, 1, 0, 2, 1]
    assert number_from_0(np.array([[1, 2], [1, 1], [1, 2]])).tolist() == [0, 1, 0]


@pytest.mark.parametrize("seed", range(10))
def test_a_hand_lies_in_one_group_a_group_in_one_film(seed):
    rng = np.random.default_rng(seed)
    keys = ["", "training/rgb/00000000.jpg", "", "", ""]
    video, label, sample = rng.integers(0, 5, 60), rng.integers(0, 40, 60), rng.integers(0, 30, 60)
    groups = find_groups([make_origin(video, list("vwxyz"), label=label, sample_id=sample, keys=keys)])
    for fine, coarse in ((groups.hand, groups.group), (groups.group, groups.film)):
        assert all(len(set(coarse[fine == number])) == 1 for number in fine)
    known, row = label > 0, 1000 + np.arange(60)
    picture = np.where(video == 1, 2000 + sample, row)
    assert same_partition(groups.hand, connected(np.where(known, label, row), picture))
    assert same_partition(groups.group, connected(np.where(video == 1, row, video), groups.hand))
    assert same_partition(groups.film, connected(video, groups.group))


def test_a_video_is_a_group_and_each_hand_is_itself():
    groups = find_groups([make_origin([0, 0, 1, 1, 2], ["a.mp4", "b.mp4", "c.mp4"])])
    assert groups.hand.tolist() == [0, 1, 2, 3, 4]
    assert groups.group.tolist() == groups.film.tolist() == [0, 0, 1, 1, 2]


def test_four_pictures_of_one_hand_are_one_group_of_their_own():
    keys = ["training/rgb/00000000.jpg"]
    label = np.tile([11, 12, 13], 4)
    groups = find_groups(
        [make_origin([0] * 12, ["FreiHAND/training"], label=label, sample_id=np.arange(12), keys=keys)]
    )
    assert groups.hand.tolist() == [0, 1, 2] * 4 and same_partition(groups.group, groups.hand)
    assert set(groups.film) == {0}


def test_pictures_without_truth_are_hands_of_their_own_and_known_again_in_another_file():
    keys = ["evaluation/rgb/00000002.jpg"]
    one = make_origin([0, 0], ["FreiHAND/evaluation"], ["/d/FreiHAND"], sample_id=[2, 3], keys=keys)
    other = make_origin([0, 0], ["d/FreiHAND/evaluation"], ["/d/FreiHAND"], sample_id=[3, 4], keys=keys, owner="b")
    assert number_from_0(find_groups([one, other]).group).tolist() == [0, 1, 1, 2]


def test_one_clip_of_two_people_is_one_film_and_one_unit_of_any_split():
    names, paths = ["set/walk", "set/walk", "set/run"], ["set/labels.npz"] * 3
    groups = find_groups([make_origin([0, 1, 2, 2], names, paths, ["ann", "bob", "ann"])])
    assert groups.group.tolist() == groups.film.tolist() == [0, 0, 1, 1]
    assert find_units(groups, "video", "x.h5", "--by").tolist() == [0, 0, 1, 1]
    assert find_units(groups, "subject", "x.h5", "--by").tolist() == [0, 0, 0, 0], "ann is in both clips"
    assert find_units(groups, "row", "x.h5", "--by").tolist() == [0, 1, 2, 3]


def test_where_a_labels_file_names_no_footage_each_subject_is_a_film():
    groups = find_groups([make_origin([0, 1], ["set", "set"], ["set/labels.json"] * 2, ["ann", "bob"])])
    assert groups.film.tolist() == [0, 1]


def test_films_are_known_by_path_and_by_name_below_the_root_of_their_set():
    root = ["/data/set"] * 3
    one = make_origin([0, 1], ["set/Capture0/ROM", "set/Capture1/ROM"], root[:2])
    other = make_origin([0, 1, 2], ["sets/set/Capture1/ROM", "sets/set/Capture0/ROM", "sets/set/new"], root, owner="b")
    assert find_groups([one, other]).film.tolist() == [0, 1, 1, 0, 2]
    nameless = [make_origin([0, 1], ["a", "a"], ["", ""], owner=owner) for owner in "ab"]
    assert find_groups(nameless).film.tolist() == [0, 1, 2, 3], "without a path, a video is that of its file alone"


def test_the_rows_of_one_file_given_twice_are_the_same_hands():
    one = make_origin([0, 1], ["a.mp4", "b.mp4"])
    assert find_groups([one, one]).hand.tolist() == [0, 1, 0, 1]


def test_films_that_share_a_hand_are_never_told_apart():
    groups = find_groups([make_origin([0, 0, 1, 1, 2], ["a", "b", "c"], label=[5, 6, 6, 7, 8])])
    assert groups.hand.tolist() == [0, 1, 1, 2, 3] and groups.group.tolist() == [0, 0, 0, 0, 1]


def test_unknown_people_are_one_for_each_film_and_nobody_known_is_an_error():
    groups = find_groups([make_origin([0, 1, 2, 3], list("abcd"), subjects=["ann", "", "ann", ""])])
    assert find_units(groups, "subject", "x.h5", "--by").tolist() == [0, 1, 0, 2]
    groups = find_groups([make_origin([0, 1], list("ab"))])
    with pytest.raises(HandtoolError, match="x.h5 does not know whose hands") as caught:
        find_units(groups, "subject", "x.h5", "--val-by")
    assert caught.value.hint == "--val-by video"


def test_no_hand_has_no_groups():
    groups = find_groups([make_origin([], [])])
    assert isinstance(groups, Groups) and len(find_units(groups, "subject", "x", "--by")) == 0
