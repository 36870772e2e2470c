"""Cores: what affinity and cgroups of either version leave, in made-up folders; and what OpenMP is told."""

import math
import os
import subprocess
import sys

import pytest

from handtool import cores
from handtool.cores import cgroup_cores, count_cores, settle_openmp

UNLIMITED = "max 100000"


@pytest.fixture
def machine(tmp_path):
    """Writes the files of a made-up /proc/self and of the groups of a made-up /sys/fs/cgroup; returns the former."""

    def make(own: str, mounts: list[str], groups: dict[str, dict[str, str]]):
        for name, files in groups.items():
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
            for file, text in files.items():
                (tmp_path / name / file).write_text(f"{text}\n")
        escaped = str(tmp_path).replace(" ", "\\040")
        (tmp_path / "cgroup").write_text(own)
        (tmp_path / "mountinfo").write_text("".join(line.format(top=escaped) + "\n" for line in mounts))
        return tmp_path

    return make


V2 = "30 23 0:26 / {top}/fs rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (("max 100000", "max 100000"), math.inf),
        (("max 100000", "150000 100000"), 1.5),
        (("50000 100000", "150000 100000"), 0.5),
        (("400000 50000", "max 100000"), 8.0),
    ],
)
def test_the_least_of_a_group_of_version_2_and_those_above_it_counts(machine, limits, expected):
    groups = {"fs": {"cpu.stat": ""}, "fs/slice": {"cpu.max": limits[0]}, "fs/slice/job": {"cpu.max": limits[1]}}
    assert cgroup_cores(machine("0::/slice/job\n", [V2], groups)) == expected


def test_a_container_sees_its_own_group_of_version_2_as_the_top(machine):
    assert cgroup_cores(machine("0::/\n", [V2], {"fs": {"cpu.max": "200000 100000"}})) == 2


def test_a_group_of_version_1_has_quota_and_period_in_two_files(machine):
    mounts = [
        "32 31 0:29 / {top}/fs/my\\040cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct",
        "34 31 0:31 / {top}/fs/cpuset rw,relatime - cgroup cgroup rw,cpuset",
        "41 31 0:38 / {top}/fs/unified rw,relatime - cgroup2 cgroup2 rw",
    ]
    own = "3:cpuset:/job\n2:cpu,cpuacct:/job/step:1\n0::/\n"
    limit = {"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"}
    none = {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}
    groups = {"fs/my cpu": none, "fs/my cpu/job": limit, "fs/my cpu/job/step:1": none, "fs/cpuset/job": limit}
    assert cgroup_cores(machine(own, mounts, groups | {"fs/unified": {"cpu.max": UNLIMITED}})) == 3


def test_a_container_that_sees_the_path_of_the_host_looks_at_its_own_mount(machine):
    mounts = ["32 31 0:29 /docker/5ff2 {top}/fs rw - cgroup cgroup rw,cpu"]
    limit = {"cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"}
    for own in ("1:cpu:/docker/5ff2\n", "1:cpu:/elsewhere\n"):
        assert cgroup_cores(machine(own, mounts, {"fs": limit})) == 1


def test_without_cgroups_or_with_files_that_say_something_else_there_is_no_limit(machine, tmp_path):
    assert cgroup_cores(tmp_path / "none") == math.inf
    for text in ("", "max", "many 100000", "100000 0", "-5 100000"):
        assert cgroup_cores(machine("0::/\n", [V2], {"fs": {"cpu.max": text}})) == math.inf


@pytest.mark.parametrize(("limit", "expected"), [(math.inf, 6), (1.5, 2), (0.2, 1), (3.0, 3), (40.0, 6)])
def test_cores_are_those_of_the_affinity_within_the_limit(monkeypatch, limit, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(cores, "cgroup_cores", lambda: limit)
    assert count_cores() == expected


@pytest.fixture
def environment(monkeypatch):
    """No variables of OpenMP, and a machine of 6 cores that allows 2."""
    for name in (*cores.WAITING, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(cores, "cgroup_cores", lambda: 2.0)
    monkeypatch.setattr(cores, "ours", set())
    yield os.environ
    for name in cores.ours:
        monkeypatch.delenv(name, raising=False)


def test_openmp_is_told_how_long_to_wait_and_how_many_threads_the_cgroup_has_room_for(environment):
    settle_openmp()
    assert environment["GOMP_SPINCOUNT"] == str(cores.SPINS) and environment["OMP_NUM_THREADS"] == "2"
    assert not cores.said_by_user("OMP_NUM_THREADS")


@pytest.mark.parametrize("name", cores.WAITING)
def test_what_the_user_says_about_waiting_stands(environment, monkeypatch, name):
    monkeypatch.setenv(name, "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    settle_openmp()
    assert {other: environment.get(other) for other in cores.WAITING} == dict.fromkeys(cores.WAITING) | {name: "7"}
    assert environment["OMP_NUM_THREADS"] == "5" and cores.said_by_user("OMP_NUM_THREADS")


def test_without_a_limit_the_number_of_threads_is_left_to_openmp(environment, monkeypatch):
    monkeypatch.setattr(cores, "cgroup_cores", lambda: math.inf)
    settle_openmp()
    assert "OMP_NUM_THREADS" not in environment


def test_the_command_settles_it_before_torch_is_loaded():
    code = (
        "import os, sys\nimport handtool.cli.app as app\n"
        "app.main = lambda: print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)\n"
        "from handtool.__main__ import main\nmain()"
    )
    bare = {name: value for name, value in os.environ.items() if name not in cores.WAITING}
    said = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True).stdout
    assert said == f"{cores.SPINS} False\n"
