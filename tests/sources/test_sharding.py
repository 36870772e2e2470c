"""Videos dealt out to shards: every one to one shard, the shards about equally large, the same whoever asks."""

import numpy as np
import pytest
from footage import make_labelled, write_image

from handtool.sources.find import find_videos
from handtool.sources.frame import Video
from handtool.sources.shards import IMAGE_BYTES, LABELLED_BYTES, divide_into_shards, largest_first, size_of


def make_files(folder, sizes) -> list[Video]:
    for number, size in enumerate(sizes):
        with open(folder / f"{number:04d}.mp4", "wb") as file:
            file.truncate(int(size))
    return find_videos([folder]).videos


@pytest.mark.parametrize("parts", [1, 2, 7, 50])
def test_every_video_is_in_one_shard_and_no_shard_has_much_more_than_its_share(tmp_path, parts):
    sizes = np.random.default_rng(parts).lognormal(12, 1.5, 40).astype(int)
    videos = make_files(tmp_path, sizes)
    dealt = divide_into_shards(videos, parts)
    assert sorted(number for numbers in dealt for number in numbers) == list(range(40)) and all(
        n == sorted(n) for n in dealt
    )
    loads = [sizes[numbers].sum() for numbers in dealt]
    assert max(loads) <= 4 / 3 * max(sizes.sum() / parts, sizes.max())
    assert divide_into_shards(videos, parts) == dealt


def test_the_longest_are_dealt_first_and_equal_ones_in_their_order(tmp_path):
    assert largest_first([3, 9, 3, 5]) == [1, 3, 0, 2]
    assert divide_into_shards(make_files(tmp_path, [1, 10, 1, 4, 1, 4]), 2) == [[1, 4], [0, 2, 3, 5]]
    assert divide_into_shards(make_files(tmp_path, [0] * 6), 2) == [[0, 2, 4], [1, 3, 5]], (
        "files of no size are spread too"
    )


def test_sizes_of_folders_labelled_sets_and_files_that_are_not_there(tmp_path):
    for number in range(3):
        write_image(tmp_path / "a" / f"{number}.png", np.zeros((5, 5, 3), np.uint8))
    (folder,) = find_videos([tmp_path / "a"]).videos
    assert size_of(folder) == 3 * IMAGE_BYTES
    (labelled,) = find_videos([make_labelled(tmp_path / "set")]).videos
    assert size_of(labelled) == 6 * LABELLED_BYTES
    assert size_of(Video("gone", str(tmp_path / "gone.mp4"), "video")) == 0
