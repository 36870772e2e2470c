"""decode + crop + encode (no detector) beside a bare PyAV loop that only decodes: 1080p H.264 at 30 fps, one kept frame
a second.

    python tests/benchmarks/bench_extract.py [SECONDS_OF_VIDEO] [ROUNDS]

Both sides decode with one thread, in turns, in one run; medians are compared: ours with every frame decoded, as the
bare loop does, and with those that kept frames need. Wanted: at least 0.8 of the bare loop's frame rate in the worker's
own loop with every frame decoded, and two workers at least 1.7 x one on two cores (whole stage on four videos, start
of the processes included).
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1])]

from footage import make_boxes, run_stage  # noqa: E402

from handtool.config import ExtractConfig  # noqa: E402
from handtool.extraction.reading import open_finder  # noqa: E402
from handtool.sources.find import find_videos  # noqa: E402
from handtool.sources.folder_chunks import Item  # noqa: E402
from handtool.stages.extract import extract  # noqa: E402
from handtool.vision.hand_finder import FinderSettings  # noqa: E402


def make_hd_video(path: Path, seconds: int) -> Path:
    """A textured ground that pans, so that the decoder has motion and residuals to do."""
    rng = np.random.default_rng(5)
    ground = np.kron(rng.integers(0, 255, (180, 320, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number in range(30 * seconds):
            view = ground[number % 300 : number % 300 + 1080, (2 * number) % 600 : (2 * number) % 600 + 1920]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(view), format="rgb24")))
        container.mux(stream.encode())
    return path


def bare(path: Path) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def ours(path: Path, boxes: Path, decode: str) -> int:
    work = open_finder(FinderSettings(ExtractConfig(decode=decode), str(boxes)), path.parent)
    (outcome,) = work(Item(0, 0, find_videos([path]).videos[0]), lambda: None)
    assert outcome["hands"] == 2 * outcome["sampled"]
    return outcome["decoded"]


def rate(function, *arguments) -> float:
    start = time.perf_counter()
    return function(*arguments) / (time.perf_counter() - start)


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as folder:
        path = make_hd_video(Path(folder) / "hd.mp4", seconds)
        hands = [[400, 300, 300, 280], [1100, 200, 350, 400]]
        boxes = make_boxes(Path(folder) / "boxes.json", {f"hd.mp4#{30 * n}": hands for n in range(seconds)})
        ways = [(bare, path), (ours, path, boxes, "all"), (ours, path, boxes, "auto")]
        rounds_of = [[rate(*way) for way in ways] for _ in range(rounds)]
        alone, with_crops, needed = (statistics.median(side) for side in zip(*rounds_of, strict=True))
        print(f"bare decode        {alone:8.1f} frames/s")
        print(f"decode+crop+encode {with_crops:8.1f} frames/s   ratio {with_crops / alone:.3f} (wanted >= 0.8)")
        print(f"  what is needed   {needed:8.1f} frames/s   ratio {needed / alone:.3f}")
        copies = [Path(folder) / f"{number}" / "hd.mp4" for number in range(4)]
        for copy in copies:
            copy.parent.mkdir()
            copy.write_bytes(path.read_bytes())
        spent = {}
        for workers in (1, 2):
            start = time.perf_counter()
            run_stage(extract, copies, Path(folder) / f"{workers}.h5", ExtractConfig(workers=workers), boxes=boxes)
            spent[workers] = time.perf_counter() - start
        print(
            f"4 videos: 1 worker {spent[1]:.1f} s, 2 workers {spent[2]:.1f} s   ratio {spent[1] / spent[2]:.2f} "
            "(wanted >= 1.7, idle cores)"
        )


if __name__ == "__main__":
    main()
