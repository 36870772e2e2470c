"""keypoints: 21 2D keypoints for every crop: from the source's labels, from the detector, or from an estimator."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handtool import store
from handtool.accounting import Accounting
from handtool.config import KeypointsConfig
from handtool.engine.local import LOST
from handtool.engine.units import run_units
from handtool.errors import HandtoolError
from handtool.hands.boxes import apply_affine_to_box, same_scale
from handtool.hands.crop_maps import CropMaps
from handtool.progress import Progress, silent
from handtool.store import (
    CROPS,
    KEYPOINTS,
    LABELS,
    File,
    Job,
    Jpegs,
    Sink,
    api_attrs,
    differ,
    is_mixed,
    join_apis,
    name_api,
    open_jpegs,
    read_attrs,
    read_column,
    read_geometry,
    write_table,
)
from handtool.vision.contracts import Estimator, HandCrop
from handtool.vision.cropping import decode_jpeg
from handtool.vision.estimators import ESTIMATORS, check_estimator, describe_estimator
from handtool.vision.guarded import ESTIMATOR_FAILED, Failed, Guarded

log = logging.getLogger(__name__)
NOISE_ROWS = 8192
BLOCK_ROWS = 128  # rows per part of the job
PLAIN_PX = 224  # side of the black crop on which an estimator that has failed at first is tried
ESTIMATED, DETECTED, KNOWN = 0, 1, 2
# why an estimator returns None; for others: keypoints not finite
NOT_FOUND = {"mediapipe": "no hand seen on the crop"}


@dataclass
class FoundKeypoints:
    """The table being filled, and the reason why a row is not valid ("": it is valid)."""

    xy: np.ndarray
    score: np.ndarray
    joints: np.ndarray
    reason: np.ndarray

    @classmethod
    def none(cls, count: int) -> "FoundKeypoints":
        return cls(
            np.full((count, 21, 2), np.nan, np.float32),
            np.zeros((count, 21), np.float32),
            np.full((count, 21, 3), np.nan, np.float32),
            np.full(count, "", dtype=object),
        )

    def put(self, rows: np.ndarray | int, xy: np.ndarray, score: np.ndarray, joints: np.ndarray | None = None) -> None:
        self.xy[rows], self.score[rows] = xy, score
        if joints is not None:
            self.joints[rows] = joints


def keypoints(
    source: File,
    sink: Sink,
    config: KeypointsConfig,
    progress: Progress = silent,
    *,
    job: Job,
    model: File | Path | None = None,
) -> dict:
    """Writes /keypoints, one row per hand; a hand without keypoints has valid = False and is counted with the reason.
    Where a detector or an estimator knows the points in 3D too, they are kept as joints.

    model: the file of the estimator: a pose.h5, an ONNX model, or a MediaPipe task. Raises HandtoolError if the file
    has no crops, or no labels though they are asked for, if the estimator cannot be opened, or if no hand gets
    keypoints.
    """
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    origin = choose_origin(source, config)
    settings = EstimatorSettings(
        "mediapipe" if config.estimator in ("auto", "labels") else config.estimator, path_of(model), config
    )
    if (origin == ESTIMATED).any():
        check_settings(settings, model)
        warn_about_box_scale(source, model)
    copied = {"detector"} if (origin == DETECTED).any() else set()
    api = describe_api(source, settings, copied, (origin == ESTIMATED).any())
    job.keep_to(api)
    hands = FoundKeypoints.none(len(origin))
    copy_labels(source, hands, np.flatnonzero(origin == KNOWN))
    copy_landmarks(source, hands, np.flatnonzero(origin == DETECTED))
    estimate(source, hands, np.flatnonzero(origin == ESTIMATED), job, settings, progress)
    hands.reason[(hands.reason == "") & (hands.score.mean(1) < config.min_score)] = "score below --min-score"
    valid = hands.reason == ""
    if not valid.any():
        raise no_keypoints(source, hands)
    add_noise(hands.xy, config.noise_px, config.seed)
    names = {KNOWN: "labels", DETECTED: name_landmarks(source), ESTIMATED: settings.name}
    used = {name: int((origin == code).sum()) for code, name in names.items() if (origin == code).any()}
    attrs: dict = {"skeleton": "hand21", "model": " + ".join(used)} | api
    attrs |= {"noise_px": config.noise_px} if config.noise_px else {}
    columns = {"xy": hands.xy, "score": hands.score, "valid": valid}
    known_in_3d = np.isfinite(hands.joints).all((1, 2))
    if known_in_3d.any():
        columns["joints"] = hands.joints
        attrs["joints_source"] = " + ".join(names[code] for code in names if known_in_3d[origin == code].any())
    write_table(sink, KEYPOINTS, columns, attrs=attrs)
    sink.inherit(source)
    return make_report(hands, valid, used, config) | ({"mediapipe": name_api(api)} if api else {})


def find_joints(
    source: File, config: KeypointsConfig, progress: Progress = silent, *, job: Job, model: Path | None = None
) -> dict[str, Any]:
    """What config.estimator knows of every hand in 3D, without labels.

    It is taken from the file where the file has it (joints of /keypoints that this estimator gave, else a detector's),
    and looked for on the crops where it has not. Returns xy (N, 21, 2) px of the crop and joints (N, 21, 3) m relative
    to the wrist, NaN: unknown; reason (N,), why a hand has none ("": it has); origin (N,) of each; api, which of
    MediaPipe's APIs it was. Raises as `keypoints`.
    """
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    settings = EstimatorSettings(config.estimator, path_of(model), config)
    hands, origin = FoundKeypoints.none(source.count(CROPS)), np.full(source.count(CROPS), config.estimator, object)
    if source.has(CROPS.landmarks_joints) and name_landmarks(source) == "detector":
        rows = np.flatnonzero(np.isfinite(read_column(source, CROPS.landmarks_joints)).all((1, 2)))
        copy_landmarks(source, hands, rows)
        origin[rows] = "detector"
    rows = copy_keypoints(source, hands, config.estimator)
    origin[rows] = "keypoints"
    missing = np.flatnonzero((hands.reason == "") & ~np.isfinite(hands.joints).all((1, 2)))
    if len(missing):
        check_settings(settings, model)
    api = describe_api(source, settings, {"detector", "keypoints"} & set(origin), len(missing) > 0)
    job.keep_to(api)
    estimate(source, hands, missing, job, settings, progress)
    hands.reason[(hands.reason == "") & ~np.isfinite(hands.joints).all((1, 2))] = "no 3D from the estimator"
    hands.reason[(hands.reason == "") & (hands.score.mean(1) < config.min_score)] = "score below --min-score"
    found = {"xy": hands.xy, "joints": hands.joints, "reason": hands.reason.astype(str), "origin": origin.astype(str)}
    return found | {"api": api}


def name_landmarks(source: File) -> str:
    """What found the landmarks of /crops: the detector, or the teacher whose file extract was given."""
    return str(read_attrs(source, CROPS).get("landmarks_source", "detector"))


def copy_keypoints(source: File, hands: FoundKeypoints, estimator: str) -> np.ndarray:
    """Takes over the rows of /keypoints whose joints `estimator` gave, perhaps as the detector; returns them."""
    if not source.has(KEYPOINTS.joints):
        return np.zeros(0, int)
    givers = set(str(read_attrs(source, KEYPOINTS).get("joints_source", "")).split(" + "))
    joints, valid = read_column(source, KEYPOINTS.joints), read_column(source, KEYPOINTS.valid)
    rows = np.flatnonzero(np.isfinite(joints).all((1, 2)) & (givers <= {"detector", estimator}))
    xy, score = (read_column(source, column, rows) for column in (KEYPOINTS.xy, KEYPOINTS.score))
    hands.put(rows, xy, score, joints[rows])
    hands.reason[rows[~valid[rows]]] = "keypoints not valid"
    if str(read_attrs(source, KEYPOINTS).get("model")) == estimator:  # it has looked at every hand
        unseen = ~valid & ~np.isfinite(hands.joints).all((1, 2))
        hands.reason[unseen] = NOT_FOUND.get(estimator, "no 3D from the estimator")
    return rows


def warn_about_box_scale(source: File, model: File | Path | None) -> None:
    """Warns if the crops have another box scale than our own model was trained on."""
    if not isinstance(model, File):
        return
    here, there = read_attrs(source, CROPS)["box_scale"], read_attrs(model, "weights").get("box_scale", np.nan)
    if np.isfinite(there) and not same_scale(here, there):
        log.warning("crops are cut at box scale %g, the model was trained at %g: expect larger errors", here, there)


@dataclass(frozen=True)
class EstimatorSettings:
    """What a worker process needs to open the estimator: its name, the file of its model, the settings."""

    name: str
    model: str | None
    config: KeypointsConfig


def path_of(model: File | Path | None) -> str | None:
    return None if model is None else str(model.path if isinstance(model, File) else model)


def describe_api(source: File, settings: EstimatorSettings, origins: set[str], looks: bool) -> dict[str, str]:
    """Which of MediaPipe's APIs finds the points; {}: it finds none. Raises HandtoolError for two different ones.

    origins: "detector", "keypoints": whose points are taken over. looks: whether some are looked for.
    """
    tables = {"detector": CROPS, "keypoints": KEYPOINTS}
    copied = join_apis([api_attrs(read_attrs(source, tables[name])) for name in origins])
    found = describe_estimator(settings.name, settings.model) if looks else {}
    if differ(copied, found) or is_mixed(copied):
        others = f"; the others would be found by the {name_api(found)}" if found else ""
        raise HandtoolError(
            f"the landmarks in {source.path} were found by MediaPipe's {name_api(copied)}{others}: these differ by "
            "2 % of a hand's extent",
            hint=f"one for all: handtool keypoints {source.path} --estimator mediapipe",
        )
    return join_apis([copied, found])


def check_settings(settings: EstimatorSettings, model: File | Path | None) -> None:
    """Checks once what the workers will open, so that a mistake is reported before the work begins."""
    if settings.name == "model":
        if not isinstance(model, File):
            raise HandtoolError(
                f"{model} is not a pose model of handtool", hint="handtool finetune train.h5 -o pose.h5"
            )
        model.need("weights", hint="handtool finetune train.h5 -o pose.h5")
    given = model if settings.name == "model" else settings.model
    check_estimator(settings.name, settings.config, given)


def choose_origin(source: File, config: KeypointsConfig) -> np.ndarray:
    """(N,): the origin of each hand's keypoints. `auto`: labels if there are any, else the detector's landmarks,
    else the estimator. An estimator that is named is used for every hand."""
    origin = np.full(source.count(CROPS), ESTIMATED)
    if config.estimator == "labels":
        source.need(LABELS, hint="handtool keypoints {path} --estimator mediapipe")
        origin[:] = KNOWN
    if config.estimator == "auto":
        origin[np.isfinite(read_column(source, CROPS.landmarks)).all((1, 2))] = DETECTED
        if source.has(LABELS):
            origin[(read_column(source, LABELS.sample_id) >= 0) & of_known_videos(source)] = KNOWN
    return origin


def of_known_videos(source: File) -> np.ndarray:
    """(N,): whether any hand of the same video has 2D truth. Some data sets publish only boxes and sides, from which
    nothing can be copied."""
    video, known = read_column(source, CROPS.video), read_column(source, LABELS.keypoints_valid).any(axis=1)
    return np.bincount(video, weights=known)[video] > 0 if len(video) else np.zeros(0, bool)


def copy_labels(source: File, hands: FoundKeypoints, rows: np.ndarray) -> None:
    """Copies the 2D truth, with score 1 for known points. A hand is valid if all 21 are known."""
    if not len(rows):
        return
    known = read_column(source, LABELS.keypoints_valid, rows)
    xy = np.where(known[..., None], read_column(source, LABELS.keypoints, rows), np.nan)
    hands.put(rows, xy, known)
    hands.reason[rows[~known.all(1)]] = "only some of the 21 points known"
    hands.reason[rows[~known.any(1)]] = "no 2D truth"


def copy_landmarks(source: File, hands: FoundKeypoints, rows: np.ndarray) -> None:
    if len(rows):
        score = read_column(source, CROPS.landmarks_score, rows)
        joints = read_column(source, CROPS.landmarks_joints, rows) if source.has(CROPS.landmarks_joints) else None
        hands.put(rows, read_column(source, CROPS.landmarks, rows), score[:, None], joints)


def estimate(
    source: File, hands: FoundKeypoints, rows: np.ndarray, job: Job, settings: EstimatorSettings, progress: Progress
) -> None:
    """Runs the estimator for `rows` in worker processes; a block of rows is one part of the job. Of a block that has
    crashed or stopped its worker twice each row is tried by itself; one that does it again is marked as lost."""
    blocks = [rows[start : start + BLOCK_ROWS] for start in range(0, len(rows), BLOCK_ROWS)]
    items = [(number, block) for number, block in enumerate(blocks) if not job.has(part_name(number))]
    if len(items) < len(blocks):
        log.info("%d of %d blocks are done already", len(blocks) - len(items), len(blocks))
    divided: set[int] = set()
    looked = len(rows) - sum(len(block) for _, block in items)
    config, jpegs = settings.config, open_jpegs(source)
    crops = CropMaps(**read_geometry(source))

    def needs(block: Block) -> list[str]:
        files = {jpegs.files[jpegs.file_of(row)][0] for row in block.rows}
        return [*sorted(files), *([settings.model] if settings.model else [])]

    work = config.engine, open_worker, (settings, jpegs)
    how: dict[str, Any] = {"gpus": config.gpus_per_worker, "reads": needs}
    while items:
        again: list[tuple[int, np.ndarray]] = []
        asked = [read_block(source, some) for _, some in items]
        for event in run_units(*work, asked, count_workers(settings), config.timeout_s, **how):
            number, some = items[event.item]
            if event.kind == "result" and number in divided:
                put_part(hands, crops, some, event.value, settings)
            elif event.kind == "result":
                job.save(part_name(number), event.value)
            elif event.kind == "again":
                log.warning("rows %d to %d: %s; tried once more at the end", some[0], some[-1], event.value)
            elif event.kind == "lost":
                divided.add(number)
                if len(some) > 1:
                    again += [(number, row) for row in np.split(some, len(some))]
                else:
                    hands.reason[some] = str(event.value)
                log.warning("rows %d to %d: %s", some[0], some[-1], event.value)
            elif event.kind == "heartbeat":
                looked += event.value
                progress("hands", looked, len(rows))
        items = again
    for number in sorted(set(range(len(blocks))) - divided):
        put_part(hands, crops, blocks[number], job.load(part_name(number)), settings)


def put_part(hands: FoundKeypoints, crops: CropMaps, rows: np.ndarray, part: dict, settings: EstimatorSettings) -> None:
    """What a worker found of these rows, in the axes of the crops' cameras. A part of version 0.2.0 has no joints, one
    of 0.3.0 no `failed`."""
    joints = part.get("joints")
    hands.put(rows, part["xy"], part["score"], None if joints is None else crops[rows].joints_to_frame(joints))
    hands.reason[rows[~part["found"]]] = NOT_FOUND.get(settings.name, "keypoints not finite")
    for place, reason in part.get("failed", ()):
        hands.reason[rows[place]] = reason


def count_workers(settings: EstimatorSettings) -> int:
    """--workers if given; else, for our own model on a GPU of this machine, which takes batches, 1; else 0: one per
    core."""
    if settings.name == "model" and not settings.config.workers and settings.config.engine == "local":
        from handtool.nn.files.inference import find_device

        return int(find_device(settings.config.device).type == "cuda")
    return settings.config.workers


def part_name(number: int) -> str:
    return f"hands-{number:07d}"


def context_of(source: File, rows: np.ndarray) -> np.ndarray:
    """(n,): side of each crop / larger side of the hand's box in it."""
    box = apply_affine_to_box(read_column(source, CROPS.crop_from_frame, rows), read_column(source, CROPS.box, rows))
    return read_attrs(source, CROPS)["size"] / np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])


@dataclass(frozen=True, eq=False)
class Block:
    """Rows for one worker, and what it needs to know about each hand."""

    rows: np.ndarray
    context: np.ndarray  # (n,)
    side: np.ndarray  # (n,)
    camera: np.ndarray  # (n, 3, 3)


def read_block(source: File, rows: np.ndarray) -> Block:
    return Block(
        rows, context_of(source, rows), read_column(source, CROPS.side, rows), read_column(source, CROPS.camera, rows)
    )


def open_worker(settings: EstimatorSettings, jpegs: Jpegs) -> Callable[[Block, Callable[[], None]], Iterator[dict]]:
    """In a worker process: the function that turns a block of rows into their keypoints."""
    plain = HandCrop(np.zeros((PLAIN_PX, PLAIN_PX, 3), np.uint8))
    estimator = Guarded(
        "the estimator", lambda: open_for(settings), lambda one, crops: one.find_keypoints(crops), plain
    )

    def estimate_block(block: Block, heartbeat: Callable[[], None]) -> Iterator[dict]:
        count = len(block.rows)
        hands, found, failed = FoundKeypoints.none(count), np.zeros(count, bool), []
        for start in range(0, count, estimator.batch):
            places = range(start, min(start + estimator.batch, count))
            crops = [
                HandCrop(decode_jpeg(jpegs[block.rows[n]]), block.context[n], int(block.side[n]), block.camera[n])
                for n in places
            ]
            for place, answer in zip(places, estimator.answer(crops), strict=True):
                if isinstance(answer, Failed):
                    failed.append((place, answer.reason))
                elif answer is not None:
                    hands.put(place, *answer)
                    found[place] = True
                heartbeat()
        yield {"xy": hands.xy, "score": hands.score, "joints": hands.joints, "found": found, "failed": failed}

    return estimate_block


def open_for(settings: EstimatorSettings) -> Estimator:
    if settings.name != "model":
        return ESTIMATORS[settings.name](settings.config, settings.model)
    assert settings.model is not None
    with store.open_file(Path(settings.model), trusted=True) as pose:
        return ESTIMATORS[settings.name](settings.config, pose)


def add_noise(xy: np.ndarray, sigma_px: float, seed: int) -> None:
    """Moves each point by N(0, sigma) on both axes, in place. The noise is drawn for all rows in order, so that it
    depends on seed and row only."""
    rng = np.random.default_rng(seed)
    for start in range(0, len(xy) if sigma_px else 0, NOISE_ROWS):
        block = xy[start : start + NOISE_ROWS]
        block += rng.normal(0, sigma_px, block.shape).astype(np.float32)


def no_keypoints(source: File, hands: FoundKeypoints) -> HandtoolError:
    reasons = ", ".join(sorted(set(hands.reason)))
    message = f"none of the {len(hands.reason)} hands of {source.path} gets keypoints ({reasons})"
    return HandtoolError(message, hint=f"look at them: handtool show {source.path}")


def make_report(hands: FoundKeypoints, valid: np.ndarray, used: dict[str, int], config: KeypointsConfig) -> dict:
    counts = Accounting("hands", done=int(valid.sum()))
    reasons, numbers = np.unique(hands.reason[~valid].astype(str), return_counts=True)
    for reason, number in zip(reasons, numbers, strict=True):
        (counts.fail if reason.startswith((*LOST, ESTIMATOR_FAILED)) else counts.skip)(str(reason), int(number))
    report = {
        "accounting": [counts.as_report()],
        "hands_by_origin": used,
        "hands_in_3d": int(np.isfinite(hands.joints).all((1, 2)).sum()),
        "mean_score": float(hands.score[valid].mean()),
    }
    return report | ({"noise_px": config.noise_px} if config.noise_px else {})
