"""A folder of very many images in chunks, so that several workers read it at once and an interruption costs one chunk.

The chunks depend on the folder alone, so the result does not depend on the number of workers.
"""

import os
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from handtool.sources.frame import Tally, Video
from handtool.sources.images import NOTHING_READ
from handtool.sources.label_gate import FIELDS

CHUNK_IMAGES = 2048  # images
SPAN = struct.Struct("<qq")
MAX_DEADLY = 8  # images that end the process that reads them; a chunk with more is given up
SUMS = "decoded sampled followed unread corrupt with_hands none_kept enlarged jpeg_bytes hands side_turned".split()
COUNTS = ("failed", "unseen", "refused", "left_out")
CHECKS = ("labels_marked", "label_singles")  # counts too, which outcomes of an older version lack
ARRAYS = ("side", "tracks")


def split_into_chunks(video: Video) -> list[Video]:
    """Runs of CHUNK_IMAGES images of a folder, or rows of a published data set; any other video as it is."""
    if video.dataset and len(video.rows) > CHUNK_IMAGES:
        return [video.of_rows(slice(at, at + CHUNK_IMAGES)) for at in range(0, len(video.rows), CHUNK_IMAGES)]
    if len(video.files) <= CHUNK_IMAGES:
        return [video]
    return [video.of_files(slice(at, at + CHUNK_IMAGES)) for at in range(0, len(video.files), CHUNK_IMAGES)]


class Item(NamedTuple):
    """A chunk of a video for one worker. careful: one picture at a time, to find the one that ends the process."""

    number: int
    chunk: int
    video: Video
    careful: bool = False


class ReadingMark:
    """A file that holds the numbers of the first and the last image in work: should the process end, one of them has
    done it."""

    def __init__(self, path: Path) -> None:
        self.path, self.disk = path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def write(self, first: int, last: int) -> None:
        os.pwrite(self.disk, SPAN.pack(first, last), 0)

    def remove(self) -> None:
        os.close(self.disk)
        self.path.unlink(missing_ok=True)


class Suspects:
    """Which images ended the process that read them. One that has done it twice is left out of its folder."""

    def __init__(self) -> None:
        self.ended: Counter[tuple[int, int, int]] = Counter()  # processes, by number, chunk and image
        self.tries: Counter[tuple[int, int]] = Counter()

    def note(self, item: Item, mark: Path) -> int | None:
        """After the end of a process: the image that has done it, None where it may have been another one."""
        written = mark.read_bytes() if item.video.kind == "images" and mark.exists() else b""
        first, last = SPAN.unpack(written) if len(written) == SPAN.size else (0, -1)
        if first != last:
            return None
        self.ended[item.number, item.chunk, last] += 1
        return last

    def next_try(self, item: Item, mark: Path) -> Item | None:
        """How to go on with a chunk that was given up, None: not at all."""
        image = self.note(item, mark)
        self.tries[item.number, item.chunk] += 1
        if item.video.kind != "images" or self.tries[item.number, item.chunk] > 2 * MAX_DEADLY:
            return None
        if image is None:
            return None if item.careful else item._replace(careful=True)
        if self.ended[item.number, item.chunk, image] < 2:
            return item
        if len(item.video.skip) >= MAX_DEADLY:
            return None
        return item._replace(video=replace(item.video, skip=(*item.video.skip, image)))


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
    # outcomes of an older version lack some
    joined |= {name: dict(sum((Counter(chunk.get(name, {})) for chunk in chunks), Counter())) for name in COUNTS}
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
    tally = Tally(problem="; ".join(problems), failed=Counter(joined["failed"]), unseen=Counter(joined["unseen"]))
    return joined | {"problem": tally.problem, "status": tally.status}
