"""Json files of annotations: what is in them is told by their content, not by their names.

A small one is read whole; of a large one (COCO-WholeBody's has 1.6 GB) each list is read as a stream, entry by entry.
One may lie in a zip archive, beside its pictures.
"""

import re
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from handtool import bounded
from handtool.errors import DamagedFile, HandtoolError
from handtool.sources.large_json import LARGE, read_items

BLOCK, SEARCHED = 1 << 20, 1 << 30  # bytes
HEAD = 4096  # bytes, where a stream tells what set it is
LARGEST_MEMBER = 256 << 20  # bytes, unpacked, of a json in an archive
DESCRIPTION = re.compile(rb'"description"\s*:\s*"([^"\\]{0,80})"')
FEW = 200  # entries that tell what a file is


class AnnotationFile:
    """path: of the json, or of the archive that holds it as `member`. Raises HandtoolError, DamagedFile."""

    def __init__(self, path: Path, archive: zipfile.ZipFile | None = None, member: str = "") -> None:
        self.path, self.what = path, f"{path}: {member}" if member else str(path)
        self.content: Any = None
        if archive is not None:
            if archive.getinfo(member).file_size > LARGEST_MEMBER:
                raise DamagedFile(
                    f"{self.what} has more than {LARGEST_MEMBER:,} bytes", hint="unpack it, name the folder"
                )
            self.content = bounded.parse_json(archive.read(member), self.what)
        elif not path.is_file() or path.stat().st_size <= LARGE or starts_a_list(path):
            self.content = bounded.read_json(path)

    @property
    def is_list(self) -> bool:
        return isinstance(self.content, list)

    def items(self, name: str) -> Iterator[tuple[int, dict]]:
        """Place and value of the entries of a list. Raises DamagedFile where it is no list of objects."""
        if self.content is None:
            found: Any = ((place, value) for _, place, value in read_items(self.path, name))
        else:
            values = self.content.get(name, []) if isinstance(self.content, dict) else []
            if not isinstance(values, list):
                raise DamagedFile(f"{self.what}: {name} is no list")
            found = enumerate(values)
        for place, value in found:
            if not isinstance(value, dict):
                raise DamagedFile(f"{self.what}: number {place} of {name} is no object")
            yield place, value

    def first(self, name: str, count: int = FEW) -> list[dict]:
        return [value for _, value in islice(self.items(name), count)]

    def some(self, name: str) -> list[dict]:
        """All of a list that a file may lack."""
        try:
            return [value for _, value in self.items(name)]
        except DamagedFile:
            raise
        except HandtoolError:  # a stream without it
            return []

    @property
    def about(self) -> str:
        """What its `info` says of the set and its maker, lower case."""
        info = self.content.get("info") if isinstance(self.content, dict) else None
        if isinstance(info, dict):
            return f"{info.get('description', '')} {info.get('contributor', '')}"[:200].lower()
        if self.content is not None:
            return ""
        with self.path.open("rb") as file:
            found = DESCRIPTION.search(file.read(HEAD))
        return found[1].decode("utf-8", "replace").lower() if found else ""


def starts_a_list(path: Path) -> bool:
    """A list has no names to be read by: it is read whole."""
    with path.open("rb") as file:
        return file.read(HEAD).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def mentions(path: Path, *words: tuple[bytes, ...]) -> bool:
    """Whether a file holds one of each of the words in its first SEARCHED bytes: quick, and needs no memory."""
    wanted, tail, longest = list(words), b"", max(len(word) for each in words for word in each)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            while wanted and file.tell() < SEARCHED and (block := file.read(BLOCK)):
                text = tail + block
                wanted = [each for each in wanted if not any(word in text for word in each)]
                tail = text[-longest:]
    except OSError:
        return False
    return not wanted
