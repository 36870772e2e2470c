"""Keypoints per second beside a bare loop over the same crops, in turns in one run: with MediaPipe, and with an ONNX
model.

    python tests/benchmarks/bench_keypoints.py CROPS.h5 [MODEL.onnx] [ROUNDS]

CROPS.h5: of `handtool extract`, with hands that MediaPipe finds (extra `mediapipe-solutions`). The bare loop decodes
the JPEG with OpenCV, pads (or resizes and normalises) it and calls the library, on one thread; ours is the loop of one
worker, start of the process left out. Wanted: 0.9.
"""

import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1])]

from handtool import store  # noqa: E402
from handtool.config import KeypointsConfig  # noqa: E402
from handtool.stages.keypoints import EstimatorSettings, open_worker, read_block  # noqa: E402

BATCH = 8
MOST = 256  # hands


def decode(data: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def open_bare_mediapipe(block, jpegs):
    import mediapipe

    hands = mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=2, min_detection_confidence=0.5)

    def loop() -> int:
        found = 0
        for row, context in zip(block.rows, block.context):
            image = decode(jpegs[row])
            pad = round(len(image) * (1.95 / context - 1) / 2)
            found += bool(
                hands.process(cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT)).multi_hand_landmarks
            )
        return found

    return loop


def open_bare_onnx(block, jpegs, path: str):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    size = session.get_inputs()[0].shape[2]
    camera = np.tile(np.float32([[1.7 * size, 0, size / 2], [0, 1.7 * size, size / 2], [0, 0, 1]]), (BATCH, 1, 1))

    def loop() -> int:
        for start in range(0, len(block.rows), BATCH):
            crops = [cv2.resize(decode(jpegs[row]), (size, size)) for row in block.rows[start : start + BATCH]]
            images = ((np.stack(crops).astype(np.float32) / 255 - 0.45) / 0.22).transpose(0, 3, 1, 2)
            session.run(None, {"image": np.ascontiguousarray(images), "camera": camera[: len(images)]})
        return len(block.rows)

    return loop


def rate(loop, count: int) -> tuple[float, int]:
    start = time.perf_counter()
    found = loop()
    return count / (time.perf_counter() - start), found


def compare(name: str, bare, ours, count: int, rounds: int) -> None:
    bare(), ours()  # what is loaded late is loaded now
    pairs = [(rate(bare, count), rate(ours, count)) for _ in range(rounds)]
    (alone, found), (here, found_here) = (max(side) for side in zip(*pairs))
    ratio = statistics.median(b[0] / a[0] for a, b in pairs)
    print(
        f"{name:10s} bare {alone:7.1f} hands/s ({found} found)   ours {here:7.1f} hands/s ({found_here} found)   "
        f"ratio {ratio:.3f} (wanted >= 0.9)"
    )


def main() -> None:
    files = [argument for argument in sys.argv[1:] if not argument.isdigit()]
    rounds = next((int(argument) for argument in sys.argv[1:] if argument.isdigit()), 5)
    cv2.setNumThreads(1)
    with store.open_file(files[0]) as file:
        jpegs = store.open_jpegs(file)
        block = read_block(file, np.arange(min(len(jpegs), MOST)))
    for name, model in (("mediapipe", None), *(("onnx", path) for path in files[1:])):
        work = open_worker(EstimatorSettings(name, model, KeypointsConfig(name, device="cpu")), jpegs)

        def ours(work=work) -> int:
            return sum(int(part["found"].sum()) for part in work(block, lambda: None))

        bare = open_bare_mediapipe(block, jpegs) if name == "mediapipe" else open_bare_onnx(block, jpegs, model)
        compare(name, bare, ours, len(block.rows), rounds)


if __name__ == "__main__":
    main()
