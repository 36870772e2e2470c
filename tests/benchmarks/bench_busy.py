"""A training step on two threads while other processes want the same cores, by how OpenMP's threads wait.

    python tests/benchmarks/bench_busy.py [--sizes 32 64 128] [--busy 0 1 2] [--seconds 4] [--rounds 2]

Seconds a step (forward, backward, Adam) of ResNet-18 on 2 x 32 pictures, the least of the rounds; each setting in a
process of its own, in turns, beside 0, 1, 2 processes that only compute.
"""

import argparse
import os
import subprocess
import sys

SETTINGS = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"spin {count}": {"GOMP_SPINCOUNT": str(count)} for count in (300, 1000, 3000, 10_000, 30_000, 100_000)},
}
STEP = """
import sys, time, torch, torchvision
seconds, sizes = float(sys.argv[1]), map(int, sys.argv[3:])
torch.set_num_threads(int(sys.argv[2]))
network = torchvision.models.resnet18().to(memory_format=torch.channels_last)
adam = torch.optim.Adam(network.parameters(), fused=True)
for size in sizes:
    images, times = torch.rand(64, 3, size, size).to(memory_format=torch.channels_last), []
    begun = time.monotonic()
    while len(times) < 3 or time.monotonic() < begun + seconds:
        before = time.monotonic()
        network(images).sum().backward()
        adam.step()
        adam.zero_grad()
        times.append(time.monotonic() - before)
    print(sum(times[1:]) / len(times[1:]))
"""


def time_steps(setting: dict[str, str], seconds: float, threads: int, sizes: list[int]) -> list[float]:
    """s a step at each size; the first step does not count."""
    bare = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, "-c", STEP, *map(str, (seconds, threads, *sizes))]
    done = subprocess.run(command, env=bare | setting, capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128])
    asked.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    asked.add_argument("--settings", nargs="+", default=list(SETTINGS))
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--seconds", type=float, default=4.0)
    asked.add_argument("--rounds", type=int, default=2)
    given = asked.parse_args()
    for busy in given.busy:
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            least = {name: [float("inf")] * len(given.sizes) for name in given.settings}
            for _ in range(given.rounds):
                for name in given.settings:
                    times = time_steps(SETTINGS[name], given.seconds, given.threads, given.sizes)
                    least[name] = list(map(min, least[name], times))
        finally:
            for other in others:
                other.kill()
                other.wait()
        for name, times in least.items():
            told = "  ".join(f"{size} px {seconds:.3f}" for size, seconds in zip(given.sizes, times))
            print(f"{busy} busy, {name}: {told}", flush=True)


if __name__ == "__main__":
    main()
