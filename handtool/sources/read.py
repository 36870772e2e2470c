"""Frames of every kind of source, by one function."""

from collections.abc import Iterator

from handtool.sources.datasets import SETS
from handtool.sources.frame import Frame, Sampling, Tally, Video
from handtool.sources.images import read_images
from handtool.sources.labelled import read_labelled
from handtool.sources.remote import read_remote
from handtool.sources.video import read_video
from handtool.sources.webp import read_animation


def read_frames(video: Video, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    """The kept frames of a video, in order, each released before the next is made. Problems are recorded in `tally`."""
    match video.kind:
        case "video" if video.dataset:
            return SETS[video.dataset].read_frames(video, sampling, tally)
        case "video":
            read = read_animation if video.path.lower().endswith(".webp") else read_video
            return read_remote(video, read, sampling, tally) if video.address else read(video, sampling, tally)
        case "images":
            return read_images(video, tally, sampling)
        case "labelled":
            return (SETS[video.dataset].read_labelled_frames if video.dataset else read_labelled)(video, tally)
