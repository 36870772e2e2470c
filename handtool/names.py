"""Names of files: in which order they stand, how they are shown, and those of the files beside a file."""

import hashlib
import html
import os
import re
from pathlib import Path

DIGITS = re.compile("(?=[0-9])0*([0-9]*)")
INTRINSICS = "intrinsics.json"  # the camera of the videos beside it, and below
NAME_MAX = 255  # bytes, where the system does not say
# control characters but the tab, line and paragraph separators, marks of direction, and bytes that are no UTF-8
UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
SHORT = {"\n": r"\n", "\r": r"\r"}


def natural(name: str) -> tuple[str, str]:
    """The key by which names sort as people count: 1, 2, 10; where all numbers are of equal length, as texts do."""
    return DIGITS.sub(lambda found: f"0{chr(len(found[1]))}{found[1]}", name), name


def name_beside(path: Path, prefix: str, suffix: str, room: int = 0) -> str:
    """The name of `path` between prefix and suffix, shortened where the file system would not take it. room: bytes
    that come in addition."""
    try:
        longest = os.pathconf(path.parent, "PC_NAME_MAX")
    except (OSError, ValueError):
        longest = NAME_MAX
    name = os.fsencode(path.name)
    if len(name) + len(prefix) + len(suffix) + room > longest:
        digest = hashlib.sha256(name).hexdigest()[:16]
        short = name[: longest - len(prefix) - len(suffix) - room - len(digest) - 1].decode("utf-8", "ignore")
        return f"{prefix}{short}~{digest}{suffix}"
    return f"{prefix}{path.name}{suffix}"


# how they are shown


def spell(character: str) -> str:
    """ESC as \\x1b; a byte that is no UTF-8, as Python keeps it in file names, by its value."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return SHORT.get(character) or (rf"\x{code:02x}" if code < 0x100 else rf"\u{code:04x}")


def printable(text: str) -> str:
    return UNSAFE.sub(lambda found: spell(found[0]), text)


def printable_json(text: str) -> str:
    """For texts of json.dumps, which escapes the control characters below 0x20 only. Line breaks are its own."""
    return UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else rf"\u{ord(found[0]):04x}", text)


def printable_shell(line: str) -> str:
    """A line whose words are quoted by shlex; it means the same to bash and zsh."""

    def spell_bytes(character: str) -> str:
        is_byte = "\udc80" <= character <= "\udcff"
        data = character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
        return SHORT.get(character) or "".join(rf"\x{byte:02x}" for byte in data)

    return UNSAFE.sub(lambda found: f"'$'{spell_bytes(found[0])}''", line)


def escape(text: str, quote: bool = True) -> str:
    """For HTML and SVG."""
    return html.escape(printable(text), quote)
