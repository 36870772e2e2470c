"""Are mined hands alike? python tests/benchmarks/bench_pairs.py pairs.h5

Mean distance between the keypoints of two hands (as right hands, joint by joint, in % of the crop's side), at each rank
and of random hands of different videos; where the file has labels also between their 3D joints (wrist at 0, each at its
own size, in % of that size).
"""

import sys
from pathlib import Path

import numpy as np

from handtool import store
from handtool.hands.canonical import canonical_keypoints
from handtool.hands.descriptor import describe_joints
from handtool.store import CROPS, KEYPOINTS, LABELS, PAIRS


def main() -> None:
    with store.open_file(Path(sys.argv[1])) as file:
        side, video = store.read_column(file, CROPS.side), store.read_column(file, CROPS.video)
        size = store.read_attrs(file, CROPS)["size"]
        hands = {
            "keypoints": canonical_keypoints(store.read_column(file, KEYPOINTS.xy).astype(float), side, size) / size
        }
        if file.has(LABELS):
            hands["joints"] = describe_joints(store.read_column(file, LABELS.joints), side, "wrist-scale").reshape(
                -1, 21, 3
            )
        anchor, positive, rank = (
            store.read_column(file, column) for column in (PAIRS.anchor, PAIRS.positive, PAIRS.rank)
        )
    rng = np.random.default_rng(0)
    usable = np.unique(anchor)
    one, other = rng.choice(usable, 20_000), rng.choice(usable, 20_000)
    apart = video[one] != video[other]
    for name, points in hands.items():

        def mean(a: np.ndarray, b: np.ndarray) -> float:
            return 100 * float(np.nanmean(np.linalg.norm(points[a] - points[b], axis=2)))

        random = mean(one[apart], other[apart])
        ranks = {r: mean(anchor[rank == r], positive[rank == r]) for r in np.unique(rank)}
        print(
            f"{name:>10}  random {random:.1f} %  "
            + "  ".join(f"rank {r} {d:.1f} % ({d / random:.2f})" for r, d in ranks.items())
        )


if __name__ == "__main__":
    main()
