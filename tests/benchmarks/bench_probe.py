"""Does the representation learn? Frozen features of an encoder before and after pre-training, asked for the pose of
people never seen.

    python tests/benchmarks/bench_probe.py [--input-size 32 --steps 600 --videos 32 --folder KEPT]

The commands themselves make a world of hands, pairs, and an encoder per method; "scratch" is the same initialisation
after 60 batches at a learning rate of 0, so that its batch norm has seen the pictures too. A second world (other
people, other places) is divided by subject: ridge regression (its strength by the last fifth of the fitting subjects)
and the mean of the 10 nearest hands by cosine are fitted on three quarters, and their mean error on the others is
printed: 2D keypoints in % of the crop's side, 3D joints in % of the hand's size, seen as right hands. "mean hand"
always answers with the mean of the fitting hands.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2])]

from handtool import store  # noqa: E402
from handtool.config import EmbedConfig  # noqa: E402
from handtool.hands.canonical import canonical_keypoints  # noqa: E402
from handtool.hands.descriptor import describe_joints  # noqa: E402
from handtool.nn.files.features import encode_crops  # noqa: E402
from handtool.store import CROPS, LABELS, VIDEOS  # noqa: E402

STRENGTHS = 10.0 ** np.arange(-1, 6)  # of the ridge, on standardised features
NEAREST = 10


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--input-size", type=int, default=32)
    asked.add_argument("--steps", type=int, default=600)
    asked.add_argument("--videos", type=int, default=32, help="of 30 hands each, in either world")
    asked.add_argument("--difficulty", default="easy")
    asked.add_argument("--methods", default="simclr,peclr,simhand")
    asked.add_argument("--options", default="--learning-rate 1e-3", help="of pretrain, for every method")
    asked.add_argument("--folder", type=Path, help="keeps the files, and goes on with those that it holds")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        make_worlds(folder, given)
        hands = read_labelled(folder / "labelled.h5")
        print(
            f"{len(hands['fit'])} hands to fit, {len(hands['test'])} of other people to ask; resnet18, "
            f"{given.input_size} px, {given.steps} steps"
        )
        print(
            f"{'':>10}  {'loss':>12}  {'similarity +/-':>14}  {'uniformity':>10}  {'k-NN 2D':>8} {'3D':>6}  "
            f"{'linear 2D':>9} {'3D':>6}"
        )
        tell(
            "mean hand",
            "",
            {
                target: (error(values, hands["test"], values[hands["fit"]].mean(0)),) * 2
                for target, values in targets_of(hands)
            },
        )
        for method in ("scratch", *given.methods.split(",")):
            report = train(folder, method, given)
            features = read_features(folder / "labelled.h5", folder / f"{method}.h5")
            tell(
                method,
                report,
                {
                    target: (probe_nearest(features, values, hands), probe_ridge(features, values, hands))
                    for target, values in targets_of(hands)
                },
            )


def run(folder: Path, line: str) -> dict:
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "handtool", *line.split(), "--json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"handtool {line}: {done.stderr}")
    return json.loads(done.stdout)["report"]


def make_worlds(folder: Path, given: argparse.Namespace) -> None:
    world = f"synth --num-videos {given.videos} --frames 30 --size 128 --difficulty {given.difficulty}"
    for line in (
        f"{world} --seed 5 -o crops.h5",
        f"{world} --seed 6 -o labelled.h5",
        "keypoints crops.h5 -o keypoints.h5",
        "embed keypoints.h5 -o embeddings.h5",
        "mine embeddings.h5 --topk 5 --threads 1 -o pairs.h5",
    ):
        run(folder, line)


def train(folder: Path, method: str, given: argparse.Namespace) -> str:
    """Trains as the command does; what its curve says, first and last twentieth."""
    how = "--learning-rate 0" if method == "scratch" else f"--method {method} {given.options}"
    steps = min(60, given.steps) if method == "scratch" else given.steps
    shape = f"--arch resnet18 --init scratch --gpus 0 --input-size {given.input_size} --steps {steps}"
    run(folder, f"pretrain pairs.h5 {shape} {how} -o {method}.h5")
    with store.open_file(folder / f"{method}.h5") as file:
        columns = (
            store.CURVE.loss,
            store.CURVE.positive_similarity,
            store.CURVE.negative_similarity,
            store.CURVE.uniformity,
        )
        few = max(1, steps // 20)
        loss, positive, negative, uniformity = (store.read_column(file, column) for column in columns)
    similarity = f"{positive[-few:].mean():.2f} / {negative[-few:].mean():.2f}"
    return f"{loss[:few].mean():.2f} -> {loss[-few:].mean():.2f}  {similarity:>14}  {uniformity[-few:].mean():10.2f}"


def read_labelled(path: Path) -> dict[str, np.ndarray]:
    """keypoints (N, 42) % of the crop's side and joints (N, 63) % of the hand's size, as right hands; rows to fit
    and to test; subject (N,)."""
    with store.open_file(path) as file:
        side, size = store.read_column(file, CROPS.side), store.read_attrs(file, CROPS)["size"]
        xy = canonical_keypoints(store.read_column(file, LABELS.keypoints).astype(float), side, size)
        joints = describe_joints(store.read_column(file, LABELS.joints), side, "wrist-scale")
        _, subject = np.unique(store.read_column(file, VIDEOS.subject), return_inverse=True)
        subject = subject[store.read_column(file, CROPS.video)]
    tested = subject >= 3 * (subject.max() + 1) // 4
    return {
        "keypoints": 100 * xy.reshape(len(xy), -1) / size,
        "joints": 100 * joints,
        "subject": subject,
        "fit": np.flatnonzero(~tested),
        "test": np.flatnonzero(tested),
    }


def targets_of(hands: dict) -> list[tuple[str, np.ndarray]]:
    return [(name, hands[name]) for name in ("keypoints", "joints")]


def read_features(crops: Path, encoder: Path) -> np.ndarray:
    with store.open_file(crops) as file, store.open_file(encoder) as network:
        return np.concatenate([block for _, block in encode_crops(file, network, EmbedConfig(device="cpu"))]).astype(
            float
        )


def error(truth: np.ndarray, rows: np.ndarray, predicted: np.ndarray) -> float:
    """Mean distance of corresponding points, in the unit of `truth` (N, 21 x 2 or 3); predicted: of `rows`, or one
    for all."""
    return float(np.linalg.norm((truth[rows] - predicted).reshape(len(rows), 21, -1), axis=2).mean())


def probe_nearest(features: np.ndarray, values: np.ndarray, hands: dict) -> float:
    """Features about their mean, as unit rows; the answer is the mean of the NEAREST fitting hands."""
    centred = features - features[hands["fit"]].mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    nearest = np.argsort(-centred[hands["test"]] @ centred[hands["fit"]].T, 1)[:, :NEAREST]
    return error(values, hands["test"], values[hands["fit"][nearest]].mean(1))


def probe_ridge(features: np.ndarray, values: np.ndarray, hands: dict) -> float:
    subject = hands["subject"][hands["fit"]]
    kept = subject < 4 * (subject.max() + 1) // 5
    inner, held = hands["fit"][kept], hands["fit"][~kept]
    errors = [error(values, held, ridge(features, values, inner, held, strength)) for strength in STRENGTHS]
    return error(
        values, hands["test"], ridge(features, values, hands["fit"], hands["test"], STRENGTHS[int(np.argmin(errors))])
    )


def ridge(features: np.ndarray, values: np.ndarray, fit: np.ndarray, ask: np.ndarray, strength: float) -> np.ndarray:
    mean, spread, middle = features[fit].mean(0), features[fit].std(0) + 1e-9, values[fit].mean(0)
    x = (features[fit] - mean) / spread
    weights = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (values[fit] - middle))
    return (features[ask] - mean) / spread @ weights + middle


def tell(name: str, report: str, errors: dict[str, tuple[float, float]]) -> None:
    (near2, line2), (near3, line3) = errors["keypoints"], errors["joints"]
    print(f"{name:>10}  {report:40}  {near2:8.2f} {near3:6.1f}  {line2:9.2f} {line3:6.1f}", flush=True)


if __name__ == "__main__":
    main()
