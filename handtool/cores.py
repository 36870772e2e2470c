"""Which cores this process may use, and how OpenMP is to wait on a machine that others load.

A container may have fewer cores than it sees: its cgroup gives it so much CPU time for each period, and who starts a
worker for each core of the machine is stopped for most of the time.
"""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc/self")
SPINS = 3000  # looks at a flag before an OpenMP thread without work gives its core away: see settle_openmp
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # where the user has said how threads wait
ours: set[str] = set()  # environment variables that settle_openmp has set


def count_cores() -> int:
    """Those that this process may use: its affinity (all of the machine where the system has none, as macOS), no more
    than the CPU time that its cgroups allow, rounded up."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, math.ceil(min(affinity, cgroup_cores()))))


def cgroup_cores(proc: Path = PROC) -> float:
    """Cores' worth of CPU time that the cgroups of this process allow it, each group and those above it; infinity: no
    limit. Version 2: cpu.max, version 1: cpu.cfs_quota_us and cpu.cfs_period_us. See cgroups(7)."""
    return min((read_quota(folder) for folder in find_cgroups(proc)), default=math.inf)


def find_cgroups(proc: Path) -> Iterator[Path]:
    """The folders of the groups that limit this process' CPU time, from its own upwards as far as they are visible."""
    try:
        groups = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
        mounts = [line.split(" ") for line in (proc / "mountinfo").read_text().splitlines()]
    except OSError:  # not Linux
        return
    own = {
        "cgroup2" if not names else "cgroup": path for _, names, path in groups if "cpu" in (names or "cpu").split(",")
    }
    for mount in mounts:
        kind, options = mount[mount.index("-") + 1], mount[-1].split(",")
        if kind not in own or (kind == "cgroup" and "cpu" not in options):
            continue
        top = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), mount[4]))
        path = os.path.relpath(own[kind], mount[3])
        below = () if path.startswith("..") else Path(path).parts  # a container sees its own group as the top
        yield from (top.joinpath(*below[:depth]) for depth in range(len(below), -1, -1))


def read_quota(folder: Path) -> float:
    """Cores' worth of CPU time of one group; infinity where it has no limit, or does not say."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 and int(period) > 0 else math.inf
    except (OSError, ValueError):
        return math.inf


def settle_openmp() -> None:
    """Tells OpenMP, which reads it when torch is loaded, how many threads there may be and how long they look for work
    before they sleep; what the user has set stands.

    By default a thread that waits for another looks 300,000 times, some milliseconds. Where another process has the
    core of that other thread, this time is lost, and its own share of the machine with it. A hundredth of that costs
    nothing where the machine is idle, and a step beside two busy processes takes a tenth of the time (docs/LOG.md).
    """
    chosen = {} if set(WAITING) & set(os.environ) else {"GOMP_SPINCOUNT": str(SPINS)}
    if hasattr(os, "sched_getaffinity") and (cores := count_cores()) < len(os.sched_getaffinity(0)):
        chosen["OMP_NUM_THREADS"] = str(cores)
    for name in chosen.keys() - os.environ.keys():
        os.environ[name] = chosen[name]
        ours.add(name)


def said_by_user(name: str) -> bool:
    return name in os.environ and name not in ours
