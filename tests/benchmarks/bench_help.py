"""How long a command takes to explain itself, beside the imports that it cannot do without.

    python tests/benchmarks/bench_help.py [ROUNDS]

Prints the median wall time of `handtool --help` and `handtool mine --help`, of `import typer, rich.console` alone, and
the ratios, taken in turn.
"""

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import typer, rich.console": ["-c", "import typer, rich.console"],
    "handtool --help": ["-m", "handtool", "--help"],
    "handtool mine --help": ["-m", "handtool", "mine", "--help"],
}


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main(rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    bare = statistics.median(next(iter(times.values()))[1:])
    for name, values in times.items():
        median = statistics.median(values[1:])  # the first round fills the disk cache
        print(f"{name:<28} {1000 * median:7.0f} ms   x {median / bare:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
