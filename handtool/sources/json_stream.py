"""JSON files that are too large to be held as objects: read entry by entry, in the memory of the largest one.

A gigabyte of annotations is nine of Python objects; read so, what is kept of it is up to the reader.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from handtool.errors import HandtoolError

CHUNK = 1 << 22  # characters read at once
LARGE = 30_000_000  # bytes: what takes over two seconds is told
BLANKS = " \t\n\r"
NUMBER = {"", *"+-.eE0123456789"}  # what may follow a number that is not whole yet; "": the end of what was read
log = logging.getLogger(__name__)
decode = json.JSONDecoder().raw_decode


def read_entries(path: Path, *names: str) -> Iterator[tuple[str, str | int, object]]:
    """The entries of the arrays and objects that stand under `names` in the outermost object, in the order of the file: name, index or key,
    value. Without names, the entries of the outermost object itself, under the name "".

    Raises HandtoolError where the file is cut short, is no JSON, or lacks one of the names.
    """
    try:
        if (size := path.stat().st_size) > LARGE:
            log.info("reading %s (%.0f MB)", path, size / 1e6)
        with open(path, encoding="utf-8") as file:
            yield from walk_file(path, Text(file), names)
    except (Cut, ValueError, UnicodeDecodeError) as error:  # of the file, never of whoever takes the entries
        what = "ends in the middle" if isinstance(error, Cut) else f"cannot be read: {error}"
        raise HandtoolError(
            f"{path} ({path.stat().st_size:,} bytes) {what}", hint="downloaded and unpacked to its end?"
        ) from None
    except OSError as error:
        raise HandtoolError(f"{path} cannot be read: {error.strerror}") from None


def walk_file(path: Path, text: "Text", names: tuple[str, ...]) -> Iterator[tuple[str, str | int, object]]:
    if not names:
        for key in text.keys():
            yield "", key, text.take()
        return
    found = []
    for key in text.keys():
        found.append(key)
        for place in text.places():
            value = text.take()
            if key in names:
                yield key, place, value
    if missing := [name for name in names if name not in found]:
        raise HandtoolError(
            f"{path} has no {', '.join(missing)}; it has {', '.join(map(str, found)) or 'nothing'}",
            hint="a file of another version?",
        )


class Cut(Exception):
    """The text ends where something should follow."""


class Text:
    """A file of JSON and how far it has been read. Nothing before that is kept."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.text, self.at, self.ended = file, "", 0, False

    def more(self) -> None:
        """Reads on, at least as much as is waiting, so that a long value is tried few times. Raises Cut at the end."""
        if self.ended:
            raise Cut
        self.text = self.text[self.at :]
        self.at = 0
        read = self.file.read(max(CHUNK, len(self.text)))
        self.ended = not read
        self.text += read

    def peek(self) -> str:
        """The next character that is not blank."""
        while True:
            while self.at < len(self.text):
                if self.text[self.at] not in BLANKS:
                    return self.text[self.at]
                self.at += 1
            self.more()

    def expect(self, wanted: str) -> str:
        """Steps over the next character, which is one of `wanted`."""
        have = self.peek()
        if have not in wanted:
            raise ValueError(f"{have!r} where {' or '.join(wanted)} should be")
        self.at += 1
        return have

    def take(self) -> object:
        """The next value, whole."""
        self.peek()
        while True:
            try:
                value, end = decode(self.text, self.at)
            except ValueError:
                if self.ended:
                    raise Cut from None
                self.more()
                continue
            if (
                isinstance(value, (int, float)) and not self.ended and self.text[end : end + 1] in NUMBER
            ):  # "-12." may go on: -12.5
                self.more()
                continue
            self.at = end
            return value

    def places(self) -> Iterator[str | int]:
        """The keys or indices of the next value, whose values the caller takes one by one; of a plain value none, and it is passed over."""
        opening = self.peek()
        if opening == "{":
            yield from self.keys()
        elif opening == "[":
            self.expect("[")
            yield from self.indices()
        else:
            self.take()

    def indices(self) -> Iterator[int]:
        if self.peek() == "]":
            self.at += 1
            return
        number = 0
        while True:
            yield number
            number += 1
            if self.expect(",]") == "]":
                return

    def keys(self) -> Iterator[str]:
        self.expect("{")
        if self.peek() == "}":
            self.at += 1
            return
        while True:
            key = self.take()
            if not isinstance(key, str):
                raise ValueError(f"{key!r} is no key")
            self.expect(":")
            yield key
            if self.expect(",}") == "}":
                return
