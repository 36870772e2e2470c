"""A baseline that a model must beat: it predicts the mean hand and never looks at the picture.

    python examples/mean_pose.py TRAIN TEST [RESULT]

Predicts the mean hand of TRAIN (as a right hand, relative to the wrist) for every hand of TEST, mirrored for left hands
and scaled to the true reference bone, as `handtool eval` scales a model's predictions. Prints the errors, beside those
in RESULT (from `handtool eval -o`) if given. It is also an example of reading handtool's files with bare h5py.
"""

import sys

import h5py
import numpy as np

from handtool.hands.metrics import evaluate

LEFT, WRIST, REFERENCE_BONE = 0, 0, (9, 10)  # numbers of a side and of joints, see docs/SCHEMA.md
PROTOCOLS = {"mpjpe_root": "wrist on wrist", "pa_mpjpe": "after Procrustes"}


def read_labels(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """joints (n, 21, 3) m, valid (n, 21), side (n,)."""
    with h5py.File(path) as file:
        return file["labels/joints"][:].astype(float), file["labels/valid"][:].astype(bool), file["crops/side"][:]


def as_right(joints: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Left hands mirrored, X' = -X; the same call mirrors them back."""
    return np.where((side == LEFT)[:, None, None], joints * [-1, 1, 1], joints)


def bone(joints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(joints[..., REFERENCE_BONE[1], :] - joints[..., REFERENCE_BONE[0], :], axis=-1)


def predict_mean(train: str, test: str) -> dict[str, dict[str, float]]:
    joints, valid, side = read_labels(train)
    whole = valid.all(1)
    hands = as_right(joints - joints[:, WRIST, None], side)[whole]
    mean = (hands / bone(hands)[:, None, None]).mean(0)
    mean /= bone(mean)
    truth, valid, side = read_labels(test)
    predicted = as_right(mean * bone(truth)[:, None, None], side) + truth[:, WRIST, None]
    return evaluate(predicted, truth, valid, side)


def main(train: str, test: str, result: str | None = None) -> None:
    rows = {
        "always the mean training hand": {
            name: figures["mean_mm"] for name, figures in predict_mean(train, test).items()
        }
    }
    if result:
        with h5py.File(result) as file:
            rows["the model"] = {name: float(file[f"metrics/{name}"].attrs["mean_mm"]) for name in PROTOCOLS}
    print(f"{'mean error in mm':<34}" + "".join(f"{name:>18}" for name in PROTOCOLS))
    print(f"{'':<34}" + "".join(f"{words:>18}" for words in PROTOCOLS.values()))
    for name, figures in rows.items():
        print(f"{name:<34}" + "".join(f"{figures[protocol]:>18.1f}" for protocol in PROTOCOLS))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
