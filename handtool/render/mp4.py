"""A sequence of pictures as an mp4 (H.264), written one by one, with a note that can be read back."""

from collections.abc import Iterable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

# One thread and no lookahead: if a side is no multiple of 16 px, the assembly code of x264's lookahead reads
# uninitialised memory, and the bytes differ from run to run.
OPTIONS = {"preset": "fast", "threads": "1", "bf": "0", "x264-params": "mbtree=0:rc-lookahead=0:weightp=0"}


class Mp4Writer:
    """An mp4 that is being written; a context manager. crf: 0 (lossless) to 51. `note` is stored in the file.

    The same pictures give the same bytes on any number of cores, see OPTIONS. An odd side grows by one pixel, as 4:2:0
    needs.
    """

    def __init__(self, file: BinaryIO, fps: float, crf: int = 18, note: str = "") -> None:
        self.rate, self.count = Fraction(fps).limit_denominator(1001), 0
        self.container = av.open(file, "w", format="mp4")
        self.container.metadata["comment"] = note
        self.stream = self.container.add_stream("libx264", rate=self.rate, options={**OPTIONS, "crf": str(crf)})
        self.stream.pix_fmt = "yuv420p"

    def __enter__(self) -> "Mp4Writer":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        with self.container:
            if kind is None:
                self.container.mux(self.stream.encode())

    def add(self, image: np.ndarray) -> None:
        """(h, w, 3) uint8 RGB, all of one size."""
        image = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
        if not self.count:
            self.stream.height, self.stream.width = image.shape[:2]
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        picture.pts, picture.time_base = self.count, 1 / self.rate
        self.container.mux(self.stream.encode(picture))
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
