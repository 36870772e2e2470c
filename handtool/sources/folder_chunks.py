"""A folder of very many images in pieces, so that several workers share it and an interruption costs one of them.

Where the cuts are depends on the folder alone, so the result does not depend on the number of workers.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from handtool.sources.frame import Tally, Video
from handtool.sources.images import NOTHING_READ

PIECE = 2048  # images
SUMS = (
    "decoded",
    "sampled",
    "followed",
    "corrupt",
    "with_hands",
    "none_kept",
    "enlarged",
    "jpeg_bytes",
    "hands",
    "side_turned",
)
COUNTS = ("failed", "refused", "left_out")
ARRAYS = ("side", "tracks")


def in_pieces(video: Video) -> list[Video]:
    """A folder of images, or the rows of a published data set, PIECE by PIECE; anything else as it is."""
    if video.dataset and len(video.rows) > PIECE:
        return [video.of_rows(slice(at, at + PIECE)) for at in range(0, len(video.rows), PIECE)]
    starts = range(0, len(video.files), PIECE)
    return (
        [replace(video, files=video.files[at : at + PIECE], first=at) for at in starts] if len(starts) > 1 else [video]
    )


def join_outcomes(pieces: list[dict]) -> dict:
    """What became of a video, from what became of its pieces, in order."""
    if len(pieces) == 1:
        return pieces[0]
    joined = dict(next((piece for piece in pieces if piece["width"]), pieces[0]))
    joined |= {name: sum(piece[name] for piece in pieces) for name in SUMS}
    joined |= {name: dict(sum((Counter(piece[name]) for piece in pieces), Counter())) for name in COUNTS}
    joined |= {name: np.concatenate([piece[name] for piece in pieces]) for name in ARRAYS}
    joined["sides"] = np.sum([piece["sides"] for piece in pieces], axis=0).tolist()
    problems = dict.fromkeys(piece["problem"] for piece in pieces if piece["problem"])
    if joined["decoded"]:
        problems.pop(NOTHING_READ, None)  # of one piece, whose images are counted one by one
    tally = Tally(problem="; ".join(problems), failed=Counter(joined["failed"]))
    return joined | {"problem": tally.problem, "status": tally.status}
