"""A sequence of pictures as an mp4 (H.264), written one by one, with a note that can be read back."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

# One thread and no lookahead: if a side is no multiple of 16 px, the assembly code of x264's lookahead reads
# uninitialised memory, and the bytes differ from run to run.
CLOCK = 90_000  # ticks a second, of films whose pictures last differently long; all usual rates divide it
NOMINAL_FPS = 30.0  # of these films, for the coder's limits
OPTIONS = {"preset": "fast", "threads": "1", "bf": "0", "x264-params": "mbtree=0:rc-lookahead=0:weightp=0"}


class Mp4Writer:
    """An mp4 that is being written; a context manager. crf: 0 (lossless) to 51. `note` is stored in the file.

    fps: pictures a second; None: each picture says when it begins and how long it lasts. key_every: pictures from one
    key frame to the next at most; 0: the coder's choice.
    The same pictures give the same bytes on any number of cores, see OPTIONS. An odd side grows by one pixel, as 4:2:0
    needs.
    """

    def __init__(self, file: BinaryIO, fps: float | None, crf: int = 18, note: str = "", key_every: int = 0) -> None:
        self.rate, self.count = Fraction(fps or NOMINAL_FPS).limit_denominator(1001), 0
        self.tick = 1 / self.rate if fps else Fraction(1, CLOCK)
        self.next_tick = self.end = 0  # the first that is free, and that at which the last picture ends
        self.waiting: av.Packet | None = None  # until it is known how long it lasts
        self.container = av.open(file, "w", format="mp4")
        self.container.metadata["comment"] = note
        options = {**OPTIONS, "crf": str(crf)} | ({"g": str(key_every)} if key_every else {})
        self.stream = self.container.add_stream("libx264", rate=self.rate, options=options)
        self.stream.pix_fmt = "yuv420p"
        if not fps:
            self.stream.codec_context.time_base = self.tick

    def __enter__(self) -> "Mp4Writer":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        with self.container:
            if kind is None:
                self.mux([*self.stream.encode(), None])

    def mux(self, packets: Sequence[av.Packet | None]) -> None:
        """Each packet as soon as the next one is there, up to which it lasts; None: that was the last one."""
        for packet in packets:
            if self.waiting:
                end = self.end if packet is None else packet.pts or 0
                self.waiting.duration = max(end - (self.waiting.pts or 0), 1)
                self.container.mux(self.waiting)
            self.waiting = packet

    def add(self, image: np.ndarray, start: float | None = None, seconds: float = 0.0) -> None:
        """(h, w, 3) uint8 RGB, all of one size. start, seconds: s, when it begins and how long it lasts; None: with the
        end of the picture before, at a fixed rate."""
        image = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
        if not self.count:
            self.stream.height, self.stream.width = image.shape[:2]
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        tick = self.count if start is None else max(round(start / self.tick), self.next_tick)
        self.next_tick, self.end = tick + 1, tick + max(round(seconds / self.tick), 1)
        picture.pts, picture.time_base = tick, self.tick
        self.mux(self.stream.encode(picture))
        self.count += 1


def encode_mp4(frames: Iterable[np.ndarray], fps: float, crf: int = 18) -> bytes:
    """frames: (h, w, 3) uint8 RGB, all of one size, at least one. Returns the bytes of an mp4."""
    file = BytesIO()
    with Mp4Writer(file, fps, crf) as mp4:
        for image in frames:
            mp4.add(image)
    return file.getvalue()


def read_note(path: Path) -> str:
    """The note of an mp4; empty if it has none, or if the file is no mp4."""
    try:
        with av.open(str(path)) as container:
            return container.metadata.get("comment", "")
    except (av.FFmpegError, OSError, ValueError):
        return ""
