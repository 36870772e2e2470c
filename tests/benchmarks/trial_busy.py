"""A machine that others load, or that stops the run: is a healthy video ever lost, and does anything come to a halt?

    python tests/benchmarks/trial_busy.py [--busy 25] [--patience 5] [--films 4]

Films are extracted by two workers: with nothing else running, beside so many processes that only compute, and with the
whole process group stopped for twice the patience, again and again. A worker's patience is set to a few seconds of its
own time instead of 60. Prints the time and what was lost. Exits with 1 if anything was, or if a table differs.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2])]

import numpy as np  # noqa: E402
from footage import make_boxes, make_video, tables_of  # noqa: E402

SPIN = "while True: pass"
RUN = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from footage import run_stage
from handtool.config import ExtractConfig
from handtool.stages.extract import extract
if __name__ == "__main__":
    folder = Path({folder!r})
    config = ExtractConfig(workers=2, every=1, timeout_s={patience})
    report = run_stage(extract, [folder / "films"], folder / {output!r}, config, boxes=folder / "boxes.json")
    print([item for item in report["accounting"] if item["what"] == "videos"][0], flush=True)
"""


def start(folder: Path, output: str, patience: float) -> subprocess.Popen:
    script = folder / f"{output}.py"
    script.write_text(RUN.format(path=sys.path[:2], folder=str(folder), patience=patience, output=output))
    return subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True)


def stop_and_go(run: subprocess.Popen, patience: float) -> int:
    """Stops the group of the run for twice the patience, lets it go for some seconds, until it ends; how often."""
    count = 0
    while run.poll() is None:
        os.killpg(run.pid, signal.SIGSTOP)
        time.sleep(2 * patience)
        os.killpg(run.pid, signal.SIGCONT)
        count += 1
        time.sleep(4.0)
    return count


def main() -> int:
    asked = argparse.ArgumentParser()
    asked.add_argument("--busy", type=int, default=25)
    asked.add_argument("--patience", type=float, default=5.0)
    asked.add_argument("--films", type=int, default=4)
    given = asked.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "films").mkdir()
        for number in range(given.films):
            make_video(folder / "films" / f"{number}.mp4", frames=600, size=(640, 480))
        hands = {
            f"{film}.mp4#{frame}": [[10, 10, 60, 60]] for film in range(given.films) for frame in range(0, 600, 50)
        }
        make_boxes(folder / "boxes.json", hands, side="left")
        for name in ("alone", "busy", "stopped"):
            others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(given.busy * (name == "busy"))]
            begun = time.monotonic()
            try:
                run = start(folder, f"{name}.h5", given.patience)
                stops = stop_and_go(run, given.patience) if name == "stopped" else 0
                said = run.communicate()[0].strip()
            finally:
                for other in others:
                    other.kill()
                    other.wait()
            same = run.returncode == 0 and is_same(folder / "alone.h5", folder / f"{name}.h5")
            wrong += not same or f"'done': {given.films}" not in said
            stopped = f", stopped {stops} times" if stops else ""
            print(f"{name}: {time.monotonic() - begun:.0f} s{stopped}, {said}, the same tables: {same}", flush=True)
    return int(wrong > 0)


def is_same(one: Path, other: Path) -> bool:
    first, second = tables_of(one), tables_of(other)
    equal = (np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f") for name in first)
    return first.keys() == second.keys() and all(equal)


if __name__ == "__main__":
    sys.exit(main())
