"""A part of a film: the frames of one episode among many that are joined in one file. Read from the key frame before
it, not from the beginning of the file."""

from collections.abc import Iterator

from handtool.sources.bitstream import Doubt
from handtool.sources.frame import Episode

FURTHER_S = (0.0, 2.0, 20.0, 1e9)  # back from the beginning, until a key frame is found that comes before it


class Excerpt:
    """A container that is demuxed from the key frame before an episode until its end."""

    def __init__(self, container, stream, episode: Episode) -> None:
        self.container, self.stream, self.episode = container, stream, episode
        self.base = float(stream.time_base)
        self.start = float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0

    def place(self, stamp: int) -> int:
        """The number of a frame in the episode by its time stamp, from less than 0 to more than its length."""
        return round((stamp * self.base - self.start - self.episode.begin) * self.episode.fps)

    def number(self, stamp: int | None) -> int | None:
        """The same; None where it is outside of the episode."""
        place = None if stamp is None else self.place(stamp)
        return place if place is not None and 0 <= place < self.episode.length else None

    def time(self, stamp: int, number: int) -> float:
        """s from the beginning of the episode, of a frame that comes as `number`. Raises Doubt where one is missing or
        comes twice."""
        if self.number(stamp) != number:
            raise Doubt("frames are missing, or of another rate")
        return number / self.episode.fps

    def demux(self, stream) -> Iterator:
        """As the container's own; without the packet of no bytes at the end."""
        for further in FURTHER_S:
            begin = max(self.episode.begin - further, 0.0) + self.start
            self.container.seek(int(begin / self.base), stream=stream)
            packets = self.container.demux(stream)
            first = next(packets, None)
            if first is None or first.pts is None or self.place(first.pts) <= 0 or begin <= self.start:
                break
        while first is not None and first.size:
            yield first
            first = next(packets, None)
            stamp = first and (first.pts if first.dts is None else first.dts)
            if stamp is not None and self.place(stamp) >= self.episode.length:  # later ones are shown later still
                return


def cut_out(container, stream, episode: Episode | None) -> Excerpt | None:
    return Excerpt(container, stream, episode) if episode else None
