"""A few synthetic hands learnt by heart, from scratch, on the CPU: the heads can say what they are taught.

    python tests/benchmarks/trial_overfit.py                                  # heat maps: 8 hands
    python tests/benchmarks/trial_overfit.py --head regression --hands 64 --steps 1500

Prints the error relative to the wrist with the true bone length, that in the camera's frame, and the time.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from handtool import store
from handtool.store import LABELS, PREDICTIONS

STILL = ["--rotation", "0", "--shift", "0", "--zoom", "0", "--colour", "0", "--blur", "0"]


def handtool(*arguments: object) -> None:
    subprocess.run(
        [sys.executable, "-m", "handtool", *map(str, arguments), "-q"], check=True, stdout=subprocess.DEVNULL
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", default="heatmap", choices=("heatmap", "regression"))
    parser.add_argument("--hands", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--size", type=int, default=64, help="side of the input, px")
    parser.add_argument("--batch-size", type=int, default=8)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        train, pose, found = (Path(folder) / name for name in ("train.h5", "pose.h5", "found.h5"))
        handtool("synth", "--num-videos", asked.hands, "--frames", 1, "--size", 128, "--seed", 6, "-o", train)
        begun = time.perf_counter()
        handtool(
            "finetune",
            train,
            "--head",
            asked.head,
            "--arch",
            "resnet18",
            "--init",
            "scratch",
            "--gpus",
            0,
            "--input-size",
            asked.size,
            "--batch-size",
            asked.batch_size,
            "--steps",
            asked.steps,
            *STILL,
            "-o",
            pose,
        )
        seconds = time.perf_counter() - begun
        handtool("predict", train, "--model", pose, "--bone", "truth", "-o", found)
        with store.open_file(train) as labels, store.open_file(found) as predictions:
            truth, joints = store.read_column(labels, LABELS.joints), store.read_column(predictions, PREDICTIONS.joints)
    relative = 1000 * np.linalg.norm((joints - joints[:, :1]) - (truth - truth[:, :1]), axis=2)
    absolute = 1000 * np.linalg.norm(joints - truth, axis=2)
    print(
        f"{asked.head}, {asked.hands} hands, {asked.size} px, {asked.steps} steps: {relative.mean():.2f} mm relative "
        "to the wrist (median hand "
        f"{np.median(relative.mean(1)):.2f}, worst {relative.mean(1).max():.2f}), {absolute.mean():.1f} mm in the "
        f"camera's frame, {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
