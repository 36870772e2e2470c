"""The size of a hand: the lengths of its 20 bones, and the one factor that brings a hand to given lengths.

Of what an estimator finds, single bones are unreliable: MediaPipe's middle MCP - PIP is 0.75 +- 0.19 of the truth where
fingers bend. So all bones are fitted at once.
"""

import numpy as np

from handtool.errors import HandtoolError
from handtool.hands.skeleton import BONES, REFERENCE_BONE

PARENT, CHILD = (list(ends) for ends in zip(*BONES))
# Medians of adult hands in labelled photographs, mm, in the order of BONES (thumb to little finger, palm to tip).
ADULT_MM = np.array(
    [[31.7, 40, 33, 27], [88.3, 41, 24.5, 23], [87.1, 46, 28, 23.5], [81.6, 43, 27, 22.5], [80.3, 32, 20, 19]]
).ravel()
REFERENCE = BONES.index(REFERENCE_BONE)
PROPORTIONS = ADULT_MM / ADULT_MM[REFERENCE]


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    """joints: (..., 21, 3), any unit. Returns (..., 20), same unit, in the order of BONES."""
    return np.linalg.norm(joints[..., CHILD, :] - joints[..., PARENT, :], axis=-1)


def usual_lengths(reference: np.ndarray) -> np.ndarray:
    """reference: (n,) length of the reference bone. Returns (n, 20), same unit: an adult hand's bones."""
    return np.asarray(reference)[:, None] * PROPORTIONS


def size_factor(joints: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The factor (n,) that brings the bones of `joints` (n, 21, 3) to `lengths` (n, 20) in all: the ratio of the sums.

    A length that is NaN does not count; NaN for a hand without any. (Least squares would shrink hands whose bones are
    found with errors.)
    """
    counts = np.isfinite(lengths)
    wanted, found = (np.where(counts, each, 0.0).sum(axis=1) for each in (lengths, bone_lengths(joints)))
    return np.divide(wanted, found, out=np.full(len(found), np.nan), where=found > 0)


def usual_reference(joints: np.ndarray) -> np.ndarray:
    """joints: (n, 21, 3), any unit. Returns (n,), same unit: the reference bone of an adult hand of this size."""
    return bone_lengths(joints).sum(axis=-1) / PROPORTIONS.sum()


def read_length_m(text: str) -> float:
    try:
        length_mm = float(text)
    except ValueError:
        length_mm = float("nan")
    if not 1 <= length_mm <= 100:
        raise HandtoolError(f"--bone {text}: neither auto, truth, mean nor a length of 1 to 100 mm", hint="--bone 25")
    return length_mm / 1000
