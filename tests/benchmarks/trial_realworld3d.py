"""Results on a few real hands, beside answers that need no network.

    handtool extract realworld3d -o all.h5
    handtool split all.h5 --by row --in-order --shares 200,100 -o train.h5 -o test.h5
    python tests/benchmarks/trial_realworld3d.py train.h5 test.h5 [result.h5 …]      # from handtool eval -o

The mean training pose; the pose of the training image that looks most alike (32 px, RGB, squared differences); and, as
a bound of what copying could do, the training pose that an oracle chooses. Errors relative to the wrist and after
Procrustes, mm, mean over joints and hands.
"""

import sys

import cv2
import numpy as np

from handtool import store
from handtool.hands.canonical import canonical_joints
from handtool.hands.metrics import evaluate
from handtool.store import CROPS, LABELS

LOOK = 32  # px


def read(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Joints (n, 21, 3) m from the wrist, and small pictures (n, 3072), both of right hands."""
    with store.open_file(path) as file:
        side = store.read_column(file, CROPS.side)
        joints = canonical_joints(store.read_column(file, LABELS.joints).astype(float), side)
        images = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in store.open_jpegs(file)]
    images = [image[:, ::-1] if left else image for image, left in zip(images, side == 0)]
    small = [cv2.resize(image, (LOOK, LOOK), interpolation=cv2.INTER_AREA).ravel() for image in images]
    return joints - joints[:, :1], np.array(small, float)


def errors(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    found = evaluate(predicted, truth, np.ones(truth.shape[:2], bool))
    return found["mpjpe_root"]["mean_mm"], found["pa_mpjpe"]["mean_mm"]


def main() -> None:
    train, test, *results = sys.argv[1:]
    (known, seen), (truth, looks) = read(train), read(test)
    alike = ((looks[:, None] - seen) ** 2).sum(2).argmin(1)
    best = np.linalg.norm(truth[:, None] - known, axis=3).mean(2).argmin(1)
    table = {
        "the mean training pose": known.mean(0) + 0 * truth,
        "the pose of the most alike training image": known[alike],
        "the best training pose, by an oracle": known[best],
    }
    for name, predicted in table.items():
        print("{:45s} {:6.1f} {:6.1f}".format(name, *errors(predicted, truth)))
    for path in results:
        with store.open_file(path) as file:
            found = [
                store.read_attrs(file, f"metrics/{protocol}")["mean_mm"] for protocol in ("mpjpe_root", "pa_mpjpe")
            ]
        print("{:45s} {:6.1f} {:6.1f}".format(path, *found))


if __name__ == "__main__":
    main()
