"""The table of a study: errors of every method at every label fraction and budget, and its gains over some of them.

    python examples/study_table.py FOLDER REFERENCE[,REFERENCE...] METHOD...

Reads FOLDER/result-METHOD-FRACTION-BUDGET-SEED.h5. A figure is the mean over seeds, with the smallest and largest. A
gain says by how many percent the mean PA-MPJPE, and after the slash the root-relative error, is lower than the
reference's at the same budget. Its 95 % interval draws test videos and seeds with replacement, the same for both (the
cluster bootstrap), because hands of one video are alike, and so are models of one seed.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from handtool import store
from handtool.store import CROPS

DRAWS = 4000
PROTOCOLS = {"pa": "pa_mpjpe", "root": "mpjpe_root"}


Row = tuple[str, str, str]  # method, fraction or number of labels, budget ("": the study has none)


def read_results(folder: Path, methods: list[str]) -> dict[Row, dict[int, dict]]:
    """Row -> seed -> its figures and, of each hand, both errors (N,) mm and the video (N,)."""
    found: dict[Row, dict[int, dict]] = {}
    for method in methods:
        for path in sorted(folder.glob(f"result-{method}-*.h5")):
            if not (named := re.fullmatch(rf"result-{re.escape(method)}-([\d.]+)-(?:(\d+)-)?(\d+)\.h5", path.name)):
                continue
            with store.open_file(path) as file:
                metrics = store.read_metrics(file)
                figures = {"auc": metrics["pa_mpjpe"]["auc_0_50mm"], "video": store.read_column(file, CROPS.video)}
                for short, name in PROTOCOLS.items():
                    each = metrics["per_hand"][f"{name}_mm"].astype(float)
                    figures |= {short: metrics[name]["mean_mm"], f"each_{short}": each}
            found.setdefault((method, named[1], named[2] or ""), {})[int(named[3])] = figures
    return found


def video_means(seeds: Mapping[int, dict], each: str = "each") -> np.ndarray:
    """(seeds, videos) mean error of each video, mm."""
    rows = []
    for figures in seeds.values():
        known = np.isfinite(figures[each])
        video, errors = figures["video"][known], figures[each][known]
        rows.append(np.bincount(video, errors) / np.bincount(video))
    return np.array(rows)


def gain(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Percent by which ours, (seeds, videos), is lower than theirs, and the ends of the interval."""
    rng, (seeds, videos) = np.random.default_rng(0), ours.shape
    drawn_seeds, drawn_videos = rng.integers(0, seeds, (DRAWS, seeds, 1)), rng.integers(0, videos, (DRAWS, 1, videos))
    drawn = [errors[drawn_seeds, drawn_videos].mean((1, 2)) for errors in (ours, theirs)]
    low, high = np.percentile(100 * (1 - drawn[0] / drawn[1]), (2.5, 97.5))
    return 100 * (1 - ours.mean() / theirs.mean()), low, high


def write_gains(seeds: Mapping[int, dict], theirs: Mapping[int, dict]) -> str:
    """Both gains, each with its interval, over the seeds that both have; nothing if there are none."""
    common = sorted(seeds.keys() & theirs.keys())
    if not common:
        return ""
    told = []
    for short in PROTOCOLS:
        ours, other = (video_means({seed: of[seed] for seed in common}, f"each_{short}") for of in (seeds, theirs))
        told.append("{:+.1f} ({:+.1f} to {:+.1f})".format(*gain(ours, other)))
    return " / ".join(told)


def main() -> None:
    folder, references, methods = Path(sys.argv[1]), sys.argv[2].split(","), list(dict.fromkeys(sys.argv[3:]))
    results = read_results(folder, list(dict.fromkeys(methods + references)))
    head = f"{'labels':>7s} {'budget':>7s} {'method':22s} {'PA-MPJPE, mm':>22s} {'root-relative, mm':>22s}"
    print(f"{head} {'AUC 0-50':>8s}" + "".join(f"  {f'gain over {name}, %: PA / root':42s}" for name in references))
    for fraction, budget in sorted({key[1:] for key in results}, key=lambda key: (float(key[0]), int(key[1]))):
        for method in methods:
            if not (seeds := results.get((method, fraction, budget))):
                continue
            line = f"{100 * float(fraction):6g}% {budget:>7s} {method:22s}"
            for short in PROTOCOLS:
                values = np.array([figures[short] for figures in seeds.values()])
                line += f" {f'{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})':>22s}"
            line += f" {np.mean([figures['auc'] for figures in seeds.values()]):8.3f}"
            for name in references:
                told = "" if name == method else write_gains(seeds, results.get((name, fraction, budget), {}))
                line += f"  {told:42s}"
            print(line.rstrip())


if __name__ == "__main__":
    main()
