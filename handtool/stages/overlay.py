"""overlay: a video of the footage with the hands drawn on it."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from handtool.accounting import Accounting
from handtool.config import OverlayConfig
from handtool.errors import HandtoolError
from handtool.hands.align import wrist_error
from handtool.hands.boxes import apply_affine_to_box, invert
from handtool.progress import Progress, silent
from handtool.render.canvas import decode
from handtool.render.mp4 import Mp4Writer, read_note
from handtool.render.overlay import HandInPicture, draw_picture, mp4_size, shows_crop
from handtool.sources.frame import Video
from handtool.sources.reopen import find_again, read_again
from handtool.store import (
    CROPS,
    KEYPOINTS,
    LABELS,
    PREDICTIONS,
    VIDEOS,
    File,
    open_jpegs,
    read_attrs,
    read_column,
    video_names,
)

KINDS = {table.group: table for table in (PREDICTIONS, KEYPOINTS, LABELS, CROPS)}
MAX_TIMED_VIDEOS = 100  # videos whose frame times are used to estimate the rate
MIN_FPS, MAX_FPS, DEFAULT_FPS = 2.0, 30.0, 4.0  # pictures per second; the last if the source has no times
log = logging.getLogger(__name__)


def overlay(
    source: File,
    sink: BinaryIO,
    config: OverlayConfig,
    progress: Progress = silent,
    *,
    footage: list[Video | None],
    note: str,
) -> dict:
    """Writes an mp4 into `sink`, with `note` in it: frames of `footage` (`find_footage`) with all their hands; if a
    frame is not found again or shows something else, its crops one after another.

    Errors: HandtoolError if there is nothing to draw.
    """
    kind = choose_kind(source, config.kind)
    rows, rate = choose_rows(source, footage, config.frames), config.fps or sampled_rate(source)
    scene = read_scene(source, rows, kind)
    size = mp4_size(picture_sizes(source, rows, footage), beside=scene.joints is not None)
    drawn, origins = 0, Counter[str]()
    with Mp4Writer(sink, rate, note=note) as mp4:
        for number, picture in enumerate(islice(make_pictures(source, scene, footage), config.frames or None)):
            mp4.add(
                draw_picture(
                    picture.image,
                    picture.hands,
                    picture.name,
                    picture.caption,
                    size,
                    scene.joints is not None,
                    number / rate,
                )
            )
            drawn, origins[picture.origin] = drawn + len(picture.hands), origins[picture.origin] + 1
            progress("pictures", number + 1, None)
    hands, length = Accounting("hands", done=drawn), origins.total()
    hands.skip("after the last picture (--frames)", source.count(CROPS) - drawn)
    report = {
        "accounting": [hands.as_report()],
        "kind": kind,
        "pictures": length,
        "from_frames": origins["frame"],
        "from_crops": origins["crop"],
    }
    return report | {
        "fps": round(rate, 3),
        "seconds": round(length / rate, 2),
        "width_px": size[0],
        "height_px": size[1],
    }


def choose_kind(source: File, kind: str) -> str:
    """The table to draw: `kind`, or for auto the first that the file itself holds, else the first that it links to."""
    there = sorted((name for name, table in KINDS.items() if source.has(table)), key=lambda name: not source.owns(name))
    if "crops" not in there or not source.count(CROPS):
        raise HandtoolError(f"{source.path} has no hands to make a film of", hint=f"handtool info {source.path}")
    if kind != "auto" and kind not in there:
        raise HandtoolError(
            f"{source.path} has no {kind} to draw in a film, it has {', '.join(there)}", hint=f"--kind {there[0]}"
        )
    return there[0] if kind == "auto" else kind


def find_footage(source: File, folders: list[Path]) -> list[Video | None]:
    """For each row of /videos the footage, if it is found: at its old path, in `folders`, or beside the file."""
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    inputs = [Path(item["path"]) for entry in source.provenance for item in entry["inputs"] if not item.get("uuid")]
    beside = [*folders, Path(), source.owner(VIDEOS.group).path.parent]
    names, paths = read_column(source, VIDEOS.name), read_column(source, VIDEOS.path)
    found = [find_again(name, path, beside, inputs) for name, path in zip(names, paths, strict=True)]
    missing = [name for name, path, video in zip(names, paths, found, strict=True) if path and video is None]
    if missing:
        gone = f"{len(missing)} of {len(names)} videos are not where they were ({missing[0]})"
        log.warning("%s; crops are shown instead. Name their folder: --videos DIR", gone)
    return found


def choose_rows(source: File, footage: list[Video | None], most: int) -> np.ndarray:
    """Rows in the order of videos and frames, as many as fit into `most` pictures (0: all)."""
    video, frame = read_column(source, CROPS.video), read_column(source, CROPS.frame)
    order = np.lexsort((np.arange(len(video)), frame, video))
    video, frame = video[order], frame[order]
    alone = np.array([item is None for item in footage], bool)[video]
    picture = np.cumsum(alone | np.concatenate([[True], (np.diff(video) != 0) | (np.diff(frame) != 0)]))
    return order[picture <= most] if most else order


def sampled_rate(source: File) -> float:
    """Pictures per second: the rate at which the frames were sampled, median over the videos, within MIN_FPS and
    MAX_FPS."""
    video, time = read_column(source, CROPS.video), read_column(source, CROPS.time)
    gaps = [np.diff(np.unique(time[(video == v) & np.isfinite(time)])) for v in np.unique(video)[:MAX_TIMED_VIDEOS]]
    small = [np.quantile(gap, 0.1) for gap in gaps if len(gap)]  # frames without a hand make larger gaps
    return float(np.clip(1 / np.median(small), MIN_FPS, MAX_FPS)) if small else DEFAULT_FPS


def picture_sizes(source: File, rows: np.ndarray, footage: list[Video | None]) -> list[tuple[int, int]]:
    """(width, height) of the pictures of each video: of its frames if the footage was found, else of the crops."""
    width, height = read_column(source, VIDEOS.width), read_column(source, VIDEOS.height)
    crop = int(read_attrs(source, CROPS)["size"])
    videos = np.unique(read_column(source, CROPS.video, rows))
    return [(int(width[v]), int(height[v])) if footage[v] and width[v] and height[v] else (crop, crop) for v in videos]


@dataclass
class OverlayScene:
    """Columns of the hands to be drawn, (n, …) each; points and true_points in px of the crop, NaN or None if
    unknown."""

    rows: np.ndarray
    video: np.ndarray
    frame: np.ndarray
    time: np.ndarray
    side: np.ndarray
    track: np.ndarray
    box: np.ndarray
    affine: np.ndarray  # crop from frame
    points: np.ndarray
    true_points: np.ndarray | None = None
    joints: np.ndarray | None = None
    truth: np.ndarray | None = None
    error_mm: np.ndarray | None = None

    def in_crop(self, i: int) -> HandInPicture:
        """Hand i in px of its crop."""
        box = apply_affine_to_box(self.affine[i], self.box[i])
        more = {
            name: getattr(self, name)[i]
            for name in ("true_points", "joints", "truth", "error_mm")
            if getattr(self, name) is not None
        }
        return HandInPicture(int(self.side[i]), int(self.track[i]), box, self.points[i], **more)


def read_scene(source: File, rows: np.ndarray, kind: str) -> OverlayScene:
    def read(column, *known) -> np.ndarray:
        """A column, NaN where one of the columns `known` is false."""
        values = read_column(source, column, rows)
        for flag in known:
            flags = read_column(source, flag, rows)
            values = np.where(flags.reshape(*flags.shape, *[1] * (values.ndim - flags.ndim)), values, np.nan)
        return values

    columns = (CROPS.video, CROPS.frame, CROPS.time, CROPS.side, CROPS.track, CROPS.box)
    base: dict[str, Any] = {column.name: read_column(source, column, rows) for column in columns}
    base |= {"rows": rows, "affine": read_column(source, CROPS.crop_from_frame, rows)}
    match kind:
        case "keypoints":
            return OverlayScene(**base, points=read(KEYPOINTS.xy, KEYPOINTS.valid))
        case "labels":
            return OverlayScene(
                **base, points=read(LABELS.keypoints, LABELS.keypoints_valid), joints=read(LABELS.joints, LABELS.valid)
            )
        case "predictions":
            joints = read(PREDICTIONS.joints, PREDICTIONS.valid)
            scene = OverlayScene(**base, points=read(PREDICTIONS.keypoints, PREDICTIONS.valid), joints=joints)
            if source.has(LABELS):
                truth = read(LABELS.joints, LABELS.valid)
                scene.true_points, scene.truth = read(LABELS.keypoints, LABELS.keypoints_valid), truth
                scene.error_mm = 1000 * wrist_error(joints, truth, read_column(source, LABELS.valid, rows))
            return scene
        case _:
            return OverlayScene(**base, points=read_column(source, CROPS.landmarks, rows))


@dataclass
class Picture:
    """One picture of the video: a frame or a crop, the hands in its pixels, and the text below it."""

    image: np.ndarray
    hands: list[HandInPicture]
    name: str
    caption: str
    origin: str  # "frame" or "crop"


def make_pictures(source: File, scene: OverlayScene, footage: list[Video | None]) -> Iterator[Picture]:
    """For each video: its frames, then the crops whose frame was not found again or shows something else."""
    jpegs, names, size = open_jpegs(source), video_names(source), int(read_attrs(source, CROPS)["size"])

    def caption_of(i: int) -> str:
        return f"frame {scene.frame[i]}" + (f"   {scene.time[i]:.2f} s" if np.isfinite(scene.time[i]) else "")

    for v in np.unique(scene.video):
        left = group_by_frame(scene, v)
        for frame in read_again(footage[v], left) if footage[v] else ():
            own = left[frame.number]
            first = own[0]
            if not shows_crop(frame.image, decode(jpegs[int(scene.rows[first])], size), scene.affine[first]):
                continue
            hands = [scene.in_crop(i).moved(invert(scene.affine[i])) for i in left.pop(frame.number)]
            yield Picture(
                frame.image, hands, names[v], f"{caption_of(first)}   {len(own)} hand{'s' * (len(own) != 1)}", "frame"
            )
        if left and footage[v]:
            log.warning(
                "%s: %d frames do not show what was cut out of them (or are gone); their crops follow",
                names[v],
                len(left),
            )
        for i in sorted(i for own in left.values() for i in own):
            yield Picture(decode(jpegs[int(scene.rows[i])], size), [scene.in_crop(i)], names[v], caption_of(i), "crop")


def group_by_frame(scene: OverlayScene, video: int) -> dict[int, list[int]]:
    """Frame number -> hands, in order."""
    groups: dict[int, list[int]] = {}
    for i in np.flatnonzero(scene.video == video):
        groups.setdefault(int(scene.frame[i]), []).append(int(i))
    return groups


def read_mark(path: Path) -> str:
    """The note in an existing mp4 about how it was made."""
    return read_note(path)
