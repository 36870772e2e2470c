"""A training step on two threads while other processes want the same cores, by how OpenMP's threads wait.

    python tests/benchmarks/bench_busy.py [--sizes 32 64 128] [--busy 0 1 2] [--seconds 4] [--rounds 2]

Seconds a step (forward, backward, Adam) of ResNet-18 on 2 x 32 pictures, the least of the rounds; each in a process of
its own, all settings in turn, beside 0, 1, 2 processes that only compute.
"""

import argparse
import os
import subprocess
import sys
import time

SETTINGS = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"spin {count}": {"GOMP_SPINCOUNT": str(count)} for count in (300, 1000, 3000, 10_000, 30_000, 100_000)},
}
STEP = """
import sys, time, torch, torchvision
size, seconds = int(sys.argv[1]), float(sys.argv[2])
torch.set_num_threads(int(sys.argv[3]))
network = torchvision.models.resnet18().to(memory_format=torch.channels_last)
images = torch.rand(64, 3, size, size).to(memory_format=torch.channels_last)
adam, times = torch.optim.Adam(network.parameters(), fused=True), []
begun = time.monotonic()
while len(times) < 3 or time.monotonic() < begun + seconds:
    before = time.monotonic()
    network(images).sum().backward()
    adam.step()
    adam.zero_grad()
    times.append(time.monotonic() - before)
print(sum(times[1:]) / len(times[1:]))
"""


def time_step(size: int, seconds: float, threads: int, setting: dict[str, str]) -> float:
    bare = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, "-c", STEP, str(size), str(seconds), str(threads)]
    return float(subprocess.run(command, env=bare | setting, capture_output=True, text=True, check=True).stdout)


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
            for size in given.sizes:
                least = dict.fromkeys(given.settings, float("inf"))
                for _ in range(given.rounds):
                    for name in given.settings:
                        least[name] = min(least[name], time_step(size, given.seconds, given.threads, SETTINGS[name]))
                told = "  ".join(f"{name} {seconds:.3f}" for name, seconds in least.items())
                print(f"{time.strftime('%H:%M')} {busy} busy, {size} px: {told}", flush=True)
        finally:
            for other in others:
                other.kill()
                other.wait()


if __name__ == "__main__":
    main()
