"""Small handtool files for tests, made through the store's own writer."""

from pathlib import Path

import cv2
import numpy as np

from handtool import store
from handtool.config import EvalConfig
from handtool.stages.eval import evaluate
from handtool.store import CROPS, EMBEDDINGS, KEYPOINTS, LABELS, PREDICTIONS, VIDEOS, Record, Sink

SIZE = 64


def record(program: str = "handtool test", **config) -> Record:
    return Record(program, config, [], program)


def draw_hand(xy: np.ndarray, size: int, rng: np.random.Generator) -> bytes:
    """A JPEG with 21 blobs at the keypoints on a noisy ground, so that pixels and keypoints have to do with each
    other."""
    image = np.full((size, size, 3), rng.integers(40, 120, 3), np.uint8)
    for x, y in xy:
        cv2.circle(image, (int(round(float(x))), int(round(float(y)))), max(1, size // 24), (200, 170, 150), -1)
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def make_hands(count: int, rng: np.random.Generator, size: int = SIZE) -> dict[str, np.ndarray]:
    """count labelled hands: joints (n,21,3) m half a metre away, a camera of the crop, their projection in px."""
    joints = rng.normal(0, 0.03, (count, 21, 3)) + np.array([0.0, 0.0, 0.5])
    camera = np.tile(
        np.array([[2.0 * size, 0, (size - 1) / 2], [0, 2.0 * size, (size - 1) / 2], [0, 0, 1]]), (count, 1, 1)
    )
    points = np.einsum("nij,nkj->nki", camera, joints)
    return {"joints": joints, "camera": camera, "xy": points[..., :2] / points[..., 2:]}


def write_videos(sink: Sink, count: int, subjects: list[str] | None = None) -> None:
    names = [f"video {i}" for i in range(count)]
    store.write_table(
        sink,
        VIDEOS,
        dict(
            name=names,
            path=names,
            subject=subjects or ["ann"] * count,
            place=[""] * count,
            status=["ok"] * count,
            ordinal=np.arange(count),
            fps=np.ones(count),
            width=np.full(count, SIZE),
            height=np.full(count, SIZE),
            frames_decoded=np.ones(count),
            frames_failed=np.zeros(count),
        ),
    )


def write_crops(
    sink: Sink,
    video: np.ndarray,
    side: np.ndarray,
    hands: dict,
    rng: np.random.Generator,
    size: int = SIZE,
    track: np.ndarray | None = None,
    **more: np.ndarray,
) -> None:
    """more: further columns, or others than these."""
    n = len(video)
    frame = np.concatenate([np.arange(k) for k in np.unique(video, return_counts=True)[1]]) if n else np.zeros(0)
    store.write_table(
        sink,
        CROPS,
        dict(
            video=video,
            frame=frame,
            time=frame / 5.0,
            side=side,
            box=np.tile([0.0, 0, size, size], (n, 1)),
            score=np.ones(n),
            track=-np.ones(n) if track is None else track,
            landmarks=np.full((n, 21, 2), np.nan),
            landmarks_score=np.full(n, np.nan),
            crop_from_frame=np.tile(np.eye(2, 3), (n, 1, 1)),
            camera=hands["camera"],
            source_row=-np.ones(n),
            jpeg=[draw_hand(xy, size, rng) for xy in hands["xy"]],
        )
        | more,
        attrs={"size": size, "box_scale": 1.3},
    )


def make_file(
    path: Path,
    hands_per_video: tuple[int, ...] = (5, 4),
    tables: tuple[str, ...] = ("keypoints",),
    seed: int = 0,
    **config,
) -> Path:
    """A file with videos and crops, and of "keypoints", "labels", "embeddings" those that are asked for. With "joints"
    the keypoints have these too, and scores that differ."""
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(len(hands_per_video)), hands_per_video)
    n = len(video)
    hands, side = make_hands(n, rng), rng.integers(0, 2, n)
    with store.create_file(path, record(seed=seed, **config)) as sink:
        write_videos(sink, len(hands_per_video))
        write_crops(sink, video, side, hands, rng)
        if "keypoints" in tables:
            columns = dict(xy=hands["xy"], score=np.ones((n, 21)), valid=np.ones(n, bool))
            if "joints" in tables:
                columns |= dict(joints=hands["joints"] - hands["joints"][:, :1], score=rng.uniform(0.5, 1, (n, 21)))
            store.write_table(sink, KEYPOINTS, columns, {"skeleton": "hand21", "model": "drawn"})
        if "labels" in tables:
            write_labels(sink, hands)
        if "embeddings" in tables:
            vector = rng.normal(size=(n, 14))
            store.write_table(
                sink, EMBEDDINGS, dict(vector=vector, valid=np.ones(n, bool)), {"kind": "pca", "normalization": "crop"}
            )
        sink.finish({})
    return path


def write_labels(sink: Sink, hands: dict) -> None:
    n = len(hands["joints"])
    scale = np.linalg.norm(hands["joints"][:, 9] - hands["joints"][:, 10], axis=1)
    store.write_table(
        sink,
        LABELS,
        dict(
            joints=hands["joints"],
            valid=np.ones((n, 21), bool),
            keypoints=hands["xy"],
            keypoints_valid=np.ones((n, 21), bool),
            scale=scale,
            sample_id=np.arange(n),
            sample_key=[f"hand {i}" for i in range(n)],
        ),
    )


def make_result(path: Path, test: Path, mm: float) -> Path:
    """What eval writes of predictions for all hands of `test` that are `mm` away on average, wrist on wrist."""
    predictions = path.with_name(f"{path.stem}-predictions.h5")
    with store.open_file(test) as source, store.create_file(predictions, record("handtool eval"), [source]) as sink:
        joints, count = store.read_column(source, LABELS.joints), source.count(LABELS)
        joints[:, 1:, 0] += mm / 1000 * 21 / 20  # not the wrist, which stays where it is
        columns = dict(
            joints=joints,
            keypoints=np.zeros((count, 21, 2)),
            valid=np.ones(count, bool),
            absolute=np.ones(count, bool),
            scale=np.full(count, 0.03),
        )
        store.write_table(sink, PREDICTIONS, columns, {"scale_source": "truth"})
        sink.inherit(source)
        sink.finish({})
    with store.open_file(predictions) as source, store.create_file(path, record("handtool eval"), [source]) as sink:
        sink.finish(evaluate([source], sink, EvalConfig(resamples=50)))
    return path
