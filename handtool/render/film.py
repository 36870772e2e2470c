"""Pictures that follow each other as an mp4 file."""

from collections.abc import Iterable
from fractions import Fraction
from io import BytesIO

import av
import numpy as np


def encode_mp4(frames: Iterable[np.ndarray], fps: float, crf: int = 18) -> bytes:
    """frames: (h, w, 3) uint8 RGB, all of one size, at least one. crf: 0 lossless .. 51. Returns the bytes of an H.264 mp4.

    One thread, so that the same pictures give the same bytes on every number of cores. An odd side grows by one pixel, as 4:2:0 needs.
    """
    file, rate = BytesIO(), Fraction(fps).limit_denominator(1001)
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "fast", "threads": "1"})
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate(frames):
            image = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
            if not number:
                stream.height, stream.width = image.shape[:2]
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return file.getvalue()
