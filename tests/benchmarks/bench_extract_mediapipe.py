"""extract with MediaPipe against a bare loop that decodes with PyAV and calls MediaPipe on the same frames, in turn.

    python tests/benchmarks/bench_extract_mediapipe.py VIDEO [EVERY [ROUNDS]]

Needs the extra `mediapipe-solutions`. extract also cuts out, encodes, links and saves the hands; opening the detector
is left out on both sides.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2])]

from handtool.config import ExtractConfig  # noqa: E402
from handtool.extraction.reading import open_finder  # noqa: E402
from handtool.sources.find import find_videos  # noqa: E402
from handtool.sources.folder_chunks import Item  # noqa: E402
from handtool.vision.hand_finder import FinderSettings  # noqa: E402


def open_bare(min_score: float):
    import mediapipe

    hands = mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=8, min_detection_confidence=min_score)
    hands.process(np.zeros((64, 64, 3), np.uint8))
    return hands


def bare(hands, path: Path, every: int) -> tuple[int, int]:
    """Frames looked at, hands found."""
    looked = found = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number % every == 0:
                result = hands.process(frame.to_ndarray(format="rgb24"))
                looked, found = looked + 1, found + len(result.multi_hand_landmarks or ())
    return looked, found


def ours(work, video) -> tuple[int, int]:
    (outcome,) = work(Item(0, 0, video), lambda: None)
    return outcome["sampled"], outcome["hands"]


def timed(function, *arguments) -> tuple[float, int]:
    start = time.perf_counter()
    looked, found = function(*arguments)
    return looked / (time.perf_counter() - start), found


def main() -> None:
    path, every = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    config = ExtractConfig(every=every)
    (video,) = find_videos([path]).videos
    with tempfile.TemporaryDirectory() as folder:
        hands, work = open_bare(config.min_score), open_finder(FinderSettings(config), Path(folder))
        bare(hands, path, 50), ours(work, video)  # both warm
        pairs = [(timed(bare, hands, path, every), timed(ours, work, video)) for _ in range(rounds)]
    (alone, found), (with_crops, kept) = (
        (statistics.median(rate for rate, _ in side), side[0][1]) for side in zip(*pairs, strict=True)
    )
    print(f"bare PyAV + MediaPipe {alone:7.2f} frames/s, {found} hands")
    print(
        f"extract               {with_crops:7.2f} frames/s, {kept} hands   ratio {with_crops / alone:.3f} (wanted >= "
        "0.9)"
    )


if __name__ == "__main__":
    main()
