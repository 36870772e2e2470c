"""Ten thousand damaged inputs: every kind of file that handtool reads, spoilt in bytes and in values.

    python tests/benchmarks/trial_mutants.py [--count N] [--seed N] [--only NAME]

Each is read by the reader of its kind in a process that reads many; that process is watched, so that a crash, a hang
and too much memory are the mutant's. What may happen: refused in one line (exit 3 or 1); equal values (what was hit
does not matter, or was put right); a loss that is counted; another value. That last one must not happen where the
format has checksums (our HDF5, PNG); of the others its share is told. Ctrl-C prints the table of what was tried so far.
Exits with 1 after a traceback, crash, hang, too much memory, or another value despite checksums.
"""

import functools
import json
import math
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import fault_inputs as inputs
import fault_runs as runs
from fault_inputs import Kind
from fault_mutations import spoil

SILENT_S = 25.0  # gatekeepers give up after 10 s
MOST_MEMORY, LIMIT = 1_500_000_000, 6_000_000_000  # bytes in use, and of addresses, which libraries reserve by the GB
BATCH = 100
BAD = ["silent despite checksums", "traceback", "crash", "hang", "memory", "long line"]
COLUMNS = ["mutants", "exit 3", "exit 1", "exit 2", "equal", "counted loss", "silent", *BAD]


def try_mutant(kind: Kind, whole: dict[Path, object], rng: random.Random) -> dict[str, str]:
    """In the reading process: spoils one of the files, reads, puts it back -> outcome and how it came about."""
    path = rng.choice(kind.files)
    sound = path.read_bytes()
    way, data = spoil(path.suffix, sound, rng)
    try:
        path.write_bytes(data)
        outcome, told = judge(kind, path, whole[path])
    finally:
        path.write_bytes(sound)
    return {"outcome": outcome, "told": told, "way": f"{way} of {path.name}"}


def judge(kind: Kind, path: Path, whole: object) -> tuple[str, str]:
    from handtool.errors import HandtoolError
    from handtool.store import gatekeeper

    gatekeeper.checked.clear()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found, losses = kind.read(kind.root or path)
    except HandtoolError as error:
        if "\n" in error.message or len(error.message) > 1000:
            return "long line", error.message[:300]
        return f"exit {error.exit_code}", error.message
    except MemoryError:
        return "memory", traceback.format_exc()[-1200:]
    except Exception:
        return "traceback", traceback.format_exc()[-1500:]
    if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > MOST_MEMORY:
        return "memory", "read"
    if [found, losses] == whole:
        return "equal", ""
    if losses != whole[1]:
        return "counted loss", losses
    return ("silent despite checksums" if kind.checksums else "silent"), difference(found, whole[0])


def difference(found: object, whole: object) -> str:
    if isinstance(found, dict) and isinstance(whole, dict):
        return ", ".join(str(key) for key in found.keys() | whole.keys() if found.get(key) != whole.get(key))[:300]
    return ""


def read_batch(kind: Kind, count: int, seed: int, writer: int) -> None:
    """The reading process: a JSON line when a mutant begins and one when it is judged."""
    silence(kind)
    read = functools.cache(lambda path: list(kind.read(path)))
    whole = {path: read(kind.root or path) for path in kind.files}
    os.write(writer, b'{"begun": true}\n')
    for number in range(count):
        found = try_mutant(kind, whole, random.Random(f"{seed} {kind.name} {number}"))
        os.write(writer, json.dumps({"number": number} | found).encode() + b"\n")


def silence(kind: Kind) -> None:
    """Libraries may say on standard error what they want; memory has a limit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + LIMIT, size + LIMIT))
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))


def run_batch(kind: Kind, count: int, seed: int) -> list[dict[str, str]]:
    """The outcomes of up to `count` mutants; the last is a crash or a hang where the process ended early."""
    kept = {path: path.read_bytes() for path in kind.files}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            read_batch(kind, count, seed, writer)
            code = 0
        except BaseException:
            os.write(writer, json.dumps({"broken": traceback.format_exc()}).encode() + b"\n")
        finally:
            os._exit(code)
    os.close(writer)
    said, ended = watch(reader)
    if ended == "hang":
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for path, data in kept.items():
        path.write_bytes(data)
    outcomes = [entry for entry in said if "outcome" in entry]
    if broken := [entry["broken"] for entry in said if "broken" in entry]:
        raise SystemExit(f"{kind.name}: {broken[0]}")
    if len(outcomes) < count:
        outcomes.append({"outcome": ended, "told": f"status {status}, seed {seed}, number {len(outcomes)}", "way": ""})
    return outcomes


def watch(reader: int) -> tuple[list[dict], str]:
    """What the process says until its end, or until it has said nothing for long."""
    text = b""
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], SILENT_S)[0]:
            if not (block := pipe.read(1 << 16)):
                return lines_of(text), "crash"
            text += block
    return lines_of(text), "hang"


def lines_of(text: bytes) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.endswith(b"}")]


def make_kinds(folder: Path, only: str) -> list[Kind]:
    makers = (inputs.make_hdf5_kinds, inputs.make_footage_kinds, inputs.make_text_kinds, inputs.make_set_kinds)
    kinds = makers[0](folder)
    load_readers()
    kinds += [kind for number, make in enumerate(makers[1:]) for kind in make(folder / f"kinds{number}")]
    return [kind for kind in [*kinds, *inputs.make_weight_kinds(folder / "weights")] if only in kind.name]


def load_readers() -> None:
    """Once, for all the processes that read; torch by those that need it."""
    import cv2

    from handtool import store  # noqa: F401
    from handtool.sources import read  # noqa: F401

    cv2.setNumThreads(1)  # a fork has no threads of its parent's, and would wait for them


def main() -> int:
    options, folder = runs.begin(__doc__.splitlines()[0], 10_000)
    began, counts, faults = time.monotonic(), {}, 0
    kinds = make_kinds(folder, options.only)
    total = sum(kind.share for kind in kinds)
    try:
        for kind in kinds:
            counts[kind.name], started = Counter(), time.monotonic()
            left, seed = math.ceil(options.count * kind.share / total), options.seed * 1000
            while left > 0:
                outcomes = run_batch(kind, min(left, BATCH), seed)
                left, seed = left - len(outcomes), seed + 1
                faults += sum(each["outcome"] in BAD for each in outcomes)
                for each in outcomes:
                    counts[kind.name] += Counter(["mutants", each["outcome"]])
                    if options.verbose or each["outcome"] in BAD:
                        print(f"{kind.name}: {each['outcome']}: {each['way']}: {each['told']}", flush=True)
            print(f"{kind.name}: {dict(counts[kind.name])}, {time.monotonic() - started:.1f} s", flush=True)
    except KeyboardInterrupt:
        print("stopped")
    runs.print_table("mutants", COLUMNS, counts, time.monotonic() - began)
    shutil.rmtree(folder / "given", ignore_errors=True)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
