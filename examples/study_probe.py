"""How well the pose can be predicted from the frozen features of a study's encoders, before any fine-tuning.

    python examples/study_probe.py FOLDER REFERENCE[,REFERENCE...] FRACTIONS SEEDS METHOD...

Takes the features of FOLDER/encoder-METHOD-SEED.h5 on labelled.h5 and test.h5. Ridge regression (its strength chosen
on a fifth of the labels) and the mean of the 10 nearest hands by cosine predict the joints of a right hand relative to
its wrist, in lengths of the bone 9-10; the test hand's true bone turns them into millimetres. Prints a table like
study_table.py: means over seeds, each with its own encoder and labels, and the gain in PA-MPJPE by ridge regression.
"mean hand" always predicts the mean of the labels.
"""

import sys
from pathlib import Path

import numpy as np
from study_table import gain, video_means

from handtool import store
from handtool.config import EmbedConfig
from handtool.hands.align import relative_to, similarity
from handtool.hands.canonical import canonical_joints
from handtool.hands.skeleton import bone_length
from handtool.nn.files.features import encode_crops
from handtool.store import CROPS, LABELS

STRENGTHS = 10.0 ** np.arange(-1, 6)  # on standardised features
NEAREST = 10


def read_poses(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints of right hands about the wrist (N, 63) in bone lengths, the bone (N,) m, and the video (N,)."""
    with store.open_file(path) as file:
        joints = canonical_joints(
            store.read_column(file, LABELS.joints).astype(float), store.read_column(file, CROPS.side)
        )
        bone = bone_length(joints)
        return (
            (relative_to(joints) / bone[:, None, None]).reshape(len(joints), -1),
            bone,
            store.read_column(file, CROPS.video),
        )


def read_features(crops: Path, encoder: Path) -> np.ndarray:
    with store.open_file(crops) as file, store.open_file(encoder) as network:
        return np.concatenate([block for _, block in encode_crops(file, network, EmbedConfig())]).astype(float)


def ridge(features: np.ndarray, poses: np.ndarray, asked: np.ndarray, strength: float) -> np.ndarray:
    mean, spread, middle = features.mean(0), features.std(0) + 1e-9, poses.mean(0)
    x = (features - mean) / spread
    weights = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (poses - middle))
    return (asked - mean) / spread @ weights + middle


def tuned_ridge(features: np.ndarray, poses: np.ndarray, asked: np.ndarray) -> np.ndarray:
    inner = 4 * len(features) // 5
    errors = [
        np.square(ridge(features[:inner], poses[:inner], features[inner:], s) - poses[inner:]).mean() for s in STRENGTHS
    ]
    return ridge(features, poses, asked, STRENGTHS[int(np.argmin(errors))])


def nearest(features: np.ndarray, poses: np.ndarray, asked: np.ndarray) -> np.ndarray:
    known, wanted = features - features.mean(0), asked - features.mean(0)
    known, wanted = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (known, wanted))
    return poses[np.argsort(-wanted @ known.T, axis=1)[:, :NEAREST]].mean(1)


def errors_mm(predicted: np.ndarray, truth: np.ndarray, bone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """PA-MPJPE and root-relative MPJPE of each hand, (N,) mm."""
    predicted, truth = (1000 * bone[:, None, None] * rows.reshape(len(rows), 21, 3) for rows in (predicted, truth))
    return tuple(np.linalg.norm(found - truth, axis=2).mean(1) for found in (similarity(predicted, truth), predicted))


def main() -> None:
    references, fractions, seeds = (text.replace(",", " ").split() for text in sys.argv[2:5])
    folder, methods = Path(sys.argv[1]), sys.argv[5:]
    (poses, _, _), (truth, bone, video) = read_poses(folder / "labelled.h5"), read_poses(folder / "test.h5")
    features = {
        (name, seed): tuple(
            read_features(folder / f"{of}.h5", folder / f"encoder-{name}-{seed}.h5") for of in ("labelled", "test")
        )
        for name in methods
        for seed in seeds
    }
    head = f"{'labels':>7s} {'frozen':22s} {'nearest: PA, mm':>16s} {'root':>6s} {'ridge: PA, mm':>14s} {'root':>6s}"
    print(head + "".join(f"  {f'gain over {name}, %':24s}" for name in references))
    for fraction in fractions:
        found: dict[str, dict[str, list]] = {name: {} for name in ("mean hand", *methods)}
        for seed in seeds:
            rows = np.random.default_rng(int(seed)).permutation(len(poses))[: round(float(fraction) * len(poses))]
            middle = np.repeat(poses[rows].mean(0)[None], len(truth), 0)
            found["mean hand"][seed] = [errors_mm(middle, truth, bone)] * 2
            for name in methods:
                known, asked = features[name, seed]
                answers = (read(known[rows], poses[rows], asked) for read in (nearest, tuned_ridge))
                found[name][seed] = [errors_mm(said, truth, bone) for said in answers]
        ridges = {
            name: video_means({seed: {"each": each[1][0], "video": video} for seed, each in of.items()})
            for name, of in found.items()
        }
        for name, of in found.items():
            near_pa, near_root, line_pa, line_root = np.mean(
                [[error.mean() for errors in each for error in errors] for each in of.values()], 0
            )
            line = f"{100 * float(fraction):6g}% {name:22s} {near_pa:16.2f} {near_root:6.2f}"
            line += f" {line_pa:14.2f} {line_root:6.2f}"
            for other in references:
                told = "" if other in (name,) or other not in ridges else gain(ridges[name], ridges[other])
                line += "  {:24s}".format("{:+.1f} ({:+.1f} to {:+.1f})".format(*told) if told else "")
            print(line.rstrip(), flush=True)


if __name__ == "__main__":
    main()
