"""Whether the history of a file (/provenance) is of the types and sizes that programs and people read it by.

What is wrong raises ValueError, which the gatekeeper turns into a verdict on the file.
"""

import json
from numbers import Integral, Real
from typing import Any

import h5py
import numpy as np

from handtool.store.columns import read_array

STEP_ATTRS: dict[str, Any] = {
    "program": str,
    "version": str,
    "uuid": str,
    "fingerprint": str,
    "parents": str,
    "started": str,
}
STEP_ATTRS |= {"seconds": Real}
OTHER_ATTRS: dict[str, Any] = {"result": Integral, "seed": Integral, "streamed": (bool, np.bool_), "host": str}
STEP_TEXTS: dict[str, type] = {"command": str, "config": dict, "inputs": list, "report": dict}
OTHER_TEXTS: dict[str, type] = {"libraries": dict}
MOST_BYTES = 128 << 20  # of all texts
MOST_CONTAINERS = 4_000_000  # of all texts: lists and objects, which take some 100 bytes each
DEEPEST = 50  # containers within each other
PER_VIDEO = ("per_video", "videos_not_read_whole")


def check_history(h5: h5py.File) -> None:
    """Checks that /provenance has one numbered, complete group for each step."""
    steps = list(h5["provenance"]) if "provenance" in h5 else []
    if not steps or not all(name.isdecimal() for name in steps):
        raise ValueError("it does not say how it was made: /provenance")
    groups = [h5["provenance"][name] for name in steps]
    texts = [item for group in groups for key in (*STEP_TEXTS, *OTHER_TEXTS) if (item := group.get(key)) is not None]
    if sum(item.size for item in texts if isinstance(item, h5py.Dataset)) > MOST_BYTES:
        raise ValueError(f"/provenance holds more than {MOST_BYTES:,} bytes of text")
    containers = sum(check_step(group) for group in groups)
    if containers > MOST_CONTAINERS:
        raise ValueError(f"/provenance holds more than {MOST_CONTAINERS:,} lists and objects")


def check_step(group: h5py.Group) -> int:
    """Returns the number of its containers."""
    lacking = [key for key in STEP_ATTRS if key not in group.attrs] + [key for key in STEP_TEXTS if key not in group]
    if lacking:
        raise ValueError(f"lacks {', '.join(lacking)} in {group.name}")
    for key, kind in (STEP_ATTRS | OTHER_ATTRS).items():
        value = group.attrs.get(key)
        if isinstance(value, np.ndarray) or (
            value is not None and not isinstance(value.decode() if isinstance(value, bytes) else value, kind)
        ):
            raise ValueError(f"the attribute {key} of {group.name} is of another type")
    return sum(check_text(group, key, kind) for key, kind in (STEP_TEXTS | OTHER_TEXTS).items() if key in group)


def check_text(group: h5py.Group, key: str, kind: type) -> int:
    where = f"{group.name}/{key}"
    if not isinstance(group[key], h5py.Dataset) or group[key].dtype != np.uint8:
        raise ValueError(f"{where} is no text")
    data = read_array(group[key], "it").tobytes()
    containers = data.count(b"[") + data.count(b"{")
    value: Any = json.loads(data) if containers <= MOST_CONTAINERS else None
    good = isinstance(value, kind) and is_shallow(value, DEEPEST)
    if good and key == "inputs":
        good = all(is_input(item) for item in value)
    if good and key == "report":
        good = is_report(value)
    if not good:
        raise ValueError(f"{where} is not what a program of handtool writes")
    return containers


def is_shallow(value: Any, deepest: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return deepest > 0 and all(is_shallow(one, deepest - 1) for one in inside if isinstance(one, (dict, list)))


def is_input(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("size"), int):
        return False
    return all(isinstance(item.get(key), str) for key in ("path", "uuid", "stamp"))


def is_report(report: dict) -> bool:
    """Whether what every program prints of a report is there: the accounting, and the lists of videos."""
    accounting = report.get("accounting", [])
    if not isinstance(accounting, list) or not all(map(is_accounting, accounting)):
        return False
    lists = [report[name] for name in PER_VIDEO if name in report]
    return isinstance(report.get("pairs", 0), (int, float)) and all(map(is_list_of_videos, lists))


def is_accounting(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("what"), str):
        return False
    reasons: list[Any] = [item.get("skipped"), item.get("failed")]
    if not all(isinstance(each, dict) for each in reasons):
        return False
    counts = [item.get("in"), item.get("done"), *(count for each in reasons for count in each.values())]
    return all(isinstance(count, int) for count in counts)


def is_list_of_videos(videos: Any) -> bool:
    if not isinstance(videos, list) or not videos or not all(isinstance(video, dict) for video in videos):
        return False
    return all(video.keys() == videos[0].keys() and isinstance(video.get("status"), str) for video in videos)
