"""Hands as COCO's json: pictures, and for each hand its box, its 21 keypoints, its side and its score.

A picture is a frame with hands. An image is called as it lies below the folder that was read, a labelled one as its set
calls it, frame 12 of a film `clip.mp4#12`, as `extract --boxes` reads it. Keypoints are px of the picture, centres at
integers; `bbox` is x, y, width, height by the edges. The third value of a keypoint is 0 where it is not known, and 1
where it is; where the labels tell what is visible, 2 is visible and 1 is hidden.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TextIO

import numpy as np

from handtool import __version__
from handtool.accounting import Accounting
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.skeleton import BONES, JOINTS, LEFT, RIGHT
from handtool.progress import Progress
from handtool.sources.frame import Video
from handtool.sources.reopen import find_again, read_again
from handtool.store import CROPS, KEYPOINTS, LABELS, PREDICTIONS, VIDEOS, Column, File, Table, read_column

BLOCK_ROWS = 4096
POINTS = {PREDICTIONS: PREDICTIONS.keypoints, KEYPOINTS: KEYPOINTS.xy, LABELS: LABELS.keypoints}
SIDES = {LEFT: "left", RIGHT: "right"}
CATEGORY = {
    "id": 1,
    "name": "hand",
    "supercategory": "hand",
    "keypoints": list(JOINTS),
    "skeleton": [[parent + 1, child + 1] for parent, child in BONES],
}
ABOUT = {
    "description": f"hands, written by handtool {__version__}",
    "pixels": "keypoints: centres of pixels at integers; bbox: x, y, width, height by the edges",
}
Read = Callable[[Column, slice], np.ndarray]  # some rows of a column, points in px of the frame


@dataclass(frozen=True)
class Pictures:
    """The frames with hands, in the order of videos and frames. of_row: (N,) the place of each hand's among them."""

    of_row: np.ndarray
    names: list[str]
    sizes: list[tuple[int, int] | None]  # width, height px, None: not known


def choose_table(source: File, asked: str | None) -> Table:
    """Raises WrongCommand for a table without keypoints, HandtoolError where there is none."""
    by_name = {table.group: table for table in POINTS}
    if asked is not None and asked not in by_name:
        raise WrongCommand(f"/{asked} cannot be written as coco", hint=f"--table {' | '.join(by_name)}")
    there = [table for table in POINTS if source.has(table)]
    there.sort(key=lambda table: not source.owns(table.group))
    if asked is None and not there:
        raise HandtoolError(f"{source.path} has no keypoints", hint=f"handtool keypoints {source.path} -o keypoints.h5")
    table = by_name[asked] if asked else there[0]
    source.need(table, hint="handtool info {path}")
    source.need(CROPS, hint="handtool info {path}")
    return table


def export_coco(source: File, asked: str | None, target: Path, read: Read, progress: Progress) -> dict[str, Any]:
    """Writes `target`, one annotation a row: its id is the row + 1. A hand without known keypoints keeps its box."""
    table = choose_table(source, asked)
    pictures = find_pictures(source, progress)
    hands = Accounting("hands")
    with target.open("w", encoding="utf-8") as file:
        about = ABOUT | {"handtool_table": table.group, "handtool_source": source.uuid}
        file.write('{"info": ' + dump(about) + ',\n"licenses": [],\n"categories": [' + dump(CATEGORY) + "],\n")
        write_list(file, "images", images_of(pictures))
        file.write(",\n")
        write_list(file, "annotations", annotations_of(source, table, pictures.of_row, read, hands, progress))
        file.write("\n}\n")
    sizeless = sum(size is None for size in pictures.sizes)
    report = {"accounting": [hands.as_report()], "table": table.group, "format": "coco"}
    return report | {"images": len(pictures.names)} | ({"images_of_unknown_size": sizeless} if sizeless else {})


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write_list(file: TextIO, name: str, entries: Iterator[dict]) -> None:
    file.write(f'"{name}": [')
    for number, entry in enumerate(entries):
        file.write((",\n" if number else "\n") + dump(entry))
    file.write("]")


def images_of(pictures: Pictures) -> Iterator[dict]:
    for number, (name, size) in enumerate(zip(pictures.names, pictures.sizes, strict=True)):
        yield {"id": number + 1, "file_name": name} | ({"width": size[0], "height": size[1]} if size else {})


def annotations_of(
    source: File, table: Table, picture: np.ndarray, read: Read, hands: Accounting, progress: Progress
) -> Iterator[dict]:
    """picture: (N,) place of each row's. Counts in `hands`."""
    count = len(picture)
    for start in range(0, count, BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, count))
        box, score, track = (read_column(source, each, rows) for each in (CROPS.box, CROPS.score, CROPS.track))
        side, points = read_column(source, CROPS.side, rows), read(POINTS[table], rows)
        marks = read_marks(source, table, rows, points)
        scores = read_column(source, KEYPOINTS.score, rows) if table is KEYPOINTS else None
        points = shortest(np.where(marks[..., None] > 0, points, 0))
        for row in range(len(box)):
            known = int((marks[row] > 0).sum())
            hands.done += known > 0
            if not known:
                hands.skip("box alone: no keypoint is known")
            x0, y0, x1, y1 = box[row].astype(np.float64).tolist()
            values = np.column_stack([points[row], marks[row]]).tolist()
            entry: dict[str, Any] = {"id": start + row + 1, "image_id": int(picture[start + row]) + 1}
            entry |= {"category_id": 1, "iscrowd": 0}
            entry |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "num_keypoints": known}
            entry["keypoints"] = [number for x, y, mark in values for number in (x, y, int(mark))]
            entry |= {"side": SIDES.get(int(side[row]), "unknown"), "track_id": int(track[row])}
            entry |= {"score": float(shortest(score[row]))} if np.isfinite(score[row]) else {}
            entry |= {"keypoint_scores": shortest(scores[row]).tolist()} if scores is not None else {}
            yield entry
        progress("write annotations", rows.stop, count)


def shortest(values: np.ndarray) -> np.ndarray:
    """float64 with the fewest digits that give the same float32."""
    return values.astype(np.float32).astype(str).astype(np.float64)


def read_marks(source: File, table: Table, rows: slice, points: np.ndarray) -> np.ndarray:
    """(n, 21) int: 0 not known, 1 known, 2 known and visible."""
    finite = np.isfinite(points).all(axis=2)
    if table is not LABELS:
        return (finite & read_column(source, table.by_name["valid"], rows)[:, None]).astype(int)
    known = finite & read_column(source, LABELS.keypoints_valid, rows)
    visible = read_column(source, LABELS.visible, rows) if source.has(LABELS.visible) else np.zeros_like(known)
    return known.astype(int) + (known & visible)


def find_pictures(source: File, progress: Progress) -> Pictures:
    """The size of a film's frames is noted in /videos; those of images are looked at, where they are still there."""
    video, frame = read_column(source, CROPS.video), read_column(source, CROPS.frame)
    keys, of_row = np.unique(np.stack([video, frame], axis=1), axis=0, return_inverse=True)
    columns = [read_column(source, each) for each in (VIDEOS.name, VIDEOS.path, VIDEOS.width, VIDEOS.height)]
    is_film = np.isfinite(read_column(source, CROPS.time))
    films = set(video[is_film].tolist())
    sample = read_column(source, LABELS.sample_key) if source.has(LABELS) else None
    key_of: dict[int, str] = {} if sample is None else dict(zip(of_row.reshape(-1).tolist(), sample))
    names, sizes = list[str](), list[tuple[int, int] | None]()
    numbers, starts = np.unique(keys[:, 0], return_index=True)
    for number, frames in zip(numbers.tolist(), np.split(keys[:, 1], starts[1:])):
        name, path, width, height = (column[number] for column in columns)
        seen = {} if number in films else look_at(source, name, path, frames.tolist())
        for each in frames.tolist():
            called, size = seen.get(each, (f"{name}#{each}", None))
            names.append(key_of.get(len(names)) or called if number not in films else called)
            sizes.append((int(width), int(height)) if number in films and width and height else size)
        progress("find pictures", len(names), len(keys))
    return Pictures(of_row.reshape(-1), names, sizes)


def look_at(source: File, name: str, noted: str, frames: list[int]) -> dict[int, tuple[str, tuple[int, int]]]:
    """By frame, name and (width, height) of the pictures of a folder, of those that are still there."""
    inputs = [Path(item["path"]) for entry in source.provenance for item in entry["inputs"] if not item.get("uuid")]
    footage = find_again(name, noted, [Path(), source.owner(VIDEOS.group).path.parent], inputs)
    if footage is None:
        return {}
    is_alone = bool(footage.files) and PurePath(footage.files[0]).name == PurePath(name).name
    below = PurePath() if is_alone else PurePath(*PurePath(name).parts[1:])
    return {
        found.number: (name_of(footage, below, found.name), (found.image.shape[1], found.image.shape[0]))
        for found in read_again(footage, frames)
    }


def name_of(footage: Video, below: PurePath, name: str) -> str:
    return (below / PurePath(name).name).as_posix() if footage.kind == "images" else name
