"""overlay: a video of the footage with the hands drawn on it."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from handtool.accounting import Accounting
from handtool.config import OverlayConfig
from handtool.errors import HandtoolError
from handtool.hands.align import wrist_error
from handtool.hands.boxes import apply_affine_to_box
from handtool.hands.coverage import Track, collect_tracks
from handtool.hands.crop_maps import CropMaps
from handtool.progress import Progress, silent
from handtool.render.canvas import decode
from handtool.render.film import DEFAULT_FPS, Clock, Picture
from handtool.render.mp4 import Mp4Writer, read_note
from handtool.render.overlay import HandInPicture, Panels, draw_picture, hand_reach, mp4_size, shows_crop
from handtool.sources.frame import Sampling, Video
from handtool.sources.reopen import Lost, find_again, interval_of, read_again, read_looked_at, sampling_of
from handtool.store import (
    CROPS,
    FOUND,
    KEYPOINTS,
    LABELS,
    PREDICTIONS,
    VIDEOS,
    File,
    open_jpegs,
    read_attrs,
    read_column,
    read_geometry,
    video_names,
)

KINDS = {table.group: table for table in (PREDICTIONS, KEYPOINTS, LABELS, CROPS)}
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
    """Writes an mp4 into `sink`, with `note` in it: every frame of `footage` (`find_footage`) that was looked at, with
    all its hands, as long as it lasted; if a frame is not found again or shows something else, its crops one after
    another.

    Errors: HandtoolError if there is nothing to draw.
    """
    kind = choose_kind(source, config.kind)
    rows = choose_rows(source, footage, config.frames)
    scene = read_scene(source, rows, kind)
    size = mp4_size(picture_sizes(source, rows, footage), beside=scene.joints is not None)
    panels = Panels(hand_reach(scene.joints)) if scene.joints is not None else None
    clock, drawn, counts = Clock(config.fps), 0, Counter[str]()
    with Mp4Writer(sink, None, note=note) as mp4:
        for number, picture in enumerate(islice(make_pictures(source, scene, footage), config.frames or None)):
            start, lasts = clock.place(picture)
            texts, lost = (picture.name, picture.caption), picture.origin == "lost"
            mp4.add(draw_picture(picture.image, picture.hands, *texts, size, panels, start, lost), start, lasts)
            found = sum(not hand.lost for hand in picture.hands)
            drawn += found
            counts.update([picture.origin] + ["empty"] * (picture.origin == "frame" and not found))
            counts["track"] += found < len(picture.hands)
            progress("pictures", number + 1, None)
    hands = Accounting("hands", done=drawn)
    hands.skip("after the last picture (--frames)", source.count(CROPS) - drawn)
    length = sum(counts[origin] for origin in ("frame", "crop", "lost"))
    return {
        "accounting": [hands.as_report()],
        "kind": kind,
        "pictures": length,
        "from_frames": counts["frame"],
        "from_crops": counts["crop"],
        "frames_without_hands": counts["empty"],
        "frames_on_which_a_track_is_lost": counts["track"],
        "losses_of_the_decoder": counts["lost"],
        "fps": round(length / clock.end, 3),
        "seconds": round(clock.end, 2),
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


def find_footage(source: File, folders: list[Path], instead: str = "crops are shown") -> list[Video | None]:
    """For each row of /videos the footage, if it is found: at its old path, in `folders`, or beside the file."""
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    inputs = [Path(item["path"]) for entry in source.provenance for item in entry["inputs"] if not item.get("uuid")]
    beside = [*folders, Path(), source.owner(VIDEOS.group).path.parent]
    names, paths = read_column(source, VIDEOS.name), read_column(source, VIDEOS.path)
    streams = read_column(source, VIDEOS.stream) if source.has(VIDEOS.stream) else np.full(len(names), -1)
    found = [
        find_again(name, path, beside, inputs, int(stream) if stream >= 0 else None)
        for name, path, stream in zip(names, paths, streams, strict=True)
    ]
    missing = [name for name, path, video in zip(names, paths, found, strict=True) if path and video is None]
    if missing:
        gone = f"{len(missing)} of {len(names)} videos are not where they were ({missing[0]})"
        log.warning("%s; %s instead. Name their folder: --videos DIR", gone, instead)
    return found


def choose_rows(source: File, footage: list[Video | None], most: int) -> np.ndarray:
    """Rows in the order of videos and frames, as many as fit into `most` pictures (0: all)."""
    video, frame = read_column(source, CROPS.video), read_column(source, CROPS.frame)
    order = np.lexsort((np.arange(len(video)), frame, video))
    video, frame = video[order], frame[order]
    alone = np.array([item is None for item in footage], bool)[video]
    picture = np.cumsum(alone | np.concatenate([[True], (np.diff(video) != 0) | (np.diff(frame) != 0)]))
    return order[picture <= most] if most else order


def picture_sizes(source: File, rows: np.ndarray, footage: list[Video | None]) -> list[tuple[int, int]]:
    """(width, height) of the pictures of each video up to the last one: of its frames if the footage was found, else of
    the crops."""
    width, height = read_column(source, VIDEOS.width), read_column(source, VIDEOS.height)
    crop = int(read_attrs(source, CROPS)["size"])
    videos = range(int(read_column(source, CROPS.video, rows).max()) + 1)
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
    crops: CropMaps
    again: np.ndarray  # bool, found only at a second look
    points: np.ndarray
    true_points: np.ndarray | None = None
    joints: np.ndarray | None = None
    truth: np.ndarray | None = None
    error_mm: np.ndarray | None = None

    def in_crop(self, i: int) -> HandInPicture:
        """Hand i in px of its crop."""
        box = apply_affine_to_box(self.crops.crop_from_frame[i], self.box[i])
        more = {
            name: getattr(self, name)[i]
            for name in ("true_points", "joints", "truth", "error_mm")
            if getattr(self, name) is not None
        }
        again = bool(self.again[i])
        return HandInPicture(int(self.side[i]), int(self.track[i]), box, self.points[i], again=again, **more)

    def in_frame(self, i: int) -> HandInPicture:
        """Hand i in px of its frame."""
        hand, crop = self.in_crop(i), self.crops[i : i + 1]
        points, true_points = (
            None if p is None else crop.to_frame(p[None])[0] for p in (hand.points, hand.true_points)
        )
        return replace(hand, box=self.box[i], points=points, true_points=true_points)


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
    found = read_column(source, CROPS.found, rows) if source.has(CROPS.found) else np.full(len(rows), FOUND)
    base |= {"rows": rows, "crops": CropMaps(**read_geometry(source, rows)), "again": found != FOUND}
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


def make_pictures(source: File, scene: OverlayScene, footage: list[Video | None]) -> Iterator[Picture]:
    """For each video: its frames, then the crops whose frame was not found again or shows something else."""
    film, wanted = read_film(source), set(scene.video.tolist())
    for v, video in enumerate(footage):
        if v not in wanted and not (film.sampling and video):
            continue
        left = group_by_frame(scene, v)
        if video:
            yield from frame_pictures(film, scene, v, video, left)
        if left and video:
            log.warning(
                "%s: %d frames do not show what was cut out of them (or are gone); their crops follow",
                film.names[v],
                len(left),
            )
        for i in sorted(i for own in left.values() for i in own):
            image, hands = decode(film.jpegs[int(scene.rows[i])], film.size), [scene.in_crop(i)]
            yield Picture(image, hands, film.names[v], caption_of(scene.frame[i], scene.time[i]), "crop", v)


def frame_pictures(
    film: "Film", scene: OverlayScene, v: int, video: Video, left: dict[int, list[int]]
) -> Iterator[Picture]:
    """The frames of video v, whose hands are taken out of `left`. A frame must show its first hand; frames without
    hands are believed as long as those with hands are."""
    tracks, lasts, believed = film.tracks_of(v), film.interval_of(v), True
    image: np.ndarray | None = None
    if film.sampling and video.kind != "labelled":
        frames: Iterator = read_looked_at(video, film.sampling, int(film.frames[v]))
    else:
        frames = read_again(video, left) if left else iter(())
    for frame in frames:
        if isinstance(frame, Lost):
            if image is not None and believed:
                yield Picture(image, [], film.names[v], frame.reason, "lost", v, frame.time, lasts)
            continue
        image, own = frame.image, left.get(frame.number, [])
        if own:
            first = own[0]
            crop = decode(film.jpegs[int(scene.rows[first])], film.size)
            believed = shows_crop(image, crop, scene.crops[first : first + 1])
        if not believed or image.shape[1::-1] != film.sizes[v]:
            continue
        hands = [scene.in_frame(i) for i in left.pop(frame.number, [])]
        lost = [track for track in tracks if track.has_lost(frame.number)]
        hands += [HandInPicture(track.side, track.number, track.box_at(frame.number), lost=True) for track in lost]
        told = f"{caption_of(frame.number, frame.time)}   {count_of(own)}" + f", {len(lost)} lost" * bool(lost)
        yield Picture(image, hands, film.names[v], told, "frame", v, frame.time, lasts)


def caption_of(frame: int, time: float) -> str:
    return f"frame {frame}" + (f"   {time:.2f} s" if np.isfinite(time) else "")


def count_of(hands: list) -> str:
    return f"{len(hands) or 'no'} hand{'s' * (len(hands) != 1)}"


@dataclass
class Film:
    """What is known of the videos, (V, …) each, and of all hands of the file, (N, …)."""

    sampling: Sampling | None
    jpegs: Any
    size: int  # px, of a crop
    names: list[str]
    sizes: list[tuple[int, int]]  # px, width and height of a frame
    fps: np.ndarray
    frames: np.ndarray  # decoded or lost
    video: np.ndarray
    hands: tuple[np.ndarray, ...]  # track, side, frame, box

    def tracks_of(self, v: int) -> list[Track]:
        """Those of a video, to see where they are lost; none if it is not known which frames were looked at."""
        rows = np.flatnonzero(self.video == v)
        return collect_tracks(*(column[rows] for column in self.hands)) if self.sampling else []

    def interval_of(self, v: int) -> float:
        """s between two frames of a video; of images: how long each is shown."""
        if self.sampling and self.fps[v] > 0:
            return interval_of(self.sampling, float(self.fps[v]))
        return 1 / DEFAULT_FPS


def read_film(source: File) -> Film:
    width, height, fps, decoded, failed = (
        read_column(source, column)
        for column in (VIDEOS.width, VIDEOS.height, VIDEOS.fps, VIDEOS.frames_decoded, VIDEOS.frames_failed)
    )
    hands = tuple(read_column(source, column) for column in (CROPS.track, CROPS.side, CROPS.frame, CROPS.box))
    return Film(
        sampling_of(source.owner(CROPS.group).provenance),
        open_jpegs(source),
        int(read_attrs(source, CROPS)["size"]),
        video_names(source),
        list(zip(width.tolist(), height.tolist(), strict=True)),
        fps,
        decoded + failed,
        read_column(source, CROPS.video),
        hands,
    )


def group_by_frame(scene: OverlayScene, video: int) -> dict[int, list[int]]:
    """Frame number -> hands, in order."""
    groups: dict[int, list[int]] = {}
    for i in np.flatnonzero(scene.video == video):
        groups.setdefault(int(scene.frame[i]), []).append(int(i))
    return groups


def read_mark(path: Path) -> str:
    """The note in an existing mp4 about how it was made."""
    return read_note(path)
