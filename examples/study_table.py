"""The table of a study: errors of every method at every label fraction, and the gain of each over one of them.

    python examples/study_table.py FOLDER REFERENCE METHOD...

Reads FOLDER/result-METHOD-FRACTION-SEED.h5. A figure is the mean over seeds, with the smallest and largest. The gain
says by how many percent the mean PA-MPJPE is lower than the reference's. Its 95 % interval draws test videos and seeds
with replacement, the same for both (the cluster bootstrap), because hands of one video are alike, and so are models of
one seed.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from handtool import store
from handtool.store import CROPS

DRAWS = 4000


def read_results(folder: Path, methods: list[str]) -> dict[tuple[str, str], dict[int, dict]]:
    """(method, fraction) -> seed -> its figures and, of each hand, the error (N,) mm and the video (N,)."""
    found: dict[tuple[str, str], dict[int, dict]] = {}
    for method in methods:
        for path in sorted(folder.glob(f"result-{method}-*.h5")):
            if not (named := re.fullmatch(rf"result-{re.escape(method)}-([\d.]+)-(\d+)\.h5", path.name)):
                continue
            with store.open_file(path) as file:
                metrics = store.read_metrics(file)
                pa, root = metrics["pa_mpjpe"], metrics["mpjpe_root"]
                figures = {"pa": pa["mean_mm"], "root": root["mean_mm"], "auc": pa["auc_0_50mm"]}
                figures |= {
                    "each": metrics["per_hand"]["pa_mpjpe_mm"].astype(float),
                    "video": store.read_column(file, CROPS.video),
                }
            found.setdefault((method, named[1]), {})[int(named[2])] = figures
    return found


def video_means(seeds: Mapping[int, dict]) -> np.ndarray:
    """(seeds, videos) mean error of each video, mm."""
    rows = []
    for figures in seeds.values():
        known = np.isfinite(figures["each"])
        rows.append(np.bincount(figures["video"][known], figures["each"][known]) / np.bincount(figures["video"][known]))
    return np.array(rows)


def gain(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Percent by which ours, (seeds, videos), is lower than theirs, and the ends of the interval."""
    rng, (seeds, videos) = np.random.default_rng(0), ours.shape
    drawn_seeds, drawn_videos = rng.integers(0, seeds, (DRAWS, seeds, 1)), rng.integers(0, videos, (DRAWS, 1, videos))
    drawn = [errors[drawn_seeds, drawn_videos].mean((1, 2)) for errors in (ours, theirs)]
    low, high = np.percentile(100 * (1 - drawn[0] / drawn[1]), (2.5, 97.5))
    return 100 * (1 - ours.mean() / theirs.mean()), low, high


def main() -> None:
    folder, reference, *methods = Path(sys.argv[1]), *sys.argv[2:]
    results = read_results(folder, [*methods, reference])
    head = f"{'labels':>7s} {'method':22s} {'PA-MPJPE, mm':>22s} {'root-relative, mm':>22s} {'AUC 0-50':>9s}"
    print(f"{head}  gain over {reference}, %")
    for fraction in sorted({fraction for _, fraction in results}, key=float):
        for method in methods:
            if not (seeds := results.get((method, fraction))):
                continue
            pa, root = (np.array([figures[name] for figures in seeds.values()]) for name in ("pa", "root"))
            spread = [f"{values.mean():6.2f} ({values.min():.2f} to {values.max():.2f})" for values in (pa, root)]
            auc = np.mean([figures["auc"] for figures in seeds.values()])
            line = f"{100 * float(fraction):6g}% {method:22s} {spread[0]:>22s} {spread[1]:>22s} {auc:9.3f}"
            theirs = results.get((reference, fraction), {})
            if method != reference and (common := sorted(seeds.keys() & theirs.keys())):
                percent, low, high = gain(
                    *(video_means({seed: each[seed] for seed in common}) for each in (seeds, theirs))
                )
                line += f"  {percent:+6.1f} ({low:+.1f} to {high:+.1f})"
            print(line)


if __name__ == "__main__":
    main()
