"""What lies under a name, before a decoder sees it: a plain file, and no stand-in for what was meant to be there."""

import stat
from pathlib import Path

HEAD = 512  # bytes that tell a stand-in


def stand_in(head: bytes) -> str:
    """What a file is instead of a picture or film, by its first bytes, in the plural; "" where nothing speaks for
    it."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    if text.startswith(b"version https://git-lfs"):
        return "git-lfs pointers, whose files were not fetched (git lfs pull)"
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "html pages in place of a download"
    if text.startswith(b"<?xml") and b"<svg" not in head:
        return "xml texts in place of a download"
    return ""


def check_plain(path: Path) -> str:
    """Why it cannot be read, "" where it can. Never waits: what is no plain file (a pipe, a device) is not opened."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            return "no plain file"
        if not about.st_size:
            return "empty file"
        with path.open("rb") as file:
            return stand_in(file.read(HEAD))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
