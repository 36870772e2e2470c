"""21 2D keypoints for every crop: what the source knew, what the detector found along the way, or an estimator's answer."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from handtool.accounting import Accounting
from handtool.config import KeypointsConfig
from handtool.errors import HandtoolError
from handtool.hands.boxes import apply_affine_to_box
from handtool.progress import Progress, silent
from handtool.store import CROPS, KEYPOINTS, LABELS, File, Job, Jpegs, Sink, open_jpegs, read_attrs, read_column, write_table
from handtool.vision.contracts import HandCrop
from handtool.vision.cropping import decode_jpeg
from handtool.vision.mediapipe import MediaPipeKeypoints, require_mediapipe
from handtool.vision.workers import run_in_children

log = logging.getLogger(__name__)
BLOCK_ROWS = 128  # a part of the job, and what is lost where an estimator dies
ESTIMATED, DETECTED, KNOWN = 0, 1, 2
NAMES = {KNOWN: "labels", DETECTED: "detector", ESTIMATED: "mediapipe"}


@dataclass
class Hands:
    """The table in the making, and why a row is not valid (empty where it is)."""

    xy: np.ndarray
    score: np.ndarray
    reason: np.ndarray

    def put(self, rows: np.ndarray, xy: np.ndarray, score: np.ndarray) -> None:
        self.xy[rows], self.score[rows] = xy, score


def keypoints(source: File, sink: Sink, config: KeypointsConfig, progress: Progress = silent, *, job: Job) -> dict:
    """Writes /keypoints, one row for every hand; a hand without them has valid = False, and is counted with the reason.

    Raises HandtoolError where the file has no crops, no labels though they are asked for, or where not one hand gets its keypoints.
    """
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    origin = choose_origin(source, config)
    count = len(origin)
    hands = Hands(np.full((count, 21, 2), np.nan, np.float32), np.zeros((count, 21), np.float32), np.full(count, "", dtype=object))
    copy_labels(source, hands, np.flatnonzero(origin == KNOWN))
    copy_landmarks(source, hands, np.flatnonzero(origin == DETECTED))
    estimate(source, hands, np.flatnonzero(origin == ESTIMATED), job, config, progress)
    hands.reason[(hands.reason == "") & (hands.score.mean(1) < config.min_score)] = "score below --min-score"
    valid = hands.reason == ""
    if not valid.any():
        raise no_keypoints(source, hands)
    used = {name: int((origin == code).sum()) for code, name in NAMES.items() if (origin == code).any()}
    columns = {"xy": hands.xy, "score": hands.score, "valid": valid}
    write_table(sink, KEYPOINTS, columns, attrs={"skeleton": "hand21", "model": " + ".join(used)})
    sink.inherit(source)
    return make_report(hands, valid, used)


def choose_origin(source: File, config: KeypointsConfig) -> np.ndarray:
    """(N,): where each hand's keypoints come from. `auto`: labels before landmarks before the estimator. Landmarks are not found again."""
    count = source.count(CROPS)
    origin = np.full(count, ESTIMATED)
    origin[np.isfinite(read_column(source, CROPS.landmarks)).all((1, 2))] = DETECTED
    if config.estimator == "labels":
        source.need(LABELS, hint="handtool keypoints {path} --estimator mediapipe")
        origin[:] = KNOWN
    elif config.estimator == "auto" and source.has(LABELS):
        origin[read_column(source, LABELS.sample_id) >= 0] = KNOWN
    if (origin == ESTIMATED).any():
        require_mediapipe()
    return origin


def copy_labels(source: File, hands: Hands, rows: np.ndarray) -> None:
    """The 2D truth, score 1 where a point is known. A hand is valid with all 21 of them."""
    if not len(rows):
        return
    known = read_column(source, LABELS.keypoints_valid, rows)
    xy = np.where(known[..., None], read_column(source, LABELS.keypoints, rows), np.nan)
    hands.put(rows, xy, known)
    hands.reason[rows[~known.all(1)]] = "only some of the 21 points known"
    hands.reason[rows[~known.any(1)]] = "no 2D truth"


def copy_landmarks(source: File, hands: Hands, rows: np.ndarray) -> None:
    if len(rows):
        score = read_column(source, CROPS.landmarks_score, rows)
        hands.put(rows, read_column(source, CROPS.landmarks, rows), score[:, None])


def estimate(source: File, hands: Hands, rows: np.ndarray, job: Job, config: KeypointsConfig, progress: Progress) -> None:
    """The rest, over worker processes; a block of rows is one part of the job. One that kills its process is marked, the run goes on."""
    blocks = [rows[start : start + BLOCK_ROWS] for start in range(0, len(rows), BLOCK_ROWS)]
    waiting = [number for number in range(len(blocks)) if not job.has(part_name(number))]
    if len(waiting) < len(blocks):
        log.info("%d of %d blocks are done already", len(blocks) - len(waiting), len(blocks))
    items = [(blocks[number], context_of(source, blocks[number])) for number in waiting]
    lost, looked = {}, len(rows) - sum(len(blocks[number]) for number in waiting)
    for news in run_in_children(open_estimator, (config, open_jpegs(source)), items, config.workers, config.patience_s):
        number = waiting[news.item]
        if news.kind == "result":
            job.save(part_name(number), news.value)
        elif news.kind == "lost":
            lost[number] = str(news.value)
            log.warning("rows %d to %d: %s", blocks[number][0], blocks[number][-1], news.value)
        elif news.kind == "beat":
            looked += news.value
            progress("hands", looked, len(rows))
    for number, block in enumerate(blocks):
        if number in lost:
            hands.reason[block] = lost[number]
            continue
        part = job.load(part_name(number))
        hands.put(block, part["xy"], part["score"])
        hands.reason[block[~part["found"]]] = "no hand seen on the crop"


def part_name(number: int) -> str:
    return f"hands-{number:07d}"


def context_of(source: File, rows: np.ndarray) -> np.ndarray:
    """(n,): side of each crop / larger side of the hand's box in it."""
    box = apply_affine_to_box(read_column(source, CROPS.crop_from_frame, rows), read_column(source, CROPS.box, rows))
    return read_attrs(source, CROPS)["size"] / np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])


def open_estimator(config: KeypointsConfig, jpegs: Jpegs) -> Callable[[tuple[np.ndarray, np.ndarray], Callable[[], None]], Iterator[dict]]:
    """In a worker process: the function that turns a block of rows into their keypoints."""
    estimator = MediaPipeKeypoints(config.min_score)

    def estimate_block(item: tuple[np.ndarray, np.ndarray], beat: Callable[[], None]) -> Iterator[dict]:
        rows, context = item
        xy, score, found = np.full((len(rows), 21, 2), np.nan, np.float32), np.zeros((len(rows), 21), np.float32), np.zeros(len(rows), bool)
        for place, row in enumerate(rows):
            [answer] = estimator.find_keypoints([HandCrop(decode_jpeg(jpegs[row]), context[place])])
            if answer is not None:
                xy[place], score[place], found[place] = *answer, True
            beat()
        yield {"xy": xy, "score": score, "found": found}

    return estimate_block


def no_keypoints(source: File, hands: Hands) -> HandtoolError:
    reasons = ", ".join(sorted(set(hands.reason)))
    message = f"none of the {len(hands.reason)} hands of {source.path} gets keypoints ({reasons})"
    return HandtoolError(message, hint=f"look at them: handtool show {source.path}")


def make_report(hands: Hands, valid: np.ndarray, used: dict[str, int]) -> dict:
    counts = Accounting("hands", done=int(valid.sum()))
    reasons, numbers = np.unique(hands.reason[~valid].astype(str), return_counts=True)
    for reason, number in zip(reasons, numbers, strict=True):
        if reason.startswith(("its process", "no new frame", "not enough memory")):
            counts.fail(str(reason), int(number))
        else:
            counts.skip(str(reason), int(number))
    return {"accounting": [counts.as_report()], "hands_by_origin": used, "mean_score": float(hands.score[valid].mean())}
