"""The table of examples/study_real.sh: errors of every method for every number of labels, beside MediaPipe's own.

    python examples/study_real_table.py FOLDER

Reads train.h5, test.h5 and result-METHOD-LABELS-SEED.h5. The gain says by how many percent PA-MPJPE is lower than that
of MediaPipe as it is, on the hands that both know. Its 95 % interval draws videos with replacement, or, where the test
has fewer than ten, blocks of ten hands that follow each other; and seeds, where there are several.
"""

import sys
from pathlib import Path

import numpy as np
from mean_pose import predict_mean
from study_table import gain, read_results, video_means

METHODS = ("scratch", "simhand", "handtool", "scratch+pool", "handtool+pool", "scratch+own", "correction")
ESTIMATOR = ("mediapipe", "0", "")
BLOCK = 10  # hands


def in_blocks(figures: dict, known: np.ndarray) -> dict:
    """The same figures, of the known hands alone, with blocks of hands in place of few videos."""
    video = figures["video"]
    units = video if len(set(video)) >= BLOCK else video * len(video) + np.arange(len(video)) // BLOCK
    each, unit = figures["each_pa"][known], np.unique(units[known], return_inverse=True)[1]
    return {"each_pa": each, "video": unit}


def compare(ours: dict[int, dict], theirs: dict) -> tuple[float, float, float]:
    """The gain over `theirs`, in percent, and its interval. ours: seed -> figures."""
    known = np.isfinite(theirs["each_pa"]) & np.all([np.isfinite(each["each_pa"]) for each in ours.values()], axis=0)
    seeds = {seed: in_blocks(each, known) for seed, each in ours.items()}
    return gain(video_means(seeds, "each_pa"), video_means(dict.fromkeys(seeds, in_blocks(theirs, known)), "each_pa"))


def lay_out(name: str, labels: str, pa: np.ndarray, root: np.ndarray) -> str:
    cells = [
        f"{values.mean():6.2f}" + (f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else "")
        for values in (pa, root)
    ]
    return f"{labels:>7s} {name:16s} {cells[0]:>24s} {cells[1]:>24s}"


def main(folder: Path) -> None:
    results = read_results(folder, [*METHODS, ESTIMATOR[0]])
    print(f"{'labels':>7s} {'method':16s} {'PA-MPJPE, mm':>24s} {'root-relative, mm':>24s}  gain over mediapipe, %")
    mean = predict_mean(str(folder / "train.h5"), str(folder / "test.h5"))
    figures = [np.array([mean[protocol]["mean_mm"]]) for protocol in ("pa_mpjpe", "mpjpe_root")]
    print(lay_out("mean pose", "all", *figures))
    for row, seeds in sorted(results.items(), key=lambda each: (int(each[0][1]), order(each[0][0]))):
        pa, root = (np.array([each[name] for each in seeds.values()]) for name in ("pa", "root"))
        line = lay_out(*row[:2], pa, root)
        if row != ESTIMATOR:
            line += "  {:+6.1f} ({:+.1f} to {:+.1f})".format(*compare(seeds, results[ESTIMATOR][1]))
        print(line)


def order(method: str) -> int:
    return METHODS.index(method) if method in METHODS else -1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
