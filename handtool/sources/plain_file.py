"""What lies under a name, before a decoder sees it: a plain file, and no stand-in for what was meant to be there."""

import stat

from handtool.sources.tar_member import Member, Source, check_member, open_source

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


def check_plain(source: Source) -> str:
    """Why it cannot be read, "" where it can. Never waits: what is no plain file (a pipe, a device) is not opened."""
    try:
        if isinstance(source, Member):
            if wrong := check_member(source):
                return wrong
        elif not stat.S_ISREG((about := source.stat()).st_mode):
            return "no plain file"
        elif not about.st_size:
            return "empty file"
        with open_source(source) as file:
            return stand_in(file.read(HEAD))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
