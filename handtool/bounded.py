"""Texts that a user names (json, csv, lists), read whole, but within bounds of size and time."""

import json
import os
import select
import stat
import time
from pathlib import Path
from typing import Any

from handtool.errors import DamagedFile, HandtoolError, first_line

BLOCK = 1 << 20  # bytes
LONGEST = 1 << 30  # bytes of an annotation file
LONGEST_SETTING = 1 << 20  # bytes of a file of settings
NO_WRITER_S = 1.0
BREAKS = {"json": b',:]}"\n', "line": b"\n\0"}  # one of these comes in every BLOCK of a sound text


def read_bounded(path: Path | str, largest: int = LONGEST, kind: str = "json", what: str | None = None) -> bytes:
    """The bytes of a file, or of a pipe (`<(find …)`), which ends. what: as messages call it; kind: of BREAKS.

    Raises HandtoolError where there is no such file, or it is a folder, a device or a pipe that nobody writes to;
    DamagedFile where it has more than `largest` bytes, or a word or line of more than BLOCK.
    """
    what = what or str(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # without waiting for somebody to open a pipe
    except (OSError, ValueError) as error:
        told = (getattr(error, "strerror", None) or str(error)).lower()
        raise HandtoolError(f"{what} cannot be read: {told}", hint=f"ls -l {path}") from None
    try:
        about = os.fstat(descriptor)
        if stat.S_ISDIR(about.st_mode) or not (stat.S_ISREG(about.st_mode) or stat.S_ISFIFO(about.st_mode)):
            there = "a folder" if stat.S_ISDIR(about.st_mode) else "a device"
            raise HandtoolError(f"{what} cannot be read: it is {there}", hint=f"ls -l {path}")
        if about.st_size > largest:
            raise too_large(what, about.st_size, largest)
        return read_blocks(descriptor, what, largest, BREAKS[kind])
    except OSError as error:
        raise HandtoolError(f"{what} cannot be read: {(error.strerror or str(error)).lower()}") from None
    finally:
        os.close(descriptor)


def read_blocks(descriptor: int, what: str, largest: int, breaks: bytes) -> bytes:
    text, since_break, began = bytearray(), 0, time.monotonic()
    while True:
        try:
            block = os.read(descriptor, BLOCK)
        except BlockingIOError:  # somebody holds the other end and has written nothing yet
            select.select([descriptor], [], [], 0.5)
            began = -NO_WRITER_S  # its end is the end of the text
            continue
        if not block and not text and stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            if time.monotonic() - began < NO_WRITER_S:
                time.sleep(0.02)
                continue
            raise HandtoolError(f"{what} cannot be read: nothing comes out of this pipe")
        if not block:
            return bytes(text)
        text += block
        last = max(block.rfind(each) for each in (breaks[n : n + 1] for n in range(len(breaks))))
        since_break = since_break + len(block) if last < 0 else len(block) - last
        if since_break > BLOCK:
            raise DamagedFile(f"{what} cannot be read: it has a word or a line of more than {BLOCK >> 20} MB")
        if len(text) > largest:
            raise too_large(what, len(text), largest)


def too_large(what: str, size: int, largest: int) -> DamagedFile:
    return DamagedFile(f"{what} has {size:,} bytes or more, and such a file may have {largest:,}")


def read_json(path: Path | str, largest: int = LONGEST, hint: str | None = None, what: str | None = None) -> Any:
    """What a json file holds. Raises as read_bounded, and DamagedFile where it is no json or nested too deep."""
    return parse_json(read_bounded(path, largest, what=what), what or str(path), hint)


def parse_json(text: bytes, what: str, hint: str | None = None) -> Any:
    try:
        return json.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except RecursionError:
        raise DamagedFile(f"{what} cannot be read: it is nested too deep", hint=hint) from None
    except ValueError as error:
        raise DamagedFile(f"{what} cannot be read: {first_line(error)}", hint=hint) from None
