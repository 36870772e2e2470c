"""A thousand kills: every command that writes, killed at random moments and before its writes, and run again.

    python tests/benchmarks/trial_kills.py [--count N] [--seed N] [--only NAME]

SIGKILL, SIGTERM and SIGINT in turn, to the whole group or to the command alone. After each: nothing half-made under
an output's name, what was there before untouched, no process left, SIGTERM and SIGINT end in one line with their exit
code. Then the same command runs to its end: the output is that of a run that nothing disturbed, and nothing else stays
behind. A worker that alone is killed may cost its item, said with exit 1. A SIGTERM may come before Python has begun,
any signal after the end. Ctrl-C prints the table of what was tried so far. Exits with 1 if anything is not so.
"""

import json
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import fault_runs as runs
from fault_cases import Case, digest, listing, make_box, prepare
from fault_runs import Fault

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
FAULTS = ["lost", "half-made", "touched", "left behind", "processes left", "exit code", "traceback", "hang"]
COLUMNS = ["kills", "at a write", "SIGKILL", "SIGTERM", "SIGINT", "worker lost", "too early", "too late", *FAULTS]
DEAR_S = 2.0  # a case that takes longer is tried less often


def choose_fault(case: Case, number: int, rng: random.Random) -> Fault:
    """In turn before a write and at a moment; each signal for each."""
    name = SIGNALS[number // 2 % 3]
    if number % 2:
        mode = rng.choice((runs.STRIKE, runs.STRIKE_COMMAND, runs.STRIKE_GROUP))
        return Fault(mode, rng.randint(1, case.calls), name)
    return Fault(signal=name, after=rng.uniform(0, case.seconds), group=rng.random() < 0.5)


def try_kill(case: Case, fault: Fault, folder: Path, earlier: bool) -> tuple[Counter, list[str]]:
    """Counts, and what is wrong in words. earlier: the outputs exist, and --force replaces them."""
    before = case.outputs if earlier and case.outputs != ["world"] else []
    make_box(folder, before)
    words = [*case.words, *(["--force"] if before else [])]
    unchanged = {name: digest(folder / "box" / name) for name in case.outputs}
    ended = runs.run(words, folder, fault)
    found = Counter({"kills": 1, "at a write": int(fault.after is None), signal.Signals(fault.signal).name: 1})
    wrong = check_end(case, fault, ended, found)
    for name in case.outputs:
        now = digest(folder / "box" / name)
        if now not in (unchanged[name], case.whole[name]) and not (name == "world" and is_part(now, case.whole[name])):
            wrong.append(("half-made", f"{name} is {now}"))
        if before and not now:
            wrong.append(("touched", f"{name} is gone"))
    return found, wrong + run_again(case, words, folder)


def is_part(now: str, whole: str) -> bool:
    """A folder of videos grows film by film: whether each that is there is whole."""
    return {name: held for name, held in json.loads(now or "{}").items() if name[0] != "."}.items() <= json.loads(
        whole
    ).items()


def check_end(case: Case, fault: Fault, ended: runs.Ended, found: Counter) -> list[tuple[str, str]]:
    wrong = []
    if ended.code == 0:
        found["too late"] += 1  # or nobody asked a worker that ignores it
    elif ended.code is None:
        wrong.append(("hang", "it did not end"))
    elif ended.code == -fault.signal:
        found["too early"] += 1
    elif ended.code == 1 and fault.mode == runs.STRIKE and fault.signal == signal.SIGKILL:
        found["worker lost"] += 1
    elif ended.code != CODES.get(fault.signal):
        wrong.append(("exit code", f"{ended.code}: {ended.said[-300:]}"))
    if ended.left:
        wrong.append(("processes left", str(ended.left)))
    if "Traceback" in ended.said or "Exception ignored" in ended.said:
        wrong.append(("traceback", ended.said[-1500:]))
    return wrong


def run_again(case: Case, words: list[str], folder: Path) -> list[tuple[str, str]]:
    """The same command to its end."""
    ended = runs.run(words, folder)
    if ended.code != 0:
        return [("lost", f"run again: {ended.code}: {ended.said[-1500:]}")]
    wrong = []
    for name in case.outputs:
        if (now := digest(folder / "box" / name)) != case.whole[name]:
            wrong.append(("lost", f"run again, {name} is {now} and not {case.whole[name]}"))
    names = [name for name in listing(folder) if name not in case.listing and not name.startswith("box.tmp/")]
    missing = sorted(set(case.listing) - set(listing(folder)))
    return wrong + ([("left behind", f"{names}, missing {missing}")] if names or missing else [])


def plan(cases: list[Case], count: int) -> list[tuple[Case, int]]:
    """`count` kills, equally many of each case, a fifth of that of dear ones; the cases in turn."""
    shares = {case.name: 0.2 if case.seconds > DEAR_S else 1.0 for case in cases}
    each = {case.name: max(1, round(count * shares[case.name] / sum(shares.values()))) for case in cases}
    return [(case, turn) for turn in range(max(each.values())) for case in cases if turn < each[case.name]]


def main() -> int:
    options, folder = runs.begin(__doc__.splitlines()[0], 1000)
    rng, began, faults = random.Random(options.seed), time.monotonic(), 0
    cases = prepare(folder, options.only)
    counts: dict[str, Counter] = {case.name: Counter() for case in cases}
    try:
        for number, (case, turn) in enumerate(plan(cases, options.count)):
            fault = choose_fault(case, turn, rng)
            found, wrong = try_kill(case, fault, folder, earlier=turn // 6 % 2 == 1)
            counts[case.name] += found + Counter(kind for kind, _ in wrong)
            faults += len(wrong)
            for kind, told in wrong:
                print(f"{case.name}, kill {number}, {fault}: {kind}: {told}", flush=True)
            if number % 50 == 49:
                print(f"{number + 1} kills, {faults} faults, {time.monotonic() - began:.0f} s", flush=True)
    except KeyboardInterrupt:
        print("stopped")
    runs.print_table("kills", COLUMNS, counts, time.monotonic() - began)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
