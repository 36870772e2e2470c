"""The mediapipe package as it is installed: its version, which of its two APIs is used, and with which task file. It is
not imported here, which takes seconds.

The solutions API (up to 0.10.21, Python < 3.13) carries its models. The Tasks API (all that 1.x has) needs a task
file, and finds a hand's points 2 % of its extent (median) beside those of the solutions API. So the API and the task
file are recorded with the points.
"""

import importlib.util
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from handtool.errors import HandtoolError
from handtool.vision.task_file import NAME, cached_task, sha256_of

NETWORKS = {"hand_detector.tflite", "hand_landmarks_detector.tflite"}
OLDEST_TASKS = (0, 10, 21)  # earlier ones named the other side
NAME_IT = f"name a {NAME}: --detector FILE (of keypoints: --estimator FILE)"


class Api(NamedTuple):
    """name: solutions or tasks. task: the file of the Tasks API."""

    name: str
    version: str
    task: Path | None = None

    def as_attrs(self) -> dict[str, str]:
        """What is recorded beside keypoints and landmarks."""
        attrs = {"mediapipe_api": self.name, "mediapipe_version": self.version}
        return attrs | ({"task_sha256": sha256_of(self.task)} if self.task else {})


def find_api(task: str | Path | None = None) -> Api:
    """The Tasks API with `task`, if that is named; else the solutions API where it is installed; else the Tasks API
    with the file in the cache. Raises HandtoolError if the package or the file is missing or not usable."""
    found = installed_version()
    if found is None:
        raise HandtoolError("the mediapipe package is not installed", hint=how_to_install())
    if task is None and has_solutions():
        return Api("solutions", found)
    if tuple(int(part) for part in found.split(".")[:3] if part.isdecimal()) < OLDEST_TASKS:
        raise HandtoolError(f"mediapipe {found} is too old for a task file", hint=how_to_install())
    path = Path(task) if task is not None else cached_task()
    if task is None and not path.exists():
        raise HandtoolError(
            f"mediapipe {found} brings no model, and {path} does not exist",
            hint=f"handtool doctor --download, or {NAME_IT}",
        )
    check_task(path)
    return Api("tasks", found, path)


def check_task(path: Path) -> None:
    """Raises HandtoolError if the file is missing or does not hold the two networks."""
    if not zipfile.is_zipfile(path):
        there = "is no MediaPipe task file (they are zip archives)" if path.exists() else "does not exist"
        raise HandtoolError(f"{path} {there}", hint=f"handtool doctor --download, or {NAME_IT}")
    with zipfile.ZipFile(path) as archive:
        missing = sorted(NETWORKS - set(archive.namelist()))
    if missing:
        raise HandtoolError(f"{path} is no hand landmarker: it has no {' and no '.join(missing)}", hint=NAME_IT)


def installed_version() -> str | None:
    """None: not installed."""
    if importlib.util.find_spec("mediapipe") is None:
        return None
    try:
        return version("mediapipe")
    except PackageNotFoundError:  # a folder of that name on the path
        return None


def has_solutions() -> bool:
    spec = importlib.util.find_spec("mediapipe")
    return spec is not None and any(
        (Path(folder) / "python" / "solutions").is_dir() for folder in spec.submodule_search_locations or ()
    )


def how_to_install() -> str:
    """What works on this Python."""
    older = ", or 'handtool[mediapipe-solutions]', which brings its models" if sys.version_info < (3, 13) else ""
    return (
        f"pip install 'handtool[mediapipe]' and handtool doctor --download{older}; without MediaPipe: a model (ONNX), "
        "boxes (--boxes FILE) or images that are hand crops (--whole)"
    )
