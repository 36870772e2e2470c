"""Does extract need more memory for a longer video? Peak of the process and of its worker, ten minutes against one,
both generated.

python tests/benchmarks/bench_extract_memory.py [MINUTES [FPS]]
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2])]

from footage import run_stage  # noqa: E402

from handtool.config import ExtractConfig  # noqa: E402
from handtool.stages.extract import extract  # noqa: E402

SIZE = (640, 360)


def make_long_video(path: Path, minutes: float) -> Path:
    rng = np.random.default_rng(5)
    ground = np.kron(rng.integers(0, 255, (60, 110, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(int(30 * 60 * minutes)):
            x, y = number % 200, number // 7 % 100
            view = np.ascontiguousarray(ground[y : y + SIZE[1], x : x + SIZE[0]])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())
    return path


def measure(path: str, fps: str, output: str) -> None:
    """In a process of its own: its peak and that of its worker, MiB."""
    report = run_stage(extract, [Path(path)], Path(output), ExtractConfig(whole=True, fps=float(fps), workers=1))
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps([report["accounting"][2]["done"], *peaks]))


def main() -> None:
    minutes, fps = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0, sys.argv[2] if len(sys.argv) > 2 else "2"
    with tempfile.TemporaryDirectory() as folder:
        peaks = {}
        for length in (1.0, minutes):
            path = make_long_video(Path(folder) / f"{length:g}.mp4", length)
            command = [sys.executable, str(HERE), "--measure", str(path), fps, str(path.with_suffix(".h5"))]
            hands, *peaks[length] = json.loads(
                subprocess.run(command, capture_output=True, text=True, check=True).stdout
            )
            print(
                f"{length:4g} min, {hands:5d} hands: peak {peaks[length][0]:6.1f} MiB, of the worker "
                f"{peaks[length][1]:6.1f} MiB"
            )
        ratios = [long / short for short, long in zip(peaks[1.0], peaks[minutes])]
        print(f"ratio {ratios[0]:.3f}, of the worker {ratios[1]:.3f} (wanted <= 1.10)")


if __name__ == "__main__":
    measure(*sys.argv[2:]) if sys.argv[1:2] == ["--measure"] else main()
