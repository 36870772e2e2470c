"""A pre-training killed at twenty random moments, and what is left of the difference to one that ran through.

    python tests/benchmarks/trial_kill_pretrain.py [KILLS [STEPS [SEED]]]

The real command on synthetic pairs, killed by SIGKILL (its whole process group, or the main process alone) at a random
moment after it has begun to train, run again until it is done, then anew, until so many kills hit. One kill of ten is a
SIGTERM instead, which must save and exit with 143; after the last step it may come too late, and does not count where
the product is there and the exit code 0. Then all weights and the whole curve, its seconds apart, must be those of the
uninterrupted run, to the last bit. Exits with 1 where they are not.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2])]

from handtool import store  # noqa: E402

ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE.parents[2])}
HANDTOOL = [sys.executable, "-m", "handtool"]
SETTINGS = [
    "--arch",
    "resnet18",
    "--init",
    "scratch",
    "--input-size",
    "32",
    "--batch-size",
    "16",
    "--gpus",
    "0",
    "--checkpoint-every",
    "3",
]


def make_pairs(folder: Path) -> Path:
    """160 synthetic hands with their neighbours in other videos."""
    for line in (
        "synth --num-videos 16 --frames 10 --size 64 -o crops.h5",
        "keypoints crops.h5 -o keypoints.h5",
        "embed keypoints.h5 -o embeddings.h5",
        "mine embeddings.h5 --topk 3 --threads 1 -o pairs.h5",
    ):
        subprocess.run([*HANDTOOL, *line.split()], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    return folder / "pairs.h5"


def start(pairs: Path, output: Path, steps: int) -> subprocess.Popen:
    command = [*HANDTOOL, "pretrain", str(pairs), "-o", str(output), "--steps", str(steps), *SETTINGS]
    with open(said_by(output), "w") as said:
        return subprocess.Popen(
            command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )


def said_by(output: Path) -> Path:
    return output.with_suffix(".log")


def finish(process: subprocess.Popen, output: Path) -> dict[str, np.ndarray]:
    if process.wait():
        raise SystemExit(f"exit {process.returncode}: {said_by(output).read_text()}")
    return read_result(output)


def read_result(path: Path) -> dict[str, np.ndarray]:
    with store.open_file(path) as file:
        curve = {column.path: store.read_column(file, column) for column in store.CURVE.columns if file.has(column)}
        return {
            key: value
            for key, value in {**store.read_weights(file)[0], **curve}.items()
            if not key.endswith("/seconds")
        }


def kill(process: subprocess.Popen, way: str, output: Path) -> list[str]:
    """What is not as promised."""
    if way == "term":
        process.terminate()
    elif way == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    if way == "term" and process.returncode == 0 and output.exists():
        return []
    wrong = [f"{output.name} is there after {way}"] if output.exists() else []
    expected = {"term": 143}.get(way, -signal.SIGKILL)
    return wrong + (
        []
        if process.returncode == expected
        else [f"exit {process.returncode} after {way}, {expected} expected: {said_by(output).read_text()}"]
    )


def main() -> int:
    kills, steps, seed = (int(text) for text in (sys.argv[1:] + ["20", "40", "5"][len(sys.argv) - 1 :])[:3])
    rng, wrong, points, results, run = random.Random(seed), [], [], {}, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = make_pairs(folder)
        whole = finish(start(pairs, folder / "whole.h5", steps), folder / "whole.h5")
        with store.open_file(folder / "whole.h5") as file:
            seconds = float(store.read_column(file, store.CURVE.seconds)[-1])
        results["a second run"] = finish(start(pairs, folder / "again.h5", steps), folder / "again.h5")
        while len(points) < kills:
            output = folder / f"killed{run}.h5"
            process = start(pairs, output, steps)
            if has_begun(process, output) and survives(process, rng.uniform(0, seconds / 4)):
                way = "term" if len(points) % 10 == 5 else rng.choice(("group", "process"))
                wrong += kill(process, way, output)
                if process.returncode == 0 and way == "term" and output.exists():
                    continue
                points.append((run, way, reached(output)))
                print(f"kill {len(points)}: run {run}, {way}, {points[-1][2]} of {steps} steps saved", flush=True)
            else:
                results[output.name] = finish(process, output)
                run += 1
        results[output.name] = finish(start(pairs, output := folder / f"killed{run}.h5", steps), output)
    for title, found in results.items():
        differ = [
            key
            for key in whole.keys() | found.keys()
            if key not in whole or key not in found or not np.array_equal(whole[key], found[key])
        ]
        wrong += [f"{title}: {', '.join(sorted(differ))} differ"] if differ else []
    print(
        "\n".join(wrong)
        or f"{kills} kills in {len(results) - 1} runs, and a second run: "
        f"each to the last bit the first ({len(whole)} arrays)"
    )
    return bool(wrong)


def has_begun(process: subprocess.Popen, output: Path) -> bool:
    """Whether it trains; waits until it does or ends."""
    while process.poll() is None:
        if " a step, " in said_by(output).read_text():
            return True
        time.sleep(0.02)
    return False


def survives(process: subprocess.Popen, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def reached(output: Path) -> int:
    """Steps in the checkpoint beside `output`, 0 without one."""
    with_state = store.Job(output.with_name(output.name + ".partial"))
    return len(with_state.load("checkpoint")["curve/step"]) if with_state.has("checkpoint") else 0


if __name__ == "__main__":
    sys.exit(main())
