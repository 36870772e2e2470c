"""Every write refused once: each command that writes, with its N-th change of a file failing, for every N.

    python tests/benchmarks/trial_writes.py [--count N] [--seed N] [--only NAME]

ENOSPC from the N-th call on for odd N (a disk that is full stays full), EIO once for even N, and for every fourth N
also a write that takes half of what it was given. Calls: write, truncate, allocate, fsync, rename, mkdir and open of
a new file, by the command and its workers. --count: of each case at most, spread evenly. Looked at: one line and exit
1, or the whole result; nothing half-made; an earlier output kept; then the same command, undisturbed, ends with the
right result and leaves nothing behind. Ctrl-C prints the table of what was tried so far. Exits with 1 if anything is
not so.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import fault_runs as runs
from fault_cases import Case, digest, make_box, prepare
from fault_runs import Fault
from trial_kills import FAULTS, is_part, run_again

NAMES = {runs.FULL: "ENOSPC", runs.ONCE: "EIO", runs.SHORT: "short"}
COLUMNS = ["calls", "tried", *NAMES.values(), "refused", "no harm", "not reached", *FAULTS]


def list_faults(case: Case, most: int) -> list[Fault]:
    step = max(1.0, case.calls / most)
    places = sorted({int(n * step) + 1 for n in range(int(case.calls / step))})
    found = []
    for number, place in enumerate(places):
        found.append(Fault(runs.FULL if number % 2 == 0 else runs.ONCE, place))
        if number % 4 == 3:
            found.append(Fault(runs.SHORT, place))
    return found


def try_write(case: Case, fault: Fault, folder: Path) -> tuple[Counter, list[tuple[str, str]]]:
    before = case.outputs if fault.at // 2 % 2 and case.outputs != ["world"] else []
    make_box(folder, before)
    words = [*case.words, *(["--force"] if before else [])]
    unchanged = {name: digest(folder / "box" / name) for name in case.outputs}
    ended = runs.run(words, folder, fault)
    now = {name: digest(folder / "box" / name) for name in case.outputs}
    found, wrong = Counter({"tried": 1, NAMES[fault.mode]: 1}), []
    if ended.code == 0:
        found["no harm" if ended.struck else "not reached"] += 1
        wrong += [("lost", f"exit 0, but {name} is {now[name]}") for name in now if now[name] != case.whole[name]]
    else:
        found["refused"] += 1
        wrong += check_refusal(ended)
        for name in now:
            if now[name] not in (unchanged[name], case.whole[name]) and not (
                name == "world" and is_part(now[name], case.whole[name])
            ):
                wrong.append(("half-made", f"{name} is {now[name]}"))
            if before and not now[name]:
                wrong.append(("touched", f"{name} is gone"))
        wrong += run_again(case, words, folder)
    return found, wrong


def check_refusal(ended: runs.Ended) -> list[tuple[str, str]]:
    wrong = []
    if ended.code is None:
        wrong.append(("hang", ended.said[-300:]))
    elif ended.code != 1 or not ended.said.strip():
        wrong.append(("exit code", f"{ended.code}: {ended.said[-500:]}"))
    if "Traceback" in ended.said or "Exception ignored" in ended.said:
        wrong.append(("traceback", ended.said[-2500:]))
    if ended.left:
        wrong.append(("processes left", str(ended.left)))
    return wrong


def in_turn(cases: list[Case], most: int) -> Iterator[tuple[Case, Fault]]:
    """One of each case, and again, so that a trial that is stopped has tried of all."""
    for each in zip_longest(*([(case, fault) for fault in list_faults(case, most)] for case in cases)):
        yield from filter(None, each)


def main() -> int:
    options, folder = runs.begin(__doc__.splitlines()[0], 10**6)
    began, faults = time.monotonic(), 0
    cases = prepare(folder, options.only)
    counts = {case.name: Counter(calls=case.calls) for case in cases}
    try:
        for number, (case, fault) in enumerate(in_turn(cases, options.count)):
            found, wrong = try_write(case, fault, folder)
            counts[case.name] += found + Counter(kind for kind, _ in wrong)
            faults += len(wrong)
            for kind, told in wrong:
                print(f"{case.name}, {NAMES[fault.mode]} at call {fault.at}: {kind}: {told}", flush=True)
            if number % 100 == 99:
                print(f"{number + 1} refused, {faults} faults, {time.monotonic() - began:.0f} s", flush=True)
    except KeyboardInterrupt:
        print("stopped")
    runs.print_table("refused writes", COLUMNS, counts, time.monotonic() - began)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
