"""Alignments of a prediction with its truth, before errors are taken; one function for each published alignment.

predicted, truth: (n, k, 3), any one length unit (metres in published figures). Results have predicted's shape and the
inputs' precision.
"""

import numpy as np

from handtool.hands.skeleton import MIDDLE_MCP, WRIST


def relative_to(joints: np.ndarray, root: int = WRIST) -> np.ndarray:
    """(n, k, 3) -> each joint minus the root of its hand."""
    return joints - joints[:, root : root + 1]


def wrist_error(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Mean distance (n,) over the valid joints with the wrists at one point; NaN without wrist. valid: (n, k) bool."""
    counted = valid & valid[:, WRIST, None]
    distance = np.where(counted, np.linalg.norm(relative_to(predicted) - relative_to(truth), axis=-1), 0.0)
    return np.divide(distance.sum(1), counted.sum(1), out=np.full(len(counted), np.nan), where=counted.any(1))


def bone_scaled(
    predicted: np.ndarray, truth: np.ndarray, root: int = WRIST, bone: tuple[int, int] = (WRIST, MIDDLE_MCP)
) -> np.ndarray:
    """Moves the prediction onto the true root and scales it to the true length of the bone, without rotation.

    HO-3D's scale-translation alignment and SiMHand's "bone alignment". A predicted bone of length 0 is not scaled.
    """
    start, end = bone
    true_length = np.linalg.norm(truth[:, end] - truth[:, start], axis=-1)
    length = np.linalg.norm(predicted[:, end] - predicted[:, start], axis=-1)
    scale = np.divide(true_length, length, out=np.ones_like(true_length), where=length > 0)
    return relative_to(predicted, root) * scale[:, None, None] + truth[:, root : root + 1]


def similarity(
    predicted: np.ndarray, truth: np.ndarray, allow_reflection: bool = True, valid: np.ndarray | None = None
) -> np.ndarray:
    """Orthogonal Procrustes: translation, scale and rotation with least squared error (Schonemann 1966; Umeyama 1991).

    allow_reflection=True is the rule of FreiHAND, HO-3D and DexYCB: each hand is divided by its Frobenius norm + 1e-8
    (metres), and a mirrored hand aligns perfectly. False is Ego-Exo4D's rule: a proper rotation (instead of a
    reflection, the last singular vector and value change sign) and no 1e-8. valid: (n, k) bool, the joints to which the
    transform is fitted; it is applied to all. Returns (n, k, 3). If all predicted joints coincide, every joint is at
    the true mean; if an input is not finite, the result is NaN.
    """
    dtype = np.result_type(predicted, truth, np.float32)
    predicted, truth = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    epsilon = 1e-8 if allow_reflection else 0.0
    predicted_mean, predicted_unit, predicted_norm = _centred_unit(predicted, valid, epsilon)
    truth_mean, truth_unit, truth_norm = _centred_unit(truth, valid, epsilon)
    rotation, stretch = _orthogonal_procrustes(np.swapaxes(truth_unit, 1, 2) @ predicted_unit, allow_reflection)
    scale = stretch * truth_norm / predicted_norm
    aligned = (predicted - predicted_mean) @ (np.swapaxes(rotation, 1, 2) * scale[:, None, None]) + truth_mean
    return aligned.astype(dtype, copy=False)


def _centred_unit(
    points: np.ndarray, valid: np.ndarray | None, epsilon: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (n, 1, 3) of the valid joints; the hand about it with norm 1 (invalid joints at 0); its norm (n,) before."""
    if valid is None:
        mean = np.einsum("nkc->nc", points)[:, None] / points.shape[1]
        centred = points - mean
    else:
        weight = np.asarray(valid, dtype=bool)[..., None]
        points = np.where(weight, points, 0.0)
        mean = np.einsum("nkc->nc", points)[:, None] / np.maximum(weight.sum(axis=1, keepdims=True), 1)
        centred = (points - mean) * weight
    norm = np.sqrt(np.einsum("nkc,nkc->n", centred, centred)) + epsilon
    norm[norm == 0] = 1.0
    centred /= norm[:, None, None]
    return mean, centred, norm


def _orthogonal_procrustes(covariance: np.ndarray, allow_reflection: bool) -> tuple[np.ndarray, np.ndarray]:
    """covariance: (n, 3, 3), truth^T predicted. Returns R (n, 3, 3), truth ~ predicted R^T; sums of singular values."""
    # svd raises for the whole batch if one is not finite; the means of these are NaN already
    finite = np.isfinite(covariance).all(axis=(1, 2))
    left, stretch, right = np.linalg.svd(np.where(finite[:, None, None], covariance, 0.0))
    if not allow_reflection:
        mirrored = np.linalg.det(left) * np.linalg.det(right) < 0
        left[mirrored, :, 2] *= -1
        stretch[mirrored, 2] *= -1
    return left @ right, stretch.sum(axis=1)
