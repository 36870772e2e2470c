"""Pre-training with encoders of several families beside their bare networks, in one run: speed and memory.

    python tests/benchmarks/bench_encoders.py --gpus 0 --pairs 32 --steps 2 --rounds 1
    python tests/benchmarks/bench_encoders.py --gpus 1 --pairs 256 --steps 20

Each encoder and size runs in a process of its own, so that the peak of memory is its own; what is compared is
explained in bench_pretrain.py, of which this is a table.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

# a ViT takes multiples of its patches: 126 instead of 128 px
ENCODERS = {
    "resnet50": (128, 224),
    "timm:convnext_tiny": (128, 224),
    "timm:vit_small_patch14_dinov2": (126, 224),
    "timm:vit_base_patch16_224": (128, 224),
}
FIGURES = re.compile(
    r"peak memory of pretrain ([\d.]+).*pretrain ([\d.]+) pairs/s.*bare ([\d.]+) pairs/s, ratio ([\d.]+)", re.S
)


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--gpus", type=int, default=0)
    asked.add_argument("--pairs", type=int, default=32, help="a step; with few, the optimiser tells")
    asked.add_argument("--steps", type=int, default=3)
    asked.add_argument("--rounds", type=int, default=2)
    given = asked.parse_args()
    print("| encoder | px | pretrain, pairs/s | bare, pairs/s | ratio | peak, GiB |\n|---|---|---|---|---|---|")
    for arch, sizes in ENCODERS.items():
        for size in sizes:
            memory, whole, bare, ratio = measure(arch, size, given)
            print(f"| {arch} | {size} | {whole} | {bare} | {ratio} | {memory} |", flush=True)


def measure(arch: str, size: int, given: argparse.Namespace) -> tuple[str, ...]:
    numbers = vars(given) | {"input-size": size}
    options = [part for name, number in numbers.items() for part in (f"--{name}", str(number))]
    script = Path(__file__).with_name("bench_pretrain.py")
    command = [sys.executable, str(script), "--arch", arch, "--only", "training", "--hands", "64", *options]
    said = subprocess.run(command, capture_output=True, text=True)
    if not (found := FIGURES.search(said.stdout)):
        return "-", "-", "-", (said.stderr.strip().splitlines() or ["nothing said"])[-1][:80]
    return found[1], found[2], found[3], found[4]


if __name__ == "__main__":
    main()
