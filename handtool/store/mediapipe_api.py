"""Which of MediaPipe's APIs, in which version and with which task file, found the points of a table: attributes of the
table, which say whether it may be mixed with another. The version alone makes no difference: 0.10.21 and 1.2.3 find the
same points through the Tasks API.
"""

from collections.abc import Iterable, Mapping
from typing import Any

API_ATTRS = ("mediapipe_api", "mediapipe_version", "task_sha256")
COMPARED = ("mediapipe_api", "task_sha256")
BETWEEN = " + "  # where files of several APIs were joined


def api_attrs(attrs: Mapping[str, Any]) -> dict[str, str]:
    """Those of a table's attributes that tell it; {}: not MediaPipe's, or made before 0.3.0, which did not tell."""
    return {name: str(attrs[name]) for name in API_ATTRS if name in attrs}


def differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both tables say where their points come from, and not the same."""
    known = "mediapipe_api" in one and "mediapipe_api" in other
    return known and any(one.get(name) != other.get(name) for name in COMPARED)


def is_mixed(attrs: Mapping[str, Any]) -> bool:
    """Whether a joined table has points of several APIs or task files."""
    return any(BETWEEN in str(attrs.get(name, "")) for name in COMPARED)


def name_api(attrs: Mapping[str, Any]) -> str:
    """Such as `Tasks API of 1.2.3 with task fbc2a300`."""
    names = attrs["mediapipe_api"].replace("solutions", "solutions API").replace("tasks", "Tasks API")
    task = BETWEEN.join(each[:8] for each in attrs.get("task_sha256", "").split(BETWEEN))
    return f"{names} of {attrs['mediapipe_version']}" + (f" with task {task}" if task else "")


def join_apis(tables: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The attributes of the joined table."""
    tables = list(tables)
    values = {
        name: sorted({part for attrs in tables if name in attrs for part in str(attrs[name]).split(BETWEEN)})
        for name in API_ATTRS
    }
    return {name: BETWEEN.join(found) for name, found in values.items() if found}
