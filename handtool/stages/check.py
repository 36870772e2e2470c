"""Is this file whole? Fast: structure, links, row numbers. Deep: every byte against its checksum."""

from handtool.errors import DamagedFile, HandtoolError
from handtool.progress import Progress, silent
from handtool.store import find_faults, open_file


def check(path: str, deep: bool = False, progress: Progress = silent) -> dict:
    """{"path", "uuid", "sound", "faults", "exit_code"}: a damaged file is a finding here, not an exception."""
    try:
        with open_file(path) as file:
            faults = find_faults(file, deep, progress)
            return {"path": str(path), "uuid": file.uuid, "sound": not faults, "faults": faults, "exit_code": DamagedFile.exit_code if faults else 0}
    except HandtoolError as error:
        return {"path": str(path), "uuid": None, "sound": False, "faults": [error.message], "exit_code": error.exit_code}
