"""The protocols by which hand-pose errors are published: which hands count, how they are aligned and errors averaged.

Every figure names its protocol, because the same predictions can give 8, 17, 21 or 25 mm.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from handtool.hands import align
from handtool.hands.fscore import f_scores
from handtool.hands.pck import COARSE, FULL, PckRange
from handtool.hands.skeleton import NUM_JOINTS, NUM_VERTICES, UNKNOWN, WRIST

BLOCK = 2048  # hands aligned at once, so that a block stays in the cache
F_THRESHOLDS_M = (0.005, 0.015)
LEAST_JOINTS = 10  # AssemblyHands leaves out hands with fewer

Alignment = Literal["none", "wrist", "bone", "similarity", "rigid"]
Rows = Literal["all valid", "ten valid", "any valid", "wrist valid", "vertices"]
Average = Literal["joint first", "hand first", "slots"]

WHY_LEFT_OUT: dict[Rows, str] = {
    "all valid": "not all 21 joints valid",
    "ten valid": f"fewer than {LEAST_JOINTS} valid joints, or no wrist",
    "any valid": "no valid joint",
    "wrist valid": "wrist not valid",
    "vertices": "no vertices",
}


@dataclass(frozen=True)
class Protocol:
    """`words`: the alignment, for a reader; `absolute`: it needs predictions in the camera frame."""

    name: str
    words: str
    alignment: Alignment
    rows: Rows
    average: Average
    ranges: tuple[PckRange, ...] = ()
    absolute: bool = False

    @property
    def of_mesh(self) -> bool:
        return self.rows == "vertices"

    @property
    def whole_hands(self) -> bool:
        return self.rows in ("all valid", "vertices")


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("mpjpe", "none, camera frame", "none", "all valid", "joint first", (FULL,), absolute=True),
        Protocol("mpjpe_root", "wrist on wrist", "wrist", "all valid", "joint first", (FULL,)),
        Protocol("pa_mpjpe", "similarity, reflection allowed", "similarity", "all valid", "joint first", (FULL,)),
        Protocol(
            "st_mpjpe",
            "wrist on wrist, scaled by wrist - middle MCP",
            "bone",
            "all valid",
            "joint first",
            (FULL, COARSE),
        ),
        Protocol("mpjpe_slots", "wrist on wrist, mean over 42 joint slots", "wrist", "ten valid", "slots"),
        Protocol("mpjpe_valid", "none, camera frame, valid joints", "none", "any valid", "hand first", absolute=True),
        Protocol("mpjpe_root_valid", "wrist on wrist, valid joints", "wrist", "wrist valid", "hand first"),
        Protocol("pa_mpjpe_rigid", "similarity without reflection, valid joints", "rigid", "any valid", "hand first"),
        Protocol("mesh", "none, camera frame", "none", "vertices", "joint first", (FULL,), absolute=True),
        Protocol(
            "pa_mesh", "similarity of the mesh, reflection allowed", "similarity", "vertices", "joint first", (FULL,)
        ),
    )
}


@dataclass(frozen=True)
class ScoredHands:
    """The hands to score: arrays as `metrics.evaluate` takes them, checked by `make_hands`."""

    predicted: np.ndarray  # (n, 21, 3) m
    truth: np.ndarray  # (n, 21, 3) m
    valid: np.ndarray  # (n, 21) bool; the truth is finite there
    side: np.ndarray  # (n,)
    absolute: np.ndarray  # (n,) bool
    vertices: tuple[np.ndarray, np.ndarray] | None  # predicted, truth: (m, 778, 3) m


def make_hands(predicted, truth, valid=None, side=None, vertices=None, absolute=None) -> ScoredHands:
    """The arguments of `metrics.evaluate` with defaults. Raises ValueError that names an argument of wrong shape."""
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    count = len(truth)
    _check("truth", truth, (count, NUM_JOINTS, 3))
    _check("predicted", predicted, (count, NUM_JOINTS, 3))
    known = np.isfinite(truth).all(axis=2)
    if valid is None:
        known &= ~(truth == -1).all(axis=(1, 2))[:, None]  # DexYCB marks a missing hand so
    else:
        _check("valid", np.asarray(valid), (count, NUM_JOINTS))
        known &= np.asarray(valid, dtype=bool)
    side = np.full(count, UNKNOWN) if side is None else np.asarray(side)
    _check("side", side, (count,))
    absolute = np.ones(count, dtype=bool) if absolute is None else np.asarray(absolute, dtype=bool)
    _check("absolute", absolute, (count,))
    if vertices is not None:
        vertices = (np.asarray(vertices[0]), np.asarray(vertices[1]))
        for what, mesh in zip(("predicted vertices", "true vertices"), vertices, strict=True):
            _check(what, mesh, (len(vertices[1]), NUM_VERTICES, 3))
    return ScoredHands(predicted, truth, known, side, absolute, vertices)


def applicable(hands: ScoredHands) -> list[str]:
    """The protocols that can score these hands, in the order of PROTOCOLS."""
    return [
        name
        for name, protocol in PROTOCOLS.items()
        if (hands.vertices is not None or not protocol.of_mesh) and (hands.absolute.any() or not protocol.absolute)
    ]


@dataclass(frozen=True)
class Errors:
    """One protocol's errors. Row numbers refer to the given hands."""

    rows: np.ndarray  # (m,) the hands scored
    failed: np.ndarray  # rows with a usable truth, but a prediction that is not finite or overflows when squared
    left_out: dict[str, int]  # reason -> hands
    errors_m: np.ndarray  # (k, m) metres, a row per joint or vertex; NaN if a joint does not count


def measure(hands: ScoredHands, protocol: Protocol) -> Errors:
    """Chooses the protocol's hands, aligns them and measures the distances."""
    rows, failed, left_out = _choose(hands, protocol)
    return Errors(rows, failed, left_out, distances_m(hands, protocol, rows))


def distances_m(hands: ScoredHands, protocol: Protocol, rows: np.ndarray) -> np.ndarray:
    """The distances of the aligned hands in `rows`: (k, m) metres, NaN if a joint does not count."""
    errors_m = np.empty((_pair(hands, protocol)[1].shape[1], len(rows)))
    for start, aligned, true, counts in _aligned_blocks(hands, protocol, rows):
        gap = aligned - true
        distance = np.sqrt(np.einsum("nkc,nkc->nk", gap, gap))
        errors_m[:, start : start + len(true)] = (distance if counts is None else np.where(counts, distance, np.nan)).T
    return errors_m


def mesh_f_scores(hands: ScoredHands, protocol: Protocol, rows: np.ndarray) -> np.ndarray:
    """F-scores of the aligned meshes in `rows` at 5 and 15 mm: (m, 2)."""
    scores = [f_scores(aligned, true, F_THRESHOLDS_M) for _, aligned, true, _ in _aligned_blocks(hands, protocol, rows)]
    return np.concatenate([np.empty((0, len(F_THRESHOLDS_M))), *scores])


def _aligned_blocks(hands: ScoredHands, protocol: Protocol, rows: np.ndarray) -> Iterator[tuple]:
    """Yields (start, aligned prediction, truth, counted joints or None) for blocks of hands, in float64."""
    predicted, truth = _pair(hands, protocol)
    step = BLOCK // 32 if protocol.of_mesh else BLOCK
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        true, counts = truth[block].astype(np.float64), None if protocol.whole_hands else hands.valid[block]
        yield start, *align_by(protocol.alignment, predicted[block].astype(np.float64), true, counts), counts


def align_by(
    alignment: Alignment, predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """predicted, truth: (n, k, 3) m, float64; valid: (n, k), for the rigid fit. Returns both, ready to compare."""
    match alignment:
        case "none":
            return predicted, truth
        case "wrist":  # each minus its own wrist, so that a perfect hand has no rounding error
            return align.relative_to(predicted), align.relative_to(truth)
        case "bone":
            return align.bone_scaled(predicted, truth), truth
        case "similarity":
            return align.similarity(predicted, truth), truth
        case "rigid":
            return align.similarity(predicted, truth, allow_reflection=False, valid=valid), truth


def _pair(hands: ScoredHands, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    if not protocol.of_mesh:
        return hands.predicted, hands.truth
    assert hands.vertices is not None
    return hands.vertices


def _choose(hands: ScoredHands, protocol: Protocol) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Returns the rows to score, the failed rows, and the number left out for each reason."""
    predicted, truth = _pair(hands, protocol)
    number = hands.valid.sum(axis=1)
    match protocol.rows:
        case "all valid":
            chosen = number == NUM_JOINTS
        case "ten valid":  # an invalid wrist is subtracted too, if a position is stored
            chosen = (number >= LEAST_JOINTS) & np.isfinite(truth[:, WRIST]).all(axis=1)
        case "any valid":
            chosen = number > 0
        case "wrist valid":
            chosen = hands.valid[:, WRIST]
        case "vertices":
            chosen = np.isfinite(truth).all(axis=(1, 2))
    left_out = {WHY_LEFT_OUT[protocol.rows]: int((~chosen).sum())}
    if protocol.absolute and len(chosen) == len(hands.absolute):
        left_out["no absolute position predicted"] = int((chosen & ~hands.absolute).sum())
        chosen = chosen & hands.absolute
    with np.errstate(over="ignore", invalid="ignore"):
        good = np.isfinite(np.einsum("nkc,nkc->n", predicted, predicted, dtype=np.float64, casting="safe"))
    return np.flatnonzero(chosen & good), np.flatnonzero(chosen & ~good), {why: n for why, n in left_out.items() if n}


def _check(what: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{what} has shape {array.shape}, expected {shape}")
