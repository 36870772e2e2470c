"""The pictures of a film, and when each of them is shown."""

from dataclasses import dataclass

import numpy as np

from handtool.render.overlay import HandInPicture

DEFAULT_FPS = 4.0  # pictures a second, where the footage has no times


@dataclass
class Picture:
    """One picture of the video: a frame or a crop, the hands in its pixels, and the text below it."""

    image: np.ndarray
    hands: list[HandInPicture]
    name: str
    caption: str
    origin: str  # "frame" or "crop", or "lost": a frame that could not be decoded
    video: int
    time: float = float("nan")  # s, in its video
    lasts: float = 1 / DEFAULT_FPS  # s


@dataclass
class Clock:
    """Says when the pictures begin in the mp4, in s, and how long they last: as in their video, one video after the
    other; or `fps` of them a second."""

    fps: float | None
    end: float = 0.0
    video: int = -1
    last: float = float("nan")
    begin: float = 0.0  # of the video, in the mp4

    def place(self, picture: Picture) -> tuple[float, float]:
        start, lasts = self.end, 1 / self.fps if self.fps else picture.lasts
        if not self.fps and np.isfinite(picture.time):
            if picture.video != self.video or not picture.time > self.last:  # time may jump back in joined streams
                self.begin = self.end - picture.time
            start = self.begin + picture.time
        self.video, self.last, self.end = picture.video, picture.time, start + lasts
        return start, lasts
