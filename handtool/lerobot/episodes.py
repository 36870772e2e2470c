"""Which videos become the episodes of a set, and which of their hands: a set has one rate and one size of pictures, and
a frame one hand of a side."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from handtool.accounting import Accounting
from handtool.errors import HandtoolError
from handtool.hands.lens import MODELS
from handtool.hands.skeleton import UNKNOWN
from handtool.lerobot.features import Hands
from handtool.sources.frame import Sampling, Video
from handtool.sources.reopen import read_again, sampling_of, tick_of
from handtool.store import CROPS, LABELS, PREDICTIONS, VIDEOS, Column, File, Table, read_column, video_names
from handtool.vision.cropping import make_thumbnail

LARGEST_DENOMINATOR = 1001  # of a rate: 30000/1001
SAME = 12.0  # grey values, mean difference of two thumbnails of one frame
Read = Callable[[Column, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Videos:
    """Of the V rows of /videos. rate: frames of the set a second, NaN unknown; size: (V, 2) height, width px; frames:
    decoded, -1 where some were lost. duration: s; fps: 1/s of the film."""

    name: list[str]
    place: np.ndarray
    rate: np.ndarray
    size: np.ndarray
    frames: np.ndarray
    duration: np.ndarray
    fps: np.ndarray
    sampling: Sampling


def read_videos(source: File) -> Videos:
    """Raises HandtoolError where the frames that were looked at are not known."""
    sampling = sampling_of(source.owner(CROPS.group).provenance)
    if sampling is None:
        raise HandtoolError(
            f"{source.path} does not tell which frames were looked at (key frames, or only some of the hands), and an "
            "episode has all of them",
            hint="export what `predict VIDEOS` or `extract VIDEOS` wrote",
        )
    has = source.has(VIDEOS.duration)
    columns = (VIDEOS.fps, VIDEOS.frames_decoded, VIDEOS.frames_failed, VIDEOS.height, VIDEOS.width, VIDEOS.place)
    fps, decoded, failed, height, width, place = (read_column(source, column) for column in columns)
    exact = np.array([exact_rate(each) for each in fps.tolist()])
    rate = exact / sampling.every if sampling.every is not None else np.minimum(exact, sampling.fps)
    duration = read_column(source, VIDEOS.duration) if has else (decoded + failed) / exact
    size = np.stack([height, width], axis=1)
    frames = np.where(failed > 0, -1, decoded)
    return Videos(video_names(source), place, rate, size, frames, duration, exact, sampling)


def exact_rate(fps: float) -> float:
    """29.97003 -> 30000 / 1001; NaN where it is not known."""
    if not (np.isfinite(fps) and fps > 0):
        return float("nan")
    return float(Fraction(fps).limit_denominator(LARGEST_DENOMINATOR))


def choose_videos(
    source: File, videos: Videos, footage: list[Video | None] | None, accounting: Accounting
) -> list[int]:
    """The rows of /videos that become episodes. footage: of each, None where it was not found; None: no films are
    wanted. The rest is counted. Raises HandtoolError if none is left."""
    kept: list[int] = []
    for number in range(len(videos.name)):
        if not np.isfinite(videos.rate[number]):
            accounting.skip("images, or films without a rate")
        elif footage is not None and footage[number] is None:
            accounting.skip("not where they were (--videos DIR)")
        else:
            kept.append(number)
    kinds = Counter(kind_of(videos, number, footage is not None) for number in kept)
    if not kinds:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in accounting.skipped.items())
        raise HandtoolError(f"{source.path} has no video that could be an episode ({reasons or 'no videos'})")
    usual = kinds.most_common(1)[0][0]
    for kind, count in kinds.items():
        if kind != usual:
            told = f"{kind[0]:g} frames/s" + (f" of {kind[2]} x {kind[1]} px" if len(kind) > 1 else "")
            accounting.skip(f"of another rate or size than the others: {told}", count)
    return [number for number in kept if kind_of(videos, number, footage is not None) == usual]


def kind_of(videos: Videos, number: int, has_film: bool) -> tuple:
    """What the episodes of a set have in common."""
    return (round(float(videos.rate[number]), 4), *(videos.size[number].tolist() if has_film else ()))


class HandReader:
    """Reads the hands of the videos of a file. table: PREDICTIONS or LABELS; read: a column's values, of points and
    cameras in px of the frame."""

    def __init__(self, source: File, table: Table, videos: Videos, read: Read) -> None:
        self.source, self.table, self.videos, self.read = source, table, videos, read
        self.video, self.hands = read_column(source, CROPS.video), Accounting("hands")

    def rows_of(self, number: int) -> np.ndarray:
        return np.flatnonzero(self.video == number)

    def rows_on(self, numbers: list[int], rows: np.ndarray) -> np.ndarray:
        """The place of the frame of each hand among the frames of the episode, -1: it is not there."""
        frame, there = read_column(self.source, CROPS.frame, rows), np.array(numbers)
        place = np.searchsorted(there, frame) if len(there) else np.zeros(len(rows), np.int64)
        found = there[np.minimum(place, len(there) - 1)] == frame if len(there) else np.zeros(len(rows), bool)
        return np.where(found, place, -1)

    def is_film_of(self, video: Video, rows: np.ndarray) -> bool:
        """Whether the frame of the first hand looks as it did when the hand was cut out."""
        if not len(rows) or not self.source.has(CROPS.thumbnails):
            return True
        then = read_column(self.source, CROPS.thumbnails, rows[:1])[0, 1].astype(float)
        frame = int(read_column(self.source, CROPS.frame, rows[:1])[0])
        now = [make_thumbnail(each.image).astype(float) for each in read_again(video, [frame])]
        return bool(now) and (not then.any() or float(np.abs(now[0] - then).mean()) <= SAME)

    def rows_of_frames(self, number: int, rows: np.ndarray) -> tuple[np.ndarray, int]:
        """Where no film tells which frames were looked at: the row of each hand in its episode, and its length."""
        frame, time = (read_column(self.source, column, rows) for column in (CROPS.frame, CROPS.time))
        videos = self.videos
        place = tick_of(videos.sampling, float(videos.fps[number]), frame, time)
        looked = np.nan_to_num(np.ceil(videos.duration[number] * videos.rate[number] - 1e-3))
        if videos.sampling.every == 1 and videos.frames[number] > 0:
            looked = videos.frames[number]
        return place, max(int(looked), int(place.max(initial=-1)) + 1)

    def read_hands(self, rows: np.ndarray, place: np.ndarray) -> Hands:
        """rows: of the file; place: of each in its episode, -1: its frame is not there. One hand of a side a frame."""
        side, score, track = (self.read(column, rows) for column in (CROPS.side, CROPS.score, CROPS.track))
        joints, points = self.read(self.table.joints, rows), self.read(self.table.keypoints, rows)
        joints_valid = points_valid = self.read(self.table.valid, rows).reshape(len(rows), -1) & np.ones(21, bool)
        absolute = np.ones(len(rows), bool)
        if self.table is PREDICTIONS:
            absolute = self.read(PREDICTIONS.absolute, rows)
        else:
            points_valid = self.read(LABELS.keypoints_valid, rows)
        joints_valid = joints_valid & np.isfinite(joints).all(axis=2)
        points_valid = points_valid & np.isfinite(points).all(axis=2)
        known = joints_valid.any(axis=1) | points_valid.any(axis=1)
        chosen = self.choose(place, side, known, score, track)
        columns = side, score, joints, joints_valid, absolute, points, points_valid, self.read_cameras(rows)
        return Hands(place[chosen], *(column[chosen] for column in columns))

    def read_cameras(self, rows: np.ndarray) -> np.ndarray:
        """(n, 8) of the frames: fx fy cx cy, k1..k4 of a fisheye lens; NaN of another lens that bends, and unknown."""
        cameras = np.zeros((len(rows), 8))
        cameras[:, :4] = self.read(CROPS.camera, rows)[:, [0, 1, 0, 1], [0, 1, 2, 2]]
        if self.source.has(CROPS.lens):
            model, lens = self.read(CROPS.lens_model, rows), self.read(CROPS.lens, rows)
            is_fisheye = model == MODELS.index("fisheye")
            cameras[is_fisheye, 4:] = lens[is_fisheye, 4:8]
            cameras[(model > 0) & ~is_fisheye] = np.nan
        return cameras

    def choose(self, place, side, known, score, track) -> np.ndarray:
        """The hands that are written, as numbers: of several of one side on a frame the one of the highest score, of
        the longest track, the first."""
        self.hands.skip("on frames that were not found again", int((place < 0).sum()))
        self.hands.skip("with no side", int(((place >= 0) & (side == UNKNOWN)).sum()))
        self.hands.skip("not valid", int(((place >= 0) & (side != UNKNOWN) & ~known).sum()))
        there = np.flatnonzero((place >= 0) & (side != UNKNOWN) & known)
        tracks, of, lengths = np.unique(track[there], return_inverse=True, return_counts=True)
        length = np.where(track[there] >= 0, lengths[of], 0) if len(tracks) else np.zeros(0)
        order = np.lexsort((there, -length, -np.nan_to_num(score[there], nan=1.0), side[there], place[there]))
        keys = np.stack([place[there], side[there]], axis=1)[order]
        first = np.ones(len(keys), bool)
        first[1:] = (np.diff(keys, axis=0) != 0).any(axis=1)
        self.hands.skip("of one side on one frame with a better one", int((~first).sum()))
        self.hands.done += int(first.sum())
        return there[order][first]
