"""The truth.h5 that lies beside videos of `synth`: checked before, joined with the hands that are found."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.label_faults import Labels
from handtool.hands.lens import Lens, project
from handtool.sources.frame import Frame, Video
from handtool.sources.label_gate import SAMPLE, LabelGate, measure
from handtool.sources.label_verdict import judge
from handtool.sources.truth import KnownVideo, find_truth, make_known_video, unknown_hand
from handtool.store import TRUTH, VIDEOS, File, open_file, read_column
from handtool.vision.camera_model import WORDS
from handtool.vision.contracts import Detection
from handtool.vision.hand_finder import FinderSettings
from handtool.vision.rows import Hand


def check_truth(videos: list[Video], settings: FinderSettings) -> None:
    for path in sorted({path for video in videos if (path := find_truth(video))}):
        if settings.camera is not None and settings.camera not in WORDS:
            raise WrongCommand(f"{path} knows the camera", hint="leave out --camera")
        with open_file(path) as truth:
            truth.need(TRUTH, hint="another file of that name beside the videos? Move it away")
            if not settings.config.trust_labels and truth.count(TRUTH):
                lenses = {Path(video.path).name: video.lens for video in videos if find_truth(video) == path}
                judge(measure_truth(truth, lenses), str(path))


def measure_truth(truth: File, lenses: dict[str, Lens | None]) -> np.ndarray:
    """What is measured of a sample of the labels in a truth.h5. lenses: by the name of the film."""
    rows = np.unique(np.linspace(0, truth.count(TRUTH) - 1, SAMPLE).astype(np.int64))
    columns = {column.name: read_column(truth, column, rows) for column in TRUTH.columns}
    size = np.stack([read_column(truth, column) for column in (VIDEOS.width, VIDEOS.height)], axis=1)
    known, joints = np.ones((len(rows), 21), bool), columns["joints"].astype(np.float64)
    of_picture = columns["keypoints"].astype(np.float64), known, columns["box"], size[columns["video"]]
    projected, films = np.full((len(rows), 21, 2), np.nan), read_column(truth, VIDEOS.path)
    for video in np.unique(columns["video"]):
        lens = lenses.get(Path(films[video]).name)
        lens = lens.for_picture(*size[video].tolist()) if lens else None
        if lens is not None and lens.bends:
            here = columns["video"] == video
            columns["camera"][here], projected[here] = np.nan, project(lens, joints[here])
    return measure(columns["side"], Labels(joints, known, columns["camera"], *of_picture, projected))


def read_truth(video: Video) -> KnownVideo | None:
    """The truth about a video from the `truth.h5` beside it; None if there is no such file, or if it lacks this
    video."""
    path = find_truth(video)
    if path is None:
        return None
    with open_file(path, trusted=True) as truth:
        names = [Path(each).name for each in read_column(truth, VIDEOS.path)]
        if Path(video.path).name not in names:
            return None
        place = names.index(Path(video.path).name)
        rows = np.flatnonzero(read_column(truth, TRUTH.video) == place)
        columns = {column.name: read_column(truth, column, rows) for column in TRUTH.columns}
        about = {column.name: read_column(truth, column)[place] for column in VIDEOS.columns if truth.has(column)}
        return make_known_video({**columns, "row": rows}, about)


def join_truth(
    video: Video,
    known_video: KnownVideo,
    frame: Frame,
    found: list[Detection],
    joined: Counter,
    gate: LabelGate,
    lens: Lens | None = None,
) -> list[Hand]:
    """The hands that were found, each with the frame's camera and, if it matches a known hand, that one's label, as
    `gate` lets it pass, and side. lens: through which the film was taken, None: without distortion."""
    if frame.image.shape[1::-1] != known_video.size:
        have, made = ("x".join(map(str, size)) for size in (frame.image.shape[1::-1], known_video.size))
        raise HandtoolError(
            f"{video.path} is {have} px, the truth beside it was made for {made} px",
            hint=f"move {find_truth(video)} away",
        )
    known = known_video.join(
        frame.number, np.array([hand.box for hand in found]).reshape(-1, 4), [hand.side for hand in found], joined
    )
    matched = [replace(hand, lens=lens) for hand in known if hand]
    passed = iter(gate.check(matched, np.tile(known_video.size, (len(matched), 1))))
    known = [hand and next(passed) for hand in known]
    return [
        (
            replace(hand, side=match.side) if match else hand,
            known_video.camera if lens is None else lens,
            (match or unknown_hand(known_video.camera)).as_label(),
        )
        for hand, match in zip(found, known, strict=True)
    ]
