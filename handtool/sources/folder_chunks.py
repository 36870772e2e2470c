"""A folder of very many images in chunks, so that several workers read it at once and an interruption costs one chunk.

The chunks depend on the folder alone, so the result does not depend on the number of workers.
"""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from handtool.sources.frame import Tally, Video
from handtool.sources.images import NOTHING_READ
from handtool.sources.label_gate import FIELDS

CHUNK_IMAGES = 2048  # images
MAX_DEADLY = 8  # images that end the process that reads them; a chunk with more is given up
SUMS = "decoded sampled followed unread corrupt with_hands none_kept enlarged jpeg_bytes hands side_turned".split()
COUNTS = ("failed", "refused", "left_out")
CHECKS = ("labels_marked", "label_singles")  # counts too, which outcomes of an older version lack
ARRAYS = ("side", "tracks")


def split_into_chunks(video: Video) -> list[Video]:
    """Runs of CHUNK_IMAGES images of a folder, or rows of a published data set; any other video as it is."""
    if video.dataset and len(video.rows) > CHUNK_IMAGES:
        return [video.of_rows(slice(at, at + CHUNK_IMAGES)) for at in range(0, len(video.rows), CHUNK_IMAGES)]
    if len(video.files) <= CHUNK_IMAGES:
        return [video]
    starts = range(0, len(video.files), CHUNK_IMAGES)
    return [replace(video, files=video.files[at : at + CHUNK_IMAGES], first=at) for at in starts]


class ReadingMark:
    """A file that holds the number of the image being read: what ended the process, should it end."""

    def __init__(self, path: Path) -> None:
        self.path, self.disk = path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def write(self, number: int) -> None:
        os.pwrite(self.disk, number.to_bytes(8, "little"), 0)

    def remove(self) -> None:
        os.close(self.disk)
        self.path.unlink(missing_ok=True)


def without_deadly(video: Video, mark: Path) -> Video | None:
    """A folder whose process has ended, without the image that `mark` holds; None where that is not known."""
    number = mark.read_bytes() if video.kind == "images" and mark.exists() else b""
    if not number or len(video.skip) >= MAX_DEADLY:
        return None
    return replace(video, skip=(*video.skip, int.from_bytes(number, "little")))


def join_evidence(outcomes: list[dict]) -> np.ndarray:
    """What `LabelGate` measured, of all of them."""
    nothing = np.zeros((0, len(FIELDS)), np.float32)
    return np.concatenate([nothing, *(outcome.get("label_evidence", nothing) for outcome in outcomes)])


def join_outcomes(chunks: list[dict]) -> dict:
    """The outcome of a video, from the outcomes of its chunks in order."""
    if len(chunks) == 1:
        return chunks[0]
    joined = dict(next((chunk for chunk in chunks if chunk["width"]), chunks[0]))
    joined |= {name: sum(chunk[name] for chunk in chunks) for name in SUMS}
    joined |= {name: dict(sum((Counter(chunk[name]) for chunk in chunks), Counter())) for name in COUNTS}
    joined |= {name: np.concatenate([chunk[name] for chunk in chunks]) for name in ARRAYS}
    # outcomes of an older version lack these
    joined["label_scales"] = np.concatenate([chunk.get("label_scales", np.zeros(0)) for chunk in chunks])
    joined |= {name: dict(sum((Counter(chunk.get(name)) for chunk in chunks), Counter())) for name in CHECKS}
    joined["labels_checked"] = sum(chunk.get("labels_checked", 0) for chunk in chunks)
    joined["label_evidence"] = join_evidence(chunks)
    for name in ("sides", "found"):
        joined[name] = np.sum([chunk[name] for chunk in chunks], axis=0).tolist()
    joined["notes"] = list(dict.fromkeys(note for chunk in chunks for note in chunk.get("notes", ())))
    problems = dict.fromkeys(chunk["problem"] for chunk in chunks if chunk["problem"])
    if joined["decoded"]:
        problems.pop(NOTHING_READ, None)  # of one chunk, whose images are counted one by one
    tally = Tally(problem="; ".join(problems), failed=Counter(joined["failed"]))
    return joined | {"problem": tally.problem, "status": tally.status}
