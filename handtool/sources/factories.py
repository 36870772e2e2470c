"""Who filmed and where, as the paths and the json of Egocentric-10K and -100K tell it.

    factory_001/workers/worker_001/factory001_worker001_part00.tar    factory001_worker001_00000.mp4, .json …   10K
    factory001/worker001/part000.tar                                  factory_001_worker_001_0000.mp4, .json …  100K

The json of a clip holds `factory_id` and `worker_id`. Workers are numbered anew in each factory, so a subject is called
by both: `factory_001/worker_001`, in whichever of these spellings it is found.
"""

import json
import re

NAMED = re.compile(r"(?<![a-z])(factory|worker)_?(\d{1,6})(?!\d)", re.IGNORECASE)
IDS = {"factory": "factory_id", "worker": "worker_id"}
LONGEST = 1 << 16  # bytes of the json of a clip; those published have about 250


def find_people(path: str, about: bytes = b"") -> tuple[str, str]:
    """(subject, place), "" where nothing tells it. The last part of the path that names a factory or worker counts;
    about: the json of the clip, which is asked where the path does not tell. Raises ValueError for a json that is
    none."""
    known = {kind.lower(): f"{kind.lower()}_{int(number):03d}" for kind, number in NAMED.findall(path)}
    told = json.loads(about) if about and len(known) < len(IDS) else {}
    for kind, name in IDS.items():
        value = told.get(name) if isinstance(told, dict) else None
        if kind not in known and isinstance(value, str) and value:
            found = NAMED.search(value)
            known[kind] = f"{kind}_{int(found[2]):03d}" if found and found[1].lower() == kind else value[:64]
    return "/".join(known[kind] for kind in IDS if kind in known and "worker" in known), known.get("factory", "")
