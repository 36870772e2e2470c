"""embed: a vector for every hand: its descriptor projected on the principal axes of all hands."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from handtool.accounting import Accounting
from handtool.config import EmbedConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.crop_maps import CropMaps
from handtool.hands.descriptor import Basis, RunningMoments, describe, describe_joints
from handtool.hands.skeleton import LEFT, UNKNOWN
from handtool.progress import Progress, silent
from handtool.store import File, Sink, open_table, read_attrs, read_blocks, read_column, read_geometry, scratch_array
from handtool.store.mediapipe_api import api_attrs, differ, name_api
from handtool.store.schema import CROPS, EMBEDDINGS, KEYPOINTS, LABELS

log = logging.getLogger(__name__)
T = TypeVar("T")
BLOCK_ROWS = 8_192
BLOCKS_AHEAD = 2
DIMS = {"keypoints": 14, "joints": 63, "encoder": 128}
NORMALIZATIONS = {
    "keypoints": ("crop", "wrist-scale", "similarity"),
    "joints": ("wrist-scale", "similarity"),
    "encoder": ("unit",),
}


@dataclass(frozen=True)
class Descriptors:
    """The descriptors of the hands, before the projection. `read()` yields (first row, values of b hands as stored);
    `describe` turns these into (b, width) float32, rows of NaN for hands without a descriptor."""

    read: Callable[[], Iterator[tuple[int, np.ndarray]]]
    describe: Callable[[int, np.ndarray], np.ndarray]
    width: int
    side: np.ndarray  # (N,)
    valid: np.ndarray  # (N,) bool: the hand has what is to be described
    missing: str  # what hands that are not valid lack
    normalization: str
    attrs: dict


def embed(
    source: File,
    sink: Sink,
    config: EmbedConfig,
    progress: Progress = silent,
    *,
    basis: File | None = None,
    encoder: File | None = None,
) -> dict:
    """Writes /embeddings: (N, dim) coordinates on the principal axes (PCA) of the hands' descriptors, NaN without one.

    The axes are fitted on all valid hands, or taken from `basis`, a file with /embeddings; with as many axes as the
    descriptor has numbers it is stored unchanged. One block is in memory at a time. Raises HandtoolError if there is
    nothing to embed, WrongCommand if options contradict the basis or each other.
    """
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    space, config = read_space(basis, config, encoder)
    described = open_descriptors(source, sink, config, encoder, progress)
    if basis is not None:
        check_same_api(source, described, basis)
    if not described.valid.any():
        raise HandtoolError(
            f"none of the {len(described.valid)} hands of {source.path} has {described.missing}",
            hint=f"look at them: handtool show {source.path}",
        )
    if (described.side == UNKNOWN).any():
        log.info("%d hands of unknown side count as right hands", (described.side == UNKNOWN).sum())
    if space is None:
        space, share = fit_space(described, source, config, progress)
    else:
        share = None
        if len(space.mean) != described.width:
            assert basis is not None
            raise HandtoolError(
                f"{basis.path} describes a hand by {len(space.mean)} numbers, here there are {described.width}"
            )
    embedded, moments = np.zeros(len(described.valid), bool), RunningMoments()

    def project(start: int, numbers: np.ndarray) -> tuple[slice, np.ndarray]:
        vector, block = space.project(described.describe(start, numbers)), slice(start, start + len(numbers))
        finite = np.isfinite(vector)
        embedded[block] = finite.all() or finite.all(axis=1)  # testing each row takes ten times as long
        return block, vector

    with open_table(sink, EMBEDDINGS, described.attrs | {"normalization": described.normalization}) as table:
        for block, vector in run_in_thread(project, described.read()):
            if space.is_raw:
                moments.add(vector[embedded[block]])
            table.append({"vector": vector})
            progress("embed", block.stop, len(embedded))
        table.append({"valid": embedded})
        table.attrs |= describe_space(space, moments)
    sink.inherit(source)
    return make_report(described, embedded, space, config, share)


def open_descriptors(
    source: File, sink: Sink, config: EmbedConfig, encoder: File | None, progress: Progress
) -> Descriptors:
    """The descriptors of config.source. Raises WrongCommand for a normalization that they do not have."""
    known = NORMALIZATIONS[config.source]
    normalization = config.normalization or known[0]
    if normalization not in known:
        raise WrongCommand(f"--normalization {normalization} is none of {config.source}: there are {', '.join(known)}")
    side = read_column(source, CROPS.side)
    if config.source == "encoder":
        return encode(source, sink, config, encoder, side, progress)
    crops = CropMaps(**read_geometry(source)) if config.source == "joints" else None
    if config.source == "joints":
        source.need(LABELS, hint="labels come from a data set or from synth: handtool extract FOLDER -o crops.h5")
        valid, api = (read_column(source, LABELS.valid) != 0).all(axis=1), {}
        column, width, missing = LABELS.joints, 63, "all 21 joints labelled"
        describe_points = partial(describe_joints, normalization=normalization)
    else:
        source.need(KEYPOINTS, hint="handtool keypoints {path} -o keypoints.h5")
        valid, api = read_column(source, KEYPOINTS.valid), api_attrs(read_attrs(source, KEYPOINTS))
        column, width, missing = KEYPOINTS.xy, 42, "keypoints"
        size = int(read_attrs(source, CROPS)["size"])
        describe_points = partial(describe, normalization=normalization, crop_size=size)

    def described(start: int, points: np.ndarray) -> np.ndarray:
        here = slice(start, start + len(points))
        if not valid[here].all():
            points[~valid[here]] = np.nan
        if crops is not None:
            points = crops[here].joints_to_crop(points)
        return describe_points(points, side[here])

    read, attrs = partial(read_blocks, source, column, BLOCK_ROWS), {"source": config.source} | api
    return Descriptors(read, described, width, side, valid, missing, normalization, attrs)


def check_same_api(source: File, described: Descriptors, basis: File) -> None:
    """Raises HandtoolError if the keypoints and those of the basis were found by different APIs of MediaPipe."""
    theirs = read_attrs(basis, EMBEDDINGS)
    if differ(described.attrs, theirs):
        raise HandtoolError(
            f"MediaPipe's {name_api(described.attrs)} found the keypoints of {source.path}, its {name_api(theirs)} "
            f"those of {basis.path}: they differ by 2 % of a hand's extent",
            hint=f"find both by one API: handtool keypoints {source.path} --estimator mediapipe (or FILE.task)",
        )


def encode(
    source: File, sink: Sink, config: EmbedConfig, encoder: File | None, side: np.ndarray, progress: Progress
) -> Descriptors:
    """Features of unit length, computed once and kept on the disk while axes are fitted (as large as the crops)."""
    from handtool.nn.files.features import encode_crops, num_features

    if not isinstance(encoder, File):
        raise HandtoolError(
            f"--encoder {encoder} is not a handtool file", hint="handtool pretrain pairs.h5 -o encoder.h5"
        )
    encoder.need("weights", hint="handtool pretrain pairs.h5 -o encoder.h5")
    kept = scratch_array(sink.folder, (len(side), num_features(encoder)), np.float32)
    for start, features in encode_crops(source, encoder, config, progress):
        length = np.linalg.norm(features, axis=1, keepdims=True)
        unit = np.divide(features, length, out=np.full_like(features, np.nan), where=length > 0)
        kept[start : start + len(features)] = unit

    def read() -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(kept), BLOCK_ROWS):
            yield start, kept[start : start + BLOCK_ROWS]

    attrs, valid = {"source": "encoder", "encoder_uuid": encoder.uuid}, np.ones(len(side), bool)
    return Descriptors(read, lambda start, rows: rows, kept.shape[1], side, valid, "features", "unit", attrs)


def fit_space(
    described: Descriptors, source: File, config: EmbedConfig, progress: Progress
) -> tuple[Basis, float | None]:
    """The principal axes of all valid hands, and the share of variance kept. Nothing is fitted if all are kept."""
    dim = config.dim or min(DIMS[config.source], described.width)
    if dim > described.width:
        raise WrongCommand(f"--dim {dim} was asked, a hand's descriptor has {described.width} numbers")
    if dim == described.width:
        return Basis.of_raw(dim), None
    moments = RunningMoments()

    def add(start: int, numbers: np.ndarray) -> int:
        rows = described.describe(start, numbers)
        there = np.isfinite(rows[:, 0])
        moments.add(rows if there.all() else rows[there])
        return start + len(rows)

    for done in run_in_thread(add, described.read()):
        progress("fit axes", done, len(described.valid))
    if moments.count == 0:
        raise HandtoolError(f"no hand of {source.path} is finite", hint=f"look at them: handtool show {source.path}")
    if moments.count <= dim:
        log.warning("%d hands do not span %d axes; the last ones hold no variance", moments.count, dim)
    space, total = moments.principal_axes(dim), moments.total_variance
    return space, float(space.explained_variance.sum() / total) if total > 0 else float("nan")


def run_in_thread(work: Callable[..., T], items: Iterable[tuple]) -> Iterator[T]:
    """work(*item) for each item, in order, in another thread: it computes while this one reads and writes."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(1) as thread:
        for item in items:
            waiting.append(thread.submit(work, *item))
            if len(waiting) > BLOCKS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def describe_space(space: Basis, moments: RunningMoments) -> dict:
    """The attributes needed to embed another file in the same space. The variance of raw numbers is measured."""
    raw = space.is_raw and moments.count
    variance = np.diag(moments.scatter) / max(moments.count - 1, 1) if raw else space.explained_variance
    attrs = {"mean": space.mean, "basis": space.basis.T, "explained_variance": variance}
    return {"kind": "raw" if space.is_raw else "pca"} | attrs


def read_space(basis: File | None, config: EmbedConfig, encoder: File | None) -> tuple[Basis | None, EmbedConfig]:
    """The axes of another file's embeddings, and the config with that file's settings. Raises WrongCommand if options
    contradict it."""
    if encoder is not None:
        if config.source == "joints":
            told = "--encoder and --from joints are two ways to describe a hand"
            raise WrongCommand(told, hint="leave one of them out")
        config = replace(config, source="encoder")
    if basis is None:
        return None, config
    if not isinstance(basis, File):
        raise HandtoolError(
            f"--basis {basis} is not a handtool file", hint="handtool embed keypoints.h5 -o embeddings.h5"
        )
    basis.need(EMBEDDINGS, hint="handtool embed {path} -o embeddings.h5")
    attrs = read_attrs(basis, EMBEDDINGS)
    found = {"dim": attrs["basis"].shape[1], "normalization": attrs["normalization"]}
    found["source"] = attrs.get("source", "keypoints")
    for name, value in found.items():
        asked = getattr(config, name)
        if asked not in (value, getattr(EmbedConfig, name)):
            option = "from" if name == "source" else name
            raise WrongCommand(
                f"--{option} {asked} contradicts {basis.path}, which has {value}", hint=f"leave --{option} out"
            )
    if found["source"] == "encoder" and getattr(encoder, "uuid", None) != attrs.get("encoder_uuid", ""):
        raise WrongCommand(
            f"{basis.path} holds features of the encoder {attrs.get('encoder_uuid')}", hint="name it: --encoder FILE"
        )
    variance = np.full(found["dim"], np.nan) if attrs["kind"] == "raw" else attrs["explained_variance"]
    return Basis(attrs["mean"], attrs["basis"].T, variance), replace(config, **found)


def make_report(
    described: Descriptors, embedded: np.ndarray, space: Basis, config: EmbedConfig, share: float | None
) -> dict:
    accounting = Accounting("hands", done=int(embedded.sum()))
    lack = "no" if described.missing == "keypoints" else "not"
    accounting.skip(f"{lack} {described.missing}", int((~described.valid).sum()))
    accounting.fail(f"{config.source} not finite, or all in one place", int((described.valid & ~embedded).sum()))
    report = {"accounting": [accounting.as_report()], "source": config.source, "dim": len(space.basis)}
    report |= {"normalization": described.normalization}
    for name, side in (("left_hands_mirrored", LEFT), ("unknown_side_counted_as_right", UNKNOWN)):
        report[name] = int((embedded & (described.side == side)).sum())
    return report if share is None else report | {"share_of_variance": share}
