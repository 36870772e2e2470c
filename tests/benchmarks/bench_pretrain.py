# ruff: noqa: E402
"""Pre-training from JPEG crops in HDF5 beside bare torchvision on tensors that are already there, in one run.

    python tests/benchmarks/bench_pretrain.py --gpus 0 --pairs 32 --steps 6
    python tests/benchmarks/bench_pretrain.py --gpus 1 --pairs 1024 --steps 30

Bare is forward, backward and torch's own Adam of torchvision's (or timm's) network on both views of as many pairs, in
the same precision, in the faster of both memory layouts; OpenMP waits as in handtool. The loader alone stands beside
OpenCV decoding the same JPEGs from memory in as many threads; views beside what the published pipelines do for each
(the whole frame decoded, turned, cut, resized and coloured by OpenCV). The parts take turns and the best of `--rounds`
counts, so that a busy machine hurts both alike.
`--only data` leaves out the training, `--only training` the rest.

    python tests/benchmarks/bench_pretrain.py --only methods --arch resnet18 --input-size 64 --pairs 64

A step of each method beside one of simhand, in CPU time of all threads, which a busy machine disturbs less.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from handtool.cores import settle_openmp

settle_openmp()  # before torch is loaded, as the command line does

import cv2
import numpy as np
import torch
import torchvision

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from making import record, write_crops, write_videos

from handtool import store
from handtool.config import METHODS, PretrainConfig
from handtool.nn.files.data import Crops
from handtool.nn.files.loader import count_workers, read_crops
from handtool.nn.views.views import DRAWS, IMAGENET_MEAN, IMAGENET_STD, ViewRanges, make_views, render
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
    asked.add_argument(
        "--compile", action="store_true", help="pretrain --compile as well, and the bare network compiled"
    )
    asked.add_argument("--only", choices=("training", "data", "methods"))
    given = asked.parse_args()
    device = "cuda" if given.gpus else "cpu"
    print(
        f"{given.arch}, {given.input_size} px, {given.pairs} pairs a step, {device}, {torch.get_num_threads()} "
        f"threads, torch {torch.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        source = make_pairs(Path(folder) / "pairs.h5", max(given.hands, given.pairs))
        if given.only == "methods":
            compare_methods(source, Path(folder), given)
        if given.only in (None, "training"):
            compare_training(source, Path(folder), given, device)
            if given.compile:
                print("compiled:")
                compare_training(source, Path(folder), given, device, compiled=True)
        if given.only in (None, "data"):
            compare_data(source, given)


def compare_training(
    source: Path, folder: Path, given: argparse.Namespace, device: str, compiled: bool = False
) -> tuple[float, float]:
    """Prints the rounds and their ratio. Returns the best of both, pairs/s."""
    whole, bare, used = [], [], []
    for turn in range(given.rounds):
        with watch_gpu(used):
            whole.append(time_stage(source, folder / f"{compiled}-{turn}.h5", given, compiled))
        if not turn:
            print(f"peak memory of pretrain {peak_gib(device):.2f} GiB on the {device}")
        bare.append(
            max(time_bare(given, device, layout, compiled) for layout in (torch.contiguous_format, torch.channels_last))
        )
        print(f"round {turn}: pretrain {whole[-1]:.1f} pairs/s, bare {bare[-1]:.1f} pairs/s", flush=True)
    print(
        f"pretrain {max(whole):.1f} pairs/s = {2 * max(whole):.1f} images/s, bare {max(bare):.1f} pairs/s, ratio "
        f"{max(whole) / max(bare):.3f}"
    )
    if used:  # start and end of each run are in it: read it of long runs
        print(
            f"GPU used {np.mean(used):.0f} % of the time, median {np.median(used):.0f} %, "
            f"{torch.cuda.get_device_name()}"
        )
    return max(whole), max(bare)


def compare_methods(source: Path, folder: Path, given: argparse.Namespace) -> None:
    """Prints the CPU time of a step of every method, the least of the rounds, and its ratio to that of simhand."""
    given.workers = given.workers or 1
    times: dict[str, list[float]] = {method: [] for method in METHODS}
    for turn in range(given.rounds):
        for method, seconds in times.items():
            used = []
            for steps in (WARM_UP, given.steps + WARM_UP):
                begun = time.process_time()
                run_stage(source, folder / f"{method}-{turn}-{steps}.h5", given, method=method, steps=steps)
                used.append(time.process_time() - begun)
            seconds.append((used[1] - used[0]) / given.steps)
    for method, seconds in times.items():
        ratio = min(seconds) / min(times["simhand"])
        print(f"{method:10s} {1000 * min(seconds):7.0f} ms a step, {ratio:.3f} of simhand")


def compare_data(source: Path, given: argparse.Namespace) -> None:
    processes = count_workers(given.workers)
    loader, memory, ours, published = (
        max(figures) for figures in zip(*(data_round(source, given, processes) for _ in range(given.rounds)))
    )
    print(
        f"loader {loader:.0f} crops/s with {processes} processes, the same JPEGs from memory {memory:.0f} crops/s in "
        f"as many threads, {loader / memory:.2f}"
    )
    print(
        f"one thread, from JPEG to pixels: ours {ours:.0f} views/s, from whole frames with OpenCV {published:.0f} "
        f"views/s, {ours / published:.1f} x"
    )


def data_round(source: Path, given: argparse.Namespace, processes: int) -> tuple[float, float, float, float]:
    with store.open_file(source) as file:
        crops = Crops(file)
        rows = np.arange(64)
        return (
            *time_loader(crops, processes),
            time_views(crops, rows, given.input_size),
            time_published(given.input_size),
        )


def make_pairs(path: Path, count: int, size: int = 224) -> Path:
    """Random hands; each is paired with the next."""
    rng = np.random.default_rng(0)
    xy = size / 2 + rng.normal(0, size / 8, (count, 21, 2))
    with store.create_file(path, record()) as sink:
        write_videos(sink, 1)
        hands = {"xy": xy, "camera": np.full((count, 3, 3), np.nan)}
        write_crops(sink, np.zeros(count, int), rng.integers(0, 2, count), hands, rng, size)
        store.write_table(
            sink,
            KEYPOINTS,
            dict(xy=xy, score=np.ones((count, 21)), valid=np.ones(count, bool)),
            {"skeleton": "hand21", "model": "drawn"},
        )
        places = np.arange(count)
        store.write_table(
            sink,
            PAIRS,
            dict(
                anchor=places,
                positive=(places + 1) % count,
                distance=0.0 * places,
                rank=np.ones(count, int),
                anchor_offset=np.arange(count + 1),
            ),
            {"topk": 1, "index": "exact", "pool_uuid": ""},
        )
        sink.finish({})
    return path


def time_stage(source: Path, out: Path, given: argparse.Namespace, compiled: bool) -> float:
    """Pairs/s of the stage between its steps, from the times of its own curve."""
    run_stage(source, out, given, compile=compiled, steps=given.steps + WARM_UP)
    with store.open_file(out) as product:
        seconds = store.read_column(product, CURVE.seconds)
    return given.pairs * given.steps / (seconds[-1] - seconds[WARM_UP - 1])


def run_stage(source: Path, out: Path, given: argparse.Namespace, **settings: object) -> None:
    config = PretrainConfig(
        arch=given.arch,
        init="scratch",
        input_size=given.input_size,
        batch_size=given.pairs,
        gpus=given.gpus,
        workers=given.workers,
        **settings,
    )
    with (
        store.open_file(source) as file,
        store.open_job(out, record()) as job,
        store.create_file(out, record(), [file]) as sink,
    ):
        sink.finish(pretrain(file, sink, config, job))
        job.remove()


def time_bare(given: argparse.Namespace, device: str, layout: torch.memory_format, compiled: bool) -> float:
    network = make_bare(given.arch, given.input_size).to(device, memory_format=layout).train()
    optimiser = torch.optim.Adam(network.parameters())
    run = torch.compile(network) if compiled else network
    images = torch.randn(2 * given.pairs, 3, given.input_size, given.input_size, device=device).contiguous(
        memory_format=layout
    )
    for step in range(given.steps + WARM_UP):
        if step == WARM_UP:
            wait(device)
            begun = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            out = run(images)
        optimiser.zero_grad()
        out.float().square().mean().backward()
        optimiser.step()
    wait(device)
    return given.pairs * given.steps / (time.perf_counter() - begun)


def make_bare(arch: str, size: int) -> torch.nn.Module:
    if not arch.startswith("timm:"):
        return getattr(torchvision.models, arch)()
    import timm

    name = arch.removeprefix("timm:")
    fixed = {"img_size": size} if timm.models.get_pretrained_cfg(name).fixed_input_size else {}
    return timm.create_model(name, num_classes=0, **fixed)


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak_gib(device: str) -> float:
    return (
        torch.cuda.max_memory_allocated()
        if device == "cuda"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ) / 2**30


@contextmanager
def watch_gpu(used: list[float]):
    """Appends what nvidia-smi says of the first GPU every half second, in % of the time; nothing where there is
    none."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
            used.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))

    watcher = threading.Thread(target=look)
    if torch.cuda.is_available() and shutil.which("nvidia-smi"):
        watcher.start()
    try:
        yield
    finally:
        over.set()
        if watcher.is_alive():
            watcher.join()


def time_loader(crops: Crops, processes: int, count: int = 60, size: int = 256) -> tuple[float, float]:
    """Crops/s of the loader alone, and of OpenCV on the same bytes held in memory, in as many threads."""
    batches = [(np.arange(size) + size * i) % len(crops) for i in range(count)]
    loaded = read_crops(crops, batches, processes)
    next(loaded)
    begun = time.perf_counter()
    loader = sum(len(batch) for batch in loaded) / (time.perf_counter() - begun)
    jpegs = [[crops.bytes_of(int(row)) for row in batch] for batch in batches[1:]]
    with ThreadPoolExecutor(processes) as threads:
        begun = time.perf_counter()
        list(threads.map(decode_all, jpegs))
        return loader, size * len(jpegs) / (time.perf_counter() - begun)


def decode_all(jpegs: list[bytes]) -> None:
    for jpeg in jpegs:
        cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def time_views(crops: Crops, rows: np.ndarray, size: int) -> float:
    """Views/s of decoding a crop and making one view of it."""
    rng, xy = np.random.default_rng(0), torch.full((len(rows), 21, 2), crops.size / 2).double()
    xy += torch.from_numpy(rng.normal(0, crops.size / 8, xy.shape))
    with one_thread():
        for _ in range(2):  # the first one warms up
            begun = time.perf_counter()
            render(
                crops.decode(rows),
                make_views(xy, rng.random((len(xy), DRAWS)), ViewRanges(), size, crops.size),
                torch.zeros(len(rows), dtype=torch.bool),
            )
    return len(rows) / (time.perf_counter() - begun)


def time_published(size: int, frame: tuple[int, int] = (720, 1280), count: int = 24) -> float:
    """Views/s where each begins at a JPEG of a whole frame, as the published pipelines do it: method and ranges of
    views.py, in OpenCV."""
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (*frame, 3), np.uint8), (0, 0), 3)
    jpeg, middle, radius = (
        cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1],
        np.array(frame[::-1]) / 2,
        90.0,
    )
    with one_thread():
        begun = time.perf_counter()
        for _ in range(count):
            image = cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            turn = cv2.getRotationMatrix2D(tuple(middle), int(rng.integers(-45, 46)), 1.0)
            image = cv2.warpAffine(image, turn, frame[::-1])
            half, (x, y) = radius * rng.uniform(0.9, 1.5), middle + rng.uniform(-15, 15, 2)
            view = cv2.resize(image[int(y - half) : int(y + half), int(x - half) : int(x + half)], (size, size))
            hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV).astype(np.float32) * rng.uniform((0.01, 0.01, 0.5), 1.0) + (
                0,
                0,
                rng.uniform(5, 20),
            )
            view = cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)
            torch.from_numpy(((view / 255.0 - IMAGENET_MEAN) / IMAGENET_STD).astype(np.float32)).permute(2, 0, 1)
        return count / (time.perf_counter() - begun)


@contextmanager
def one_thread():
    before, before_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(before_cv2)


if __name__ == "__main__":
    main()
