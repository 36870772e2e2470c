"""`eval --model mediapipe` beside a script that calls MediaPipe bare: the same errors to 0.1 mm, over the same hands.

    python tests/benchmarks/trial_estimator_3d.py CROPS.h5

CROPS.h5: of `handtool extract` on labelled hands, such as realworld3d. The bare script decodes a crop, pads it with
black to 1.95 times the hand's box (2.7, 1.6 where nothing is seen), calls MediaPipe's solutions API and compares its
world landmarks with the labels by a Procrustes of its own. The last line is the same on the crops as they are, not
padded.
"""

import sys
from pathlib import Path

import cv2
import h5py
import mediapipe
import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

import handtool  # noqa: E402

CONTEXTS = (1.95, 2.7, 1.6)


def look(hands, crop: np.ndarray, context: float, wanted: tuple[float, ...]) -> np.ndarray | None:
    """(21, 3) m about the hand's centre."""
    for each in wanted:
        pad = max(0, round(len(crop) * (each / context - 1) / 2))
        found = hands.process(cv2.copyMakeBorder(crop, pad, pad, pad, pad, cv2.BORDER_CONSTANT))
        if found.multi_hand_world_landmarks:
            return np.array([(p.x, p.y, p.z) for p in found.multi_hand_world_landmarks[0].landmark])
    return None


def aligned(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Similarity with reflection (Schoenemann 1966): the rotation from the SVD of the covariance, the least-squares
    scale."""
    centre, mean = points.mean(0), truth.mean(0)
    left, values, right = np.linalg.svd((points - centre).T @ (truth - mean))
    scale = values.sum() / ((points - centre) ** 2).sum()
    return scale * (points - centre) @ (left @ right) + mean


def main() -> None:
    path = Path(sys.argv[1])
    with h5py.File(path) as file:
        data, offset = file["crops/jpeg"][...], file["crops/jpeg_offset"][...]
        affine, box, size = (file["crops/crop_from_frame"][...], file["crops/box"][...], file["crops"].attrs["size"])
        truth = file["labels/joints"][...].astype(float)
    side = np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]) * affine[:, 0, 0]
    [result] = handtool.run("eval", path, model="mediapipe", resamples=0)["results"]
    ours = [result["protocols"][name]["mean_mm"] for name in ("mpjpe_root", "pa_mpjpe")]
    count = result["protocols"]["pa_mpjpe"]["hands"]
    print(f"handtool           {count:4} hands, root {ours[0]:.2f}, PA {ours[1]:.2f} mm")
    for name, contexts in (("bare, the same", CONTEXTS), ("bare, not padded", (0.0,))):
        hands = mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=2)
        errors = []
        for row, true in enumerate(truth):
            crop = cv2.imdecode(data[offset[row] : offset[row + 1]], cv2.IMREAD_COLOR)[..., ::-1]
            found = look(hands, np.ascontiguousarray(crop), size / side[row], contexts)
            if found is not None:
                pair = found - found[0] - (true - true[0]), aligned(found, true) - true
                errors.append([1000 * np.linalg.norm(each, axis=1).mean() for each in pair])
        mean = np.mean(errors, axis=0)
        print(f"{name:18} {len(errors):4} hands, root {mean[0]:.2f}, PA {mean[1]:.2f} mm")
        if contexts is CONTEXTS:
            assert np.abs(mean - ours).max() < 0.1 and len(errors) == count


if __name__ == "__main__":
    main()
