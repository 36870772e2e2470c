"""check: whether a file is undamaged. Fast: structure, links, row numbers. Deep: every byte against its checksum."""

from handtool.errors import DamagedFile, HandtoolError
from handtool.progress import Progress, silent
from handtool.store import find_broken_links, find_faults, open_file


def check(path: str, deep: bool = False, progress: Progress = silent, carried: bool = False) -> dict:
    """{"path", "uuid", "sound", "faults", "exit_code"}: a damaged file is reported, not raised.

    exit_code: 0 sound, 1 the file or a linked file is missing or another one, 3 damaged. `carried`: read from a pipe.
    """
    try:
        with open_file(path, carried) as file:
            broken = find_broken_links(file)
            faults = find_faults(file, deep, progress)
            code = max((error.exit_code for error in broken), default=DamagedFile.exit_code if faults else 0)
            return {"path": str(path), "uuid": file.uuid, "sound": not faults, "faults": faults, "exit_code": code}
    except HandtoolError as error:
        found = {"path": str(path), "uuid": None, "sound": False, "faults": [error.message]}
        return found | {"exit_code": error.exit_code}
