"""Does fine-tuning lose what the encoder knows? Its forms side by side on a development set.

    python tests/benchmarks/trial_finetune.py STUDY [--steps 800 --seeds 1,2 --only plain,decay --pool]

STUDY: the folder of `examples/study.sh small`, for its labelled hands and its encoders of the method keypoints (with
--pool: of fifty steps). The hands asked are a world of their own, STUDY/trial/dev.h5, so that the study's test set is
not looked at. All forms take the same number of steps on a tenth of the labels:

    plain      as `finetune` does it by default
    slow       all at a third of the learning rate
    decay      --layer-decay .7
    head       the head alone for a third of the steps, then all at a third of the learning rate
    head-fast  the head alone for a third of the steps, then all at the full learning rate
    frozen     the head alone
    fresh      plain with a fresh head
    flip       --mirror .5, and the predictions for a hand and for its mirror image averaged

and, of frozen features alone, ridge regression on those of the last stage and of the last two and three together.
Then the mean of plain's answer and of another one, shifted, turned and scaled onto it, and as it is: the ten labelled
hands nearest by the frozen features, and as controls ridge regression, the mean hand, ten labelled hands at random and
the models of two other forms.
Prints PA-MPJPE / root-relative in mm for each seed. Run it again to continue.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[2] / "examples")]

from study_probe import errors_mm, nearest, read_features, read_poses, tuned_ridge  # noqa: E402

from handtool import store  # noqa: E402
from handtool.hands.align import relative_to, similarity  # noqa: E402
from handtool.hands.canonical import canonical_joints  # noqa: E402
from handtool.nn.files import features as features_of  # noqa: E402
from handtool.nn.files.labelled_hands import take_fraction  # noqa: E402
from handtool.store import CROPS  # noqa: E402

NETWORK = "--arch resnet18 --input-size 64 --precision bf16 --gpus 0 --batch-size 32"
HEAD = "--head regression --rotation 15 --colour .3 --label-fraction .1"
FORMS = ("plain", "slow", "decay", "head", "head-fast", "frozen", "fresh", "flip")
DEV_SEED = 909


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("study", type=Path)
    asked.add_argument("--steps", type=int, default=800)
    asked.add_argument("--seeds", default="1,2")
    asked.add_argument("--only", default=",".join(FORMS))
    asked.add_argument("--pool", action="store_true", help="train beside the study's unlabelled hands, lifted to 3D")
    given = asked.parse_args()
    folder = given.study / "trial"
    folder.mkdir(exist_ok=True)
    dev, labelled = folder / "dev.h5", given.study / "labelled.h5"
    if not dev.exists():
        run(f"synth --num-videos 200 --frames 12 --size 64 --difficulty medium --seed {DEV_SEED} -o {dev}")
    seeds = [int(seed) for seed in given.seeds.split(",")]
    method = "handtool-short" if given.pool else "keypoints"
    encoders = {seed: given.study / f"encoder-{method}-{seed}.h5" for seed in seeds}
    print(f"{given.steps} steps{', with the pool' * given.pool}; PA / root-relative, mm, of seeds {given.seeds}")
    for form in given.only.split(","):
        tell(form, [try_form(form, folder, labelled, dev, encoders[seed], seed, given) for seed in seeds])
    for second in ("nearest", "ridge", "mean hand", "at random", "slow", "frozen"):
        for onto in (True, False) if {"plain", second} & set(FORMS) <= set(given.only.split(",")) else ():
            errors = [blend(second, onto, folder, labelled, dev, encoders[seed], seed, given) for seed in seeds]
            tell(f"+ {second}, {'onto it' if onto else 'as it is'}", errors)
    for stages in () if given.pool else (1, 2, 3):
        tell(f"ridge, {stages} stages", [probe(stages, labelled, dev, encoders[seed], seed) for seed in seeds])


def tell(form: str, errors: list[tuple[float, float]]) -> None:
    shown = "   ".join(f"{pa:6.2f} / {root:5.2f}" for pa, root in errors)
    print(f"{form:>21s}   {shown}   mean {np.mean([e[0] for e in errors]):.2f} / {np.mean([e[1] for e in errors]):.2f}")


def run(line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "handtool", *line.split(), "--quiet"],
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"handtool {line}: {done.stderr}")


def name_result(form: str, folder: Path, seed: int, given: argparse.Namespace) -> Path:
    return folder.resolve() / f"result-{form}-{'pool-' * given.pool}{given.steps}-{seed}.h5"


def try_form(
    form: str, folder: Path, labelled: Path, dev: Path, encoder: Path, seed: int, given: argparse.Namespace
) -> tuple[float, float]:
    """Errors of a form, trained as the command does it."""
    result = name_result(form, folder, seed, given)
    pose, before = (result.with_name(result.name.replace(f"result-{form}", f"pose-{of}")) for of in (form, "before"))
    pool = f" --pool {(given.study / 'keypoints.h5').resolve()} --pool-depth lifted" * given.pool
    start = f"finetune {labelled.resolve()} {NETWORK} {HEAD}{pool} --seed {seed}"
    first = given.steps // 3
    full, third = "--learning-rate 1e-3", "--learning-rate 3.3e-4"
    if not pose.exists() and form in ("head", "head-fast"):
        if not before.exists():
            run(f"{start} --encoder {encoder.resolve()} --freeze {full} --steps {first} -o {before}")
        rate = third if form == "head" else full
        run(f"{start} --encoder {before} {rate} --steps {given.steps - first} -o {pose}")
    elif not pose.exists():
        how = {"slow": third, "decay": "--layer-decay .7", "frozen": "--freeze", "fresh": "--fresh-head"}
        how["flip"] = "--mirror .5"
        run(f"{start} --encoder {encoder.resolve()} {how.get(form, full)} --steps {given.steps} -o {pose}")
    if not result.exists():
        said = result.with_name(f"predictions-{result.name}")
        run(f"predict {dev.resolve()} --model {pose} --bone truth{' --flip' * (form == 'flip')} -o {said}")
        run(f"eval {said} -o {result}")
    with store.open_file(result) as file:
        metrics = store.read_metrics(file)
    return metrics["pa_mpjpe"]["mean_mm"], metrics["mpjpe_root"]["mean_mm"]


def blend(
    second: str,
    onto: bool,
    folder: Path,
    labelled: Path,
    dev: Path,
    encoder: Path,
    seed: int,
    given: argparse.Namespace,
) -> tuple[float, float]:
    """Errors of the mean of plain's answer and of a second one, both right hands about the wrist, in bone lengths."""
    (poses, _, _), (truth, bone, _) = read_poses(labelled), read_poses(dev)
    rows = labels_of(seed, len(poses))
    said, poses = read_answer(name_result("plain", folder, seed, given), bone), poses[rows]
    if second in FORMS:
        other = read_answer(name_result(second, folder, seed, given), bone)
    elif second == "mean hand":
        other = np.repeat(poses.mean(0)[None], len(truth), 0)
    elif second == "at random":
        other = poses[np.random.default_rng(seed).integers(0, len(poses), (len(truth), 10))].mean(1)
    else:
        read = {"nearest": nearest, "ridge": tuned_ridge}[second]
        other = read(read_features(labelled, encoder)[rows], poses, read_features(dev, encoder))
    if onto:
        other = similarity(other.reshape(-1, 21, 3), said.reshape(-1, 21, 3)).reshape(said.shape)
    pa, root = errors_mm((said + other) / 2, truth, bone)
    return pa.mean(), root.mean()


def read_answer(result: Path, bone: np.ndarray) -> np.ndarray:
    """(N, 63), as `read_poses` reads the truth."""
    with store.open_file(result) as file:
        side = store.read_column(file, CROPS.side)
        joints = canonical_joints(store.read_column(file, store.PREDICTIONS.joints).astype(float), side)
    return (relative_to(joints) / bone[:, None, None]).reshape(len(joints), -1)


def labels_of(seed: int, count: int) -> np.ndarray:
    """The rows that `--label-fraction .1 --seed` trains on: no two of them show one hand."""
    return np.flatnonzero(take_fraction(np.arange(count), 0.1, "random", seed))


def probe(stages: int, labelled: Path, dev: Path, encoder: Path, seed: int) -> tuple[float, float]:
    """Ridge regression on the pooled features of the last stages."""
    (poses, _, _), (truth, bone, _) = read_poses(labelled), read_poses(dev)
    known, asked = (staged_features(path, encoder, stages) for path in (labelled, dev))
    rows = labels_of(seed, len(poses))
    pa, root = errors_mm(tuned_ridge(known[rows], poses[rows], asked), truth, bone)
    return pa.mean(), root.mean()


def staged_features(crops: Path, encoder: Path, stages: int) -> np.ndarray:
    """`read_features` of a ResNet whose pooled features are those of its last stages, one beside the other."""

    def read_encoder(file):
        network, *others = reading(file)
        return Staged(network, stages), *others

    reading, features_of.read_encoder = features_of.read_encoder, read_encoder
    try:
        return read_features(crops, encoder)
    finally:
        features_of.read_encoder = reading


class Staged(torch.nn.Module):
    def __init__(self, network: torch.nn.Module, stages: int) -> None:
        super().__init__()
        self.network, self.seen = network, []
        for name in ("layer4", "layer3", "layer2")[:stages]:
            getattr(network, name).register_forward_hook(lambda module, given, told: self.seen.append(told))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.clear()
        self.network(images)
        return torch.cat([found.mean((2, 3)) for found in self.seen], 1)


if __name__ == "__main__":
    main()
