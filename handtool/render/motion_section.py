"""The part of a report about hands over time: coverage of the tracks, paths of wrists, turns of palms, trembling."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from handtool.config import PredictConfig
from handtool.hands.motion import Trembling, find_still, turn_from_mean
from handtool.hands.palm import palm_rotation
from handtool.hands.skeleton import WRIST
from handtool.hands.smoothing import OneEuro
from handtool.names import escape
from handtool.render.motion_charts import TrackOverTime, coverage_chart, time_chart
from handtool.render.page import figure, table

MAX_VIDEOS, MAX_TRACKS, MAX_PATHS = 4, 16, 3  # videos whose tracks are shown, tracks of each, tracks whose paths are
MAX_STILL = 100  # tracks whose trembling is measured
LEAST_PX, LEAST_M, LEAST_DEG = 20.0, 0.02, 20.0  # the smallest ranges of the plots


@dataclass
class Poses:
    """n predictions: joints (n, 21, 3) m, NaN where not valid; keypoints (n, 21, 2) px of the frame; valid, absolute,
    assumed (n,) bool: the last says that the camera is a guess."""

    joints: np.ndarray
    keypoints: np.ndarray
    valid: np.ndarray
    absolute: np.ndarray
    assumed: np.ndarray


@dataclass
class Motion:
    """videos: names. tracks: video, rows by time and what is known of each. read_poses: the predictions of some rows;
    None: there are none. smoothing: json of the filter's settings; counted: what the step that smoothed them measured.
    """

    videos: list[str]
    tracks: list[tuple[int, np.ndarray, TrackOverTime]]
    read_poses: Callable[[np.ndarray], Poses] | None = None
    smoothing: str | None = None
    counted: dict | None = None

    def longest(self, most: int) -> list[tuple[int, np.ndarray, TrackOverTime]]:
        return sorted(self.tracks, key=lambda each: -len(each[1]))[:most]


@dataclass
class Sightings:
    """Columns of the n hands of one video that have a time: row of the file, track (-1: none), time s, tick (number of
    the frame among those that were looked at), side, and whether it took a second look to find them; interval_s:
    between two frames."""

    row: np.ndarray
    track: np.ndarray
    time: np.ndarray
    tick: np.ndarray
    side: np.ndarray
    again: np.ndarray
    interval_s: float

    def tracks(self) -> Iterator[tuple[np.ndarray, TrackOverTime]]:
        """Rows by time and what is known of each track."""
        for number in np.unique(self.track[self.track >= 0]):
            own = np.flatnonzero(self.track == number)
            own = own[np.argsort(self.time[own], kind="stable")]
            side = int(np.bincount(self.side[own]).argmax())
            columns = self.time[own], self.tick[own], self.again[own]
            yield self.row[own], TrackOverTime(int(number), side, *columns, self.interval_s)


def motion_section(motion: Motion, name: str, covered: bool = True) -> str:
    """HTML; empty without tracks. covered: also when each track has its hand."""
    if not motion.tracks:
        return ""
    html = f"<h3>{escape(name)}</h3><div>" + (coverage_figures(motion) if covered else "")
    tables = (coverage_table(motion) if covered else "") + (trembling(motion) if motion.read_poses else "")
    html += f'<div class="beside">{tables}</div>' if tables else ""
    return html + "</div>" + (path_figures(motion) if motion.read_poses else "")


def coverage_figures(motion: Motion) -> str:
    counts, html = Counter(video for video, *_ in motion.tracks), ""
    for v, count in sorted(counts.most_common(MAX_VIDEOS)):
        own = sorted((track for video, _, track in motion.tracks if video == v), key=lambda track: -len(track.time))[
            :MAX_TRACKS
        ]
        told = f"{motion.videos[v]}: {count} track{'s' * (count != 1)}"
        told += f", the {MAX_TRACKS} longest shown." if count > MAX_TRACKS else "."
        chart = coverage_chart(sorted(own, key=lambda track: track.number), f"Tracks of {motion.videos[v]} over time")
        html += figure(chart, told)
    if len(counts) > MAX_VIDEOS:
        html += f'<p class="faint">{len(counts) - MAX_VIDEOS} more videos, with fewer tracks, are not shown.</p>'
    return html


def coverage_table(motion: Motion) -> str:
    tracks = [track for *_, track in motion.tracks]
    found, lost = sum(len(track.time) for track in tracks), sum(track.lost for track in tracks)
    again = sum(int(track.again.sum()) for track in tracks)
    rows = [["tracks", len(tracks)], ["hands found at the first look", found - again]]
    rows += [["hands found at a second look", again]] if again else []
    rows += [["hands lost between", lost], ["coverage, %", round(100 * found / max(found + lost, 1), 1)]]
    return table(["all tracks", "number"], rows)


def path_figures(motion: Motion) -> str:
    """The wrist and the palm of the longest tracks."""
    assert motion.read_poses is not None
    html = ""
    for v, rows, track in motion.longest(MAX_PATHS):
        poses, name = motion.read_poses(rows), f"{motion.videos[v]}, {track.name}"
        if poses.absolute.any():
            wrist = np.where(poses.absolute[:, None], poses.joints[:, WRIST], np.nan)
            unit, least, told = "m", LEAST_M, f"seen from {'an assumed' if poses.assumed.any() else 'the'} camera"
        else:
            wrist, unit, least, told = poses.keypoints[:, WRIST], "px", LEAST_PX, "in the picture"
        axes = ("x", "y", "z")[: wrist.shape[1]]
        turn = turn_from_mean(palm_rotation(poses.joints, np.full(len(rows), track.side)))
        about, turned = ("about x", "about y", "about z"), "turn of the palm from its mean direction"
        path = f"path of the wrist, {told}"
        html += "<div>"
        for chart, what in (
            (time_chart(track, wrist, axes, f"wrist, {unit}", f"{name}: {path}", least), path),
            (time_chart(track, turn, about, "palm, degrees", f"{name}: {turned}", LEAST_DEG), turned),
        ):
            html += figure(chart, f"{name}: {what} (x right, y down, z away).") if chart else ""
        html += "</div>"
    return html


def trembling(motion: Motion) -> str:
    """How much still hands tremble, before and after smoothing: as the step that smoothed them counted it, else as
    `predict --smooth` would leave it."""
    if motion.smoothing and not motion.counted:
        unknown = "no hand was still, so it is not known by how much (nor where a version before 0.3.0 did it)"
        return f'<p class="faint">The joints are smoothed; {unknown}.</p>'
    if motion.smoothing and motion.counted:
        before, after = motion.counted["before"], motion.counted["after"]
        settings, kind = json.loads(motion.smoothing), "as predict --smooth applied it"
    else:
        before, after, settings = measure_trembling(motion)
        kind = "as predict --smooth would apply it"
    if not before["frames"]:
        return '<p class="faint">No hand is still for half a second: trembling cannot be told from motion.</p>'
    rows = [
        [name, before[key], after[key]]
        for name, key in (("fingers about the wrist", "pose_mm"), ("wrist", "wrist_mm"))
        if before[key]  # a pose about its wrist has no path
    ]
    html = table(["how much still hands tremble", "before smoothing, mm", "after it, mm"], rows)
    told = f"Root mean square second difference from frame to frame, {before['frames']:,} frames. One-Euro filter at "
    told += f"{settings['min_cutoff_hz']:g} Hz + {settings['beta_hz_per_m_per_s']:g} Hz per m/s, {kind}."
    return html + f'<p class="faint">{escape(told)}</p>'


def measure_trembling(motion: Motion) -> tuple[dict, dict, dict]:
    """The trembling of the joints as they are, and after the usual filter; and the settings of that."""
    assert motion.read_poses is not None
    config, before, after = PredictConfig(), Trembling(), Trembling()
    euro = OneEuro(config.min_cutoff, config.beta, config.derivative_cutoff)
    for _, rows, track in motion.longest(MAX_STILL):
        poses = motion.read_poses(rows)
        joints, time = poses.joints[poses.valid], track.time[poses.valid]
        still = find_still(poses.keypoints[poses.valid], time)
        before.add(joints, time, still)
        after.add(euro.filter_hand(joints, time), time, still)
    settings = {"min_cutoff_hz": config.min_cutoff, "beta_hz_per_m_per_s": config.beta}
    return before.as_report(), after.as_report(), settings
