"""JSON files of up to gigabytes, entry by entry, by ijson: memory holds the largest entry, not the file.

A gigabyte of annotations as Python objects takes nine. NaN and Infinity, which Python's json writes, are read as null.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from handtool.errors import DamagedFile, HandtoolError, first_line

BLOCK_BYTES = 1 << 12  # read at once; bounds how deep a file can nest before that is seen
DEEPEST = 2000  # brackets that are open: ijson keeps the whole path for each
BREAKS = (b",", b'"', b":", b"]", b"}")
LONGEST_WORD = 1 << 20  # bytes without one of these
LONGEST_LIST = 16 << 20  # bytes without the end of an object: no entry of a sound file has such a list of numbers
LARGE = 30_000_000  # bytes: larger files take over two seconds, which is logged
NO_NUMBER = re.compile(rb"(?<![^\[:,\s])-?(?:NaN|Infinity)(?=[\],}\s])")
log = logging.getLogger(__name__)


def read_items(path: Path, *names: str) -> Iterator[tuple[str, int, Any]]:
    """The items of the arrays under `names` in the outermost object: name, index, value; one array after the other.

    Raises DamagedFile where the file is cut short or no JSON, HandtoolError where a name or ijson is missing.
    """
    for name in names:
        with open_json(path, tell=name == names[0]) as (ijson, text):
            number = -1
            for number, value in enumerate(ijson.items(text, f"{name}.item", use_float=True, buf_size=BLOCK_BYTES)):
                yield name, number, value
        if number < 0:
            check_name(path, name)


def read_members(path: Path, name: str = "") -> Iterator[tuple[str, Any]]:
    """Key and value of the members of the object under `name`, or of the outermost one. Raises as read_items."""
    key = None
    with open_json(path) as (ijson, text):
        for key, value in ijson.kvitems(text, name, use_float=True, buf_size=BLOCK_BYTES):
            yield key, value
    if key is None:
        check_name(path, name)


def check_name(path: Path, name: str) -> None:
    """Nothing was found under `name`: raises HandtoolError unless it is there, and empty."""
    with open_json(path, tell=False) as (ijson, text):
        events = [(event, value) for prefix, event, value in ijson.parse(text, buf_size=BLOCK_BYTES) if not prefix]
    if events[0][0] != "start_map":
        raise DamagedFile(f"{path} cannot be read: it holds no object", hint="a file of another version?")
    keys = [value for event, value in events if event == "map_key"]
    if name and name not in keys:
        raise HandtoolError(
            f"{path} has no {name}; it has {', '.join(keys) or 'nothing'}", hint="a file of another version?"
        )


@contextmanager
def open_json(path: Path, tell: bool = True) -> Iterator[tuple[ModuleType, "Text"]]:
    """ijson and the file. What is wrong with either becomes one line. tell: a large file is logged."""
    try:
        import ijson
    except ModuleNotFoundError:
        raise HandtoolError(
            f"{path.name} is read by ijson, which is not installed", hint="pip install 'handtool[datasets]'"
        ) from None
    try:
        if path.exists() and not path.is_file():
            raise HandtoolError(f"{path} cannot be read: it is no file", hint=f"ls -l {path}")
        if tell and path.stat().st_size > LARGE:
            log.info("reading %s (%.0f MB)", path, path.stat().st_size / 1e6)
        with open(path, "rb") as file:
            text = Text(file)
            yield ijson, text
    except ijson.JSONError as error:
        said = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else error
        is_cut = "premature EOF" in str(said) or (text.ended and text.depth > 0)  # maybe in the middle of a word
        what = "ends in the middle" if is_cut else f"cannot be read: {first_line(said)}"
        raise DamagedFile(
            f"{path} ({path.stat().st_size:,} bytes) {what}", hint="downloaded and unpacked to its end?"
        ) from None
    except OSError as error:
        raise HandtoolError(f"{path} cannot be read: {error.strerror}") from None


class Text:
    """The bytes of a file with null for NaN and Infinity. No block ends in a word. Raises DamagedFile (nesting)."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.depth, self.ended, self.unbroken, self.unclosed = file, 0, False, 0, 0

    def read(self, size: int) -> bytes:
        block = self.file.read(size)
        while block[-1:].isalpha() or block[-1:] == b"-":
            if not (byte := self.file.read(1)):
                break
            block += byte
        self.ended = len(block) < size
        self.unbroken = 0 if any(each in block for each in BREAKS) else self.unbroken + len(block)
        if self.unbroken > LONGEST_WORD:
            raise DamagedFile(f"{self.file.name} cannot be read: it has a word of more than {LONGEST_WORD >> 20} MB")
        self.unclosed = 0 if b"}" in block else self.unclosed + len(block)
        if self.unclosed > LONGEST_LIST:
            raise DamagedFile(f"{self.file.name} cannot be read: it has a list of more than {LONGEST_LIST >> 20} MB")
        self.depth += block.count(b"[") + block.count(b"{") - block.count(b"]") - block.count(b"}")
        if self.depth > DEEPEST:
            raise DamagedFile(f"{self.file.name} cannot be read: brackets nested more than {DEEPEST} deep")
        return NO_NUMBER.sub(b"null", block) if b"NaN" in block or b"Infinity" in block else block
