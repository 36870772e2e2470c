"""Videos divided into shards of about equal work, one for each machine. Every machine computes the same ones."""

import heapq
import os

from handtool.sources.frame import Video

# An image is as much work as this much video (4 Mbit/s, one kept frame a second), with a detector and without.
IMAGE_BYTES, LABELLED_BYTES = 300_000, 15_000
VIDEO_BYTES = 500_000  # a second of it


def divide_into_shards(videos: list[Video], shards: int) -> list[list[int]]:
    """The numbers of the videos of each shard, in their order. Every video is in one shard.

    The longest first, each to the shard that has least so far (Graham 1969, SIAM J. Appl. Math. 17(2), "longest
    processing time"): the largest shard has at most 4/3 of the work that the best division would give it. Depends on
    the files and their sizes alone.
    """
    divided: list[list[int]] = [[] for _ in range(shards)]
    loads = [(0, shard) for shard in range(shards)]
    sizes = [size_of(video) for video in videos]
    for number in largest_first(sizes):
        load, shard = heapq.heappop(loads)
        divided[shard].append(number)
        heapq.heappush(loads, (load + max(sizes[number], 1), shard))
    return [sorted(numbers) for numbers in divided]


def largest_first(sizes: list[int]) -> list[int]:
    """The places of the sizes, the largest first; equal ones stay in their order."""
    return sorted(range(len(sizes)), key=lambda number: -sizes[number])


def size_of(video: Video) -> int:
    """Bytes, a measure of work that needs no opening of ten thousand videos; 0 for a file that is not there."""
    match video.kind:
        case "labelled":
            return LABELLED_BYTES * len(video.rows)
        case "images":
            return IMAGE_BYTES * len(video.files)
        case "video" if video.episode:
            return int(VIDEO_BYTES * video.episode.length / video.episode.fps)
        case "video":
            try:
                return video.spans[0][1] if video.tar else os.stat(video.path).st_size
            except OSError:
                return 0
