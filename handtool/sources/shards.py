"""Videos dealt out to several machines: each takes a share of about the same size, and all agree on it without talking to each other."""

import heapq
import os

from handtool.sources.frame import Video

# An image is as much work as this much video (of 4 Mbit/s, at one kept frame a second), with a detector to look at it and without.
IMAGE_BYTES, LABELLED_BYTES = 300_000, 15_000


def deal(videos: list[Video], parts: int) -> list[list[int]]:
    """The numbers of the videos of each part, in their order. Every video is in one part.

    The longest first, each to the part that has least so far (Graham 1969, SIAM J. Appl. Math. 17(2), "longest processing time"): no part
    gets more than 4/3 of what the best division would give the largest. Depends on the files and their sizes alone.
    """
    dealt: list[list[int]] = [[] for _ in range(parts)]
    loads = [(0, part) for part in range(parts)]
    sizes = [size_of(video) for video in videos]
    for number in long_first(sizes):
        load, part = heapq.heappop(loads)
        dealt[part].append(number)
        heapq.heappush(loads, (load + max(sizes[number], 1), part))
    return [sorted(numbers) for numbers in dealt]


def long_first(sizes: list[int]) -> list[int]:
    """The places of the sizes, the largest first; equal ones stay in their order."""
    return sorted(range(len(sizes)), key=lambda number: -sizes[number])


def size_of(video: Video) -> int:
    """Bytes, the measure of work that can be had without opening ten thousand videos; 0 for a file that cannot be looked at."""
    match video.kind:
        case "labelled":
            return LABELLED_BYTES * len(video.rows)
        case "images":
            return IMAGE_BYTES * len(video.files)
        case "video":
            try:
                return os.stat(video.path).st_size
            except OSError:
                return 0
