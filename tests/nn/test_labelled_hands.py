"""Which labelled hands train and which are held out: whole videos, people or hands, as near to the share asked as
they permit."""

import numpy as np
import pytest
from making import make_file

from handtool import store
from handtool.config import FinetuneConfig
from handtool.errors import HandtoolError
from handtool.nn.files.labelled_hands import hold_out, read_labelled, take_fraction


def read(path, **config):
    with store.open_file(path) as file:
        return read_labelled(file, FinetuneConfig(**config))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_held_out_units_are_whole_and_never_none_nor_all(share):
    units = np.repeat(np.arange(10), [3, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    for seed in range(20):
        held = hold_out(units, share, seed, "video")
        assert abs(held.sum() - share * 39) <= 0.5 and 0 < held.sum() < 39
        assert all(len(set(held[units == unit])) == 1 for unit in range(10))


def test_a_tenth_of_one_long_and_three_short_videos_is_about_a_tenth(tmp_path):
    path = make_file(tmp_path / "train.h5", (88, 4, 4, 4), ("labels",))
    for seed in range(5):
        hands = read(path, val_share=0.1, seed=seed)
        assert len(hands.held) in (8, 12) and len(hands.train) + len(hands.held) == 100
        assert not set(hands.held) & set(range(88))


def test_one_video_cannot_be_held_out_and_by_row_is_not_offered(tmp_path):
    path = make_file(tmp_path / "train.h5", (9,), ("labels",))
    with pytest.raises(HandtoolError, match="all labelled hands are of one video") as caught:
        read(path, val_share=0.2)
    assert "row" not in caught.value.hint
    with pytest.raises(HandtoolError, match="of one subject") as caught:
        read(path, val_share=0.2, val_by="subject")
    assert caught.value.hint == "--val-by video"


def test_a_random_fraction_takes_all_backgrounds_of_a_hand_and_head_takes_the_first_rows():
    hand = np.tile(np.arange(50), 4)
    keep = take_fraction(hand, 0.2, "random", seed=3)
    assert keep.sum() == 40 and (keep.reshape(4, 50) == keep[:50]).all()
    assert not np.array_equal(keep, take_fraction(hand, 0.2, "random", seed=4))
    assert np.flatnonzero(take_fraction(hand, 0.2, "head", seed=3)).tolist() == list(range(40))
