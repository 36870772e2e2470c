"""Every hand as a few numbers: its canonical right-hand keypoints on the principal axes of all hands."""

import logging

import numpy as np

from handtool.accounting import Accounting
from handtool.config import EmbedConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.descriptor import Basis, RunningMoments, describe
from handtool.hands.skeleton import LEFT, UNKNOWN
from handtool.progress import Progress, silent
from handtool.store import CROPS, EMBEDDINGS, KEYPOINTS, File, Sink, open_table, read_attrs, read_blocks, read_column

log = logging.getLogger(__name__)
BLOCK_ROWS = 16_384


def embed(source: File, sink: Sink, config: EmbedConfig, progress: Progress = silent, *, basis: File | None = None) -> dict:
    """Writes /embeddings: (N, dim) coordinates on the principal axes (PCA) of the hands' descriptors, NaN where there are no keypoints.

    The axes are fitted on all valid hands, or taken from `basis`, a file with /embeddings. Two passes over the keypoints, one block in
    memory. Raises HandtoolError where no hand has keypoints, WrongCommand where --dim or --normalization contradict the basis.
    """
    source.need(KEYPOINTS, hint="handtool keypoints {path} -o keypoints.h5")
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    side, valid = read_column(source, CROPS.side), read_column(source, KEYPOINTS.valid)
    size = int(read_attrs(source, CROPS)["size"])
    if not valid.any():
        raise HandtoolError(
            f"none of the {len(valid)} hands of {source.path} has keypoints", hint=f"look at them: handtool show {source.path}"
        )
    if (side == UNKNOWN).any():
        log.info("%d hands of unknown side count as right hands", (side == UNKNOWN).sum())
    space, normalization, share = read_space(basis, config) if basis else (None, config.normalization, None)
    if space is None:
        space, share = fit_space(source, side, valid, size, config, progress)
    embedded = np.zeros(len(valid), bool)
    attrs = {"kind": "pca", "normalization": normalization, "mean": space.mean, "basis": space.basis.T}
    attrs |= {"explained_variance": space.explained_variance}
    with open_table(sink, EMBEDDINGS, attrs) as table:
        for start, xy in read_blocks(source, KEYPOINTS.xy, BLOCK_ROWS):
            block = slice(start, start + len(xy))
            vector = space.project(describe_valid(xy, side[block], valid[block], normalization, size))
            embedded[block] = np.isfinite(vector).all(axis=1)
            table.append({"vector": vector, "valid": embedded[block]})
            progress("embed", block.stop, len(valid))
    sink.inherit(source)
    return make_report(side, valid, embedded, space, normalization, share)


def describe_valid(xy: np.ndarray, side: np.ndarray, valid: np.ndarray, normalization: str, size: int) -> np.ndarray:
    """(n, 42), NaN where the keypoints are not valid."""
    return describe(np.where(valid[:, None, None], xy, np.nan), side, normalization, size)


def fit_space(source: File, side: np.ndarray, valid: np.ndarray, size: int, config: EmbedConfig, progress: Progress) -> tuple[Basis, float]:
    """The principal axes of all valid hands, and the share of the variance that they keep."""
    moments = RunningMoments()
    for start, xy in read_blocks(source, KEYPOINTS.xy, BLOCK_ROWS):
        block = slice(start, start + len(xy))
        described = describe_valid(xy, side[block], valid[block], config.normalization, size)
        moments.add(described[np.isfinite(described).all(axis=1)])
        progress("fit axes", block.stop, len(valid))
    if moments.count == 0:
        raise HandtoolError(f"no hand of {source.path} has 21 finite keypoints", hint=f"look at them: handtool show {source.path}")
    if config.dim > len(moments.mean):
        raise WrongCommand(f"--dim {config.dim} was asked, a hand's descriptor has {len(moments.mean)} numbers")
    if moments.count <= config.dim:
        log.warning("%d hands do not span %d axes; the last ones hold no variance", moments.count, config.dim)
    space = moments.principal_axes(config.dim)
    total = moments.total_variance
    return space, float(space.explained_variance.sum() / total) if total > 0 else float("nan")


def read_space(basis: File, config: EmbedConfig) -> tuple[Basis, str, None]:
    """The axes that another file was embedded on. `--dim` and `--normalization` follow it."""
    if not isinstance(basis, File):
        raise HandtoolError(f"--basis {basis} is not a handtool file", hint="handtool embed keypoints.h5 -o embeddings.h5")
    basis.need(EMBEDDINGS, hint="handtool embed {path} -o embeddings.h5")
    attrs = read_attrs(basis, EMBEDDINGS)
    if attrs.get("kind") != "pca":
        raise HandtoolError(f"the embeddings of {basis.path} are {attrs.get('kind')!r}, not coordinates on principal axes")
    found = {"dim": attrs["basis"].shape[1], "normalization": attrs["normalization"]}
    for name, value in found.items():
        if getattr(config, name) not in (value, getattr(EmbedConfig, name)):
            raise WrongCommand(f"--{name} {getattr(config, name)} contradicts {basis.path}, which has {value}", hint=f"leave --{name} out")
    return Basis(attrs["mean"], attrs["basis"].T, attrs["explained_variance"]), found["normalization"], None


def make_report(side: np.ndarray, valid: np.ndarray, embedded: np.ndarray, space: Basis, normalization: str, share: float | None) -> dict:
    accounting = Accounting("hands", done=int(embedded.sum()))
    accounting.skip("no keypoints", int((~valid).sum()))
    accounting.fail("keypoints not finite, or all in one place", int((valid & ~embedded).sum()))
    report = {
        "accounting": [accounting.as_report()],
        "dim": len(space.basis),
        "normalization": normalization,
        "left_hands_mirrored": int((embedded & (side == LEFT)).sum()),
        "unknown_side_counted_as_right": int((embedded & (side == UNKNOWN)).sum()),
    }
    return report if share is None else report | {"share_of_variance": share}
