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
    if text.startswith(b"/annex/objects/"):
        return "git-annex pointers, whose files were not fetched (git annex get)"
    if text.startswith(b"<"):
        kind = "svg drawings" if b"<svg" in head else "html pages" if b"html" in head.lower() else "xml texts"
        return f"{kind} in place of a download"
    return "json texts in place of a download" if text.startswith((b"{", b"[")) else ""


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
