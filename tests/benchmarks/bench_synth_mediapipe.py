"""Do they look like hands? The share of synth's crops that MediaPipe finds, and how far its keypoints are from the
truth.

    python tests/benchmarks/bench_synth_mediapipe.py [--videos 40] [--frames 6] [--size 224] [--seed 5]

Needs the extra `mediapipe`. Wanted: more than 60 % found at the easy setting.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (2, 1)]

from looking import look_at_synth  # noqa: E402

from handtool.synth.setting import SETTINGS  # noqa: E402
from handtool.vision.mediapipe import open_hands  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("videos", 40), ("frames", 6), ("size", 224), ("seed", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    hands = open_hands(2, 0.5)
    print(
        f"{'difficulty':<10} {'crops':>6} {'found %':>8} {'side right %':>13} {'error, % of the extent: median':>31} "
        f"{'mean':>6} {'p90':>6}"
    )
    for difficulty in SETTINGS:
        sight = look_at_synth(hands, difficulty, range(args.videos), args.frames, args.size, args.seed)
        error = 100 * sight.errors
        figures = (
            f"{100 * sight.found:>8.1f} {100 * sight.sides.mean():>13.1f} {np.median(error):>31.2f} "
            f"{error.mean():>6.2f}"
        )
        print(f"{difficulty:<10} {sight.looked:>6} {figures} {np.quantile(error, 0.9):>6.2f}")


if __name__ == "__main__":
    main()
