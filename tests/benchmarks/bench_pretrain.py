"""Pre-training from JPEG crops in HDF5 beside bare torchvision on tensors that are already there, in one run.

    python tests/benchmarks/bench_pretrain.py --gpus 0 --pairs 32 --steps 6
    python tests/benchmarks/bench_pretrain.py --gpus 1 --pairs 1024 --steps 30

Bare is forward and backward of torchvision's network on both views of as many pairs, in the same precision, in the faster of
both memory layouts. The parts take turns and the best of `--rounds` counts, so that a busy machine hurts both alike.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from making import record, write_crops, write_videos

from handtool import store
from handtool.config import PretrainConfig
from handtool.nn.data import Crops, count_workers, read_crops
from handtool.stages.pretrain import pretrain
from handtool.store import CURVE, KEYPOINTS, PAIRS

WARM_UP = 2  # steps that do not count


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--gpus", type=int, default=1 if torch.cuda.is_available() else 0)
    asked.add_argument("--pairs", type=int, default=1024 if torch.cuda.is_available() else 32, help="a step")
    asked.add_argument("--steps", type=int, default=20 if torch.cuda.is_available() else 5)
    asked.add_argument("--hands", type=int, default=2048)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--arch", default="resnet50")
    asked.add_argument("--input-size", type=int, default=128)
    asked.add_argument("--workers", type=int, default=0)
    given = asked.parse_args()
    device = "cuda" if given.gpus else "cpu"
    print(f"{given.arch}, {given.input_size} px, {given.pairs} pairs a step, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        source = make_pairs(Path(folder) / "pairs.h5", max(given.hands, given.pairs))
        whole, bare = [], []
        for turn in range(given.rounds):
            whole.append(time_stage(source, Path(folder) / f"{turn}.h5", given))
            bare.append(max(time_bare(given, device, layout) for layout in (torch.contiguous_format, torch.channels_last)))
            print(f"round {turn}: pretrain {whole[-1]:.1f} pairs/s, bare {bare[-1]:.1f} pairs/s", flush=True)
        print(f"pretrain {max(whole):.1f} pairs/s, bare {max(bare):.1f} pairs/s, ratio {max(whole) / max(bare):.3f}")
        loader, memory = time_loader(source, given.workers)
        print(f"loader {loader:.0f} crops/s with {count_workers(given.workers)} processes; JPEGs in memory {memory:.0f} crops/s in one thread")
        if device == "cuda":
            print(f"peak GPU memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on {torch.cuda.get_device_name()}")


def make_pairs(path: Path, count: int, size: int = 224) -> Path:
    """Random hands; each is paired with the next."""
    rng = np.random.default_rng(0)
    xy = size / 2 + rng.normal(0, size / 8, (count, 21, 2))
    with store.create_file(path, record()) as sink:
        write_videos(sink, 1)
        hands = {"xy": xy, "camera": np.full((count, 3, 3), np.nan)}
        write_crops(sink, np.zeros(count, int), rng.integers(0, 2, count), hands, rng, size)
        store.write_table(
            sink, KEYPOINTS, dict(xy=xy, score=np.ones((count, 21)), valid=np.ones(count, bool)), {"skeleton": "hand21", "model": "drawn"}
        )
        places = np.arange(count)
        store.write_table(
            sink, PAIRS,
            dict(anchor=places, positive=(places + 1) % count, distance=0.0 * places, rank=np.ones(count, int), anchor_offset=np.arange(count + 1)),
            {"topk": 1, "index": "exact", "pool_uuid": ""},
        )  # fmt: skip
        sink.finish({})
    return path


def time_stage(source: Path, out: Path, given: argparse.Namespace) -> float:
    """Pairs/s of the stage between its steps, from the times of its own curve."""
    config = PretrainConfig(
        arch=given.arch,
        init="scratch",
        input_size=given.input_size,
        batch_size=given.pairs,
        steps=given.steps + WARM_UP,
        gpus=given.gpus,
        workers=given.workers,
    )
    with store.open_file(source) as file, store.open_job(out, record()) as job, store.create_file(out, record(), [file]) as sink:
        sink.finish(pretrain(file, sink, config, job))
        job.remove()
    with store.open_file(out) as product:
        seconds = store.read_column(product, CURVE.seconds)
    return given.pairs * given.steps / (seconds[-1] - seconds[WARM_UP - 1])


def time_bare(given: argparse.Namespace, device: str, layout: torch.memory_format) -> float:
    network = getattr(torchvision.models, given.arch)().to(device, memory_format=layout).train()
    images = torch.randn(2 * given.pairs, 3, given.input_size, given.input_size, device=device).contiguous(memory_format=layout)
    for step in range(given.steps + WARM_UP):
        if step == WARM_UP:
            wait(device)
            begun = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            out = network(images)
        network.zero_grad()
        out.float().square().mean().backward()
    wait(device)
    return given.pairs * given.steps / (time.perf_counter() - begun)


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def time_loader(source: Path, workers: int) -> tuple[float, float]:
    """Crops/s of the loader alone, and of OpenCV on the same bytes held in memory."""
    with store.open_file(source) as file:
        crops = Crops(file)
        jpegs = [crops.jpegs[row] for row in range(min(512, len(crops)))]
    batches = read_crops(crops, [(np.arange(64) + 64 * i) % len(crops) for i in range(40)], count_workers(workers))
    next(batches)
    begun = time.perf_counter()
    count = sum(len(batch) for batch in batches)
    loader = count / (time.perf_counter() - begun)
    begun = time.perf_counter()
    for jpeg in jpegs:
        cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return loader, len(jpegs) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
