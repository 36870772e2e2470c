"""The members of an uncompressed tar, by its headers alone (POSIX.1-2001 ustar and pax, and GNU's long names).

A header is 512 bytes and says how long its member is, so the whole list costs one short read a member, whatever the
size of the tar. Nothing that a header claims is believed before it is compared with the size of the file, and no more
memory is taken than MOST_MEMBERS names and one header of LONGEST bytes need. Python's tarfile reads a pax header of any
length that it states.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from handtool.bounded import read_bounded
from handtool.errors import DamagedFile
from handtool.sources.plain_file import HEAD, stand_in
from handtool.sources.tar_member import Member, read_member, split_path

BLOCK = 512  # bytes
MOST_MEMBERS = 2_000_000
MOST_MAPS = 1 << 16  # blocks that say where the holes of a sparse member are
MOST_HEADERS = 16  # headers of names and attributes before a member's own
LONGEST = 1 << 20  # bytes of such a header
LONGEST_PATH = 4096  # bytes, as of a file system
PADDING = 4 << 20  # bytes of zeros behind the last member that any program writes
FILE, FOLDER, SPARSE, LONG_NAME, PAX = (b"0", b"\0", b"7"), b"5", b"S", b"L", (b"x", b"X")
IGNORED = (b"g", b"K", b"V")  # attributes of all members, the target of a link, a label
KINDS = dict.fromkeys((b"1", b"2"), "links in tars") | dict.fromkeys((b"3", b"4", b"6"), "devices and pipes in tars")
WITH_HOLES, UNKNOWN = "sparse members of tars", "members of tars of an unknown kind"
TWICE = "members of tars that a later one of the same name replaces"
ELSEWHERE = "members of tars whose path is absolute, leads upwards or is none"
COMPRESSED = {b"\x1f\x8b": "gzip -d", b"\x28\xb5\x2f\xfd": "zstd -d", b"BZh": "bzip2 -d", b"\xfd7zXZ": "xz -d"}


REFUSED = frozenset((*KINDS.values(), WITH_HOLES, UNKNOWN, ELSEWHERE))


class NoTar(Exception):
    """Why nothing of a file can be read as a tar; the message is the reason."""


class Damaged(Exception):
    """Why nothing more can be read; the message is the reason."""


@dataclass
class TarIndex:
    """spans: (offset, size) bytes of each plain file by its name, which is relative and without `..`, in the order of
    the tar. left_out: other members by reason. problem: why its end was not reached, "" where it was."""

    path: str
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    problem: str = ""

    def member(self, name: str) -> Member:
        return Member(self.path, *self.spans[name], f"{self.path}/{name}")


@dataclass
class Header:
    """What one header says. size: bytes of the content behind it; extended: of a sparse member, more headers follow."""

    name: bytes
    size: int
    kind: bytes
    extended: bool


def read_index(path: str) -> TarIndex:
    """Of a tar, read once and kept for the next few questions about it. Raises NoTar, OSError."""
    about = os.stat(path)
    return index_at(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=2)
def index_at(path: str, size: int, changed: int) -> TarIndex:
    """size, changed: what stands for the content."""
    disk = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(disk).st_mode):
            raise NoTar("no plain file")
        if not size:
            raise NoTar("empty file")
        index = TarIndex(path)
        try:
            for name, span in read_members(disk, size, index.left_out):
                index.left_out[TWICE] += index.spans.pop(name, None) is not None
                index.spans[name] = span
        except Damaged as damaged:
            if not index.spans and not index.left_out.total():
                raise NoTar(what_instead(os.pread(disk, HEAD, 0)) or str(damaged)) from None
            index.problem = str(damaged)
        index.left_out = +index.left_out
        return index
    finally:
        os.close(disk)


def what_instead(head: bytes) -> str:
    """What a file with these first bytes is, which is no tar; "" where nothing speaks for it."""
    for magic, program in COMPRESSED.items():
        if head.startswith(magic):
            return f"compressed (unpack it first: {program})"
    return stand_in(head)


def read_members(disk: int, size: int, left_out: Counter[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name and (offset, size) of the plain files, as they come; what is none is counted. Raises Damaged where the tar
    does not go on."""
    place, said, headers = 0, dict[str, bytes](), 0
    for _ in range(MOST_MEMBERS):
        header = read_header(disk, place, size)
        if header is None:
            return
        place += BLOCK
        if header.kind in (LONG_NAME, *PAX, *IGNORED):
            headers += 1
            if headers > MOST_HEADERS or header.size > LONGEST or place + header.size > size:
                raise Damaged(f"a header of {header.size:,} bytes at byte {place - BLOCK:,}")
            said |= read_attributes(header, os.pread(disk, header.size, place))
            place += padded(header.size)
            continue
        if header.kind == SPARSE and header.extended:
            place = skip_map(disk, place)
        content = as_number(said["size"], place) if "size" in said else header.size
        name, why_not = read_name(said.get("path", header.name)), why_left_out(header, said)
        if header.kind == FOLDER or header.kind in KINDS:
            content = 0
        if why_not or (not name and header.kind != FOLDER):
            left_out[why_not or ELSEWHERE] += 1
        elif header.kind != FOLDER:
            yield name, (place, content)
        if place + content > size:
            raise Damaged(f"it ends at byte {size:,}, inside {name or 'a member'}")
        place, said, headers = place + padded(content), {}, 0
    raise Damaged(f"more than {MOST_MEMBERS:,} members")


def padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def read_header(disk: int, place: int, size: int) -> Header | None:
    """None at the end of the tar. Raises Damaged."""
    block = os.pread(disk, BLOCK, place)
    if not block:
        return None
    if len(block) < BLOCK:
        raise Damaged(f"it ends at byte {size:,}, inside a header")
    if not block.strip(b"\0"):
        if size - place > PADDING:
            raise Damaged(f"zeros from byte {place:,} on, of {size:,}")
        return None
    summed = block[:148] + 8 * b" " + block[156:]
    stated, total = as_number(block[148:156], place), sum(summed)
    if stated != total and stated != total - 256 * sum(byte > 127 for byte in summed):  # some added signed bytes
        raise Damaged(f"no header at byte {place:,}")
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    name, kind = prefix + b"/" + name if prefix else name, block[156:157]
    kind = FOLDER if kind == b"\0" and name.endswith(b"/") else kind  # before there was a kind of folders
    return Header(name, as_number(block[124:136], place), kind, bool(block[482]))


def as_number(text: bytes, place: int) -> int:
    """Octal digits, or GNU's base 256; of a pax header, decimal ones. Raises Damaged."""
    if text[:1] >= b"\x80":
        value = int.from_bytes(text, "big") - (0x80 << 8 * (len(text) - 1))
        if text[0] != 0x80:  # negative, or beyond all files
            raise Damaged(f"no header at byte {place:,}")
        return value
    digits = text.partition(b"\0")[0].strip()
    if not digits:
        return 0
    if not digits.isdigit() or len(digits) > 20 or max(digits) > ord("7"):
        raise Damaged(f"no header at byte {place:,}")
    return int(digits, 8)


def read_attributes(header: Header, content: bytes) -> dict[str, bytes]:
    """What a header before the member's own says of it: `path`, `size` and `sparse`."""
    if header.kind == LONG_NAME:
        return {"path": content.partition(b"\0")[0]}
    said: dict[str, bytes] = {}
    at, end = 0, len(content) if header.kind in PAX else 0
    while at < end:
        digits = content[at : at + 8].partition(b" ")[0]
        if not digits.isdigit() or not len(digits) + 2 < int(digits) <= end - at:
            raise Damaged("a pax header that is none")
        key, _, value = content[at + len(digits) + 1 : at + int(digits) - 1].partition(b"=")
        at += int(digits)
        if key.startswith(b"GNU.sparse."):
            said["sparse"] = b""
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise Damaged("a pax header with a size that is none")
            said["size"] = b"%o" % int(value)
        elif key == b"path":
            said["path"] = value
    return said


def skip_map(disk: int, place: int) -> int:
    """Where the content of one of GNU's sparse members begins, behind the blocks that say where its holes are."""
    for _ in range(MOST_MAPS):
        block = os.pread(disk, BLOCK, place)
        place += BLOCK
        if len(block) < BLOCK or not block[504]:
            return place
    raise Damaged(f"a map of holes that does not end by byte {place:,}")


def why_left_out(header: Header, said: dict[str, bytes]) -> str:
    if header.kind == SPARSE or "sparse" in said:
        return WITH_HOLES
    return "" if header.kind in (*FILE, FOLDER) else KINDS.get(header.kind, UNKNOWN)


def read_name(name: bytes) -> str:
    """A relative path; "" for what leads elsewhere, or is none."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if name.startswith(b"/") or b".." in parts or b"\0" in name or len(name) > LONGEST_PATH:
        return ""
    return b"/".join(parts).decode("utf-8", "replace")


def read_small(path: Path, largest: int) -> bytes | None:
    """A small file: a plain one, or a member of a tar (`shards/000.tar/intrinsics.json`); None where there is none.
    The list of a tar is kept for the next few questions, so ask for the members of one tar together. Raises DamagedFile
    and HandtoolError as `read_bounded`, DamagedFile for a member of more than `largest` bytes."""
    inside = split_path(str(path))
    if inside is None:
        return read_bounded(path, largest) if path.is_file() else None
    tar, name = inside
    try:
        index = read_index(tar)
        return read_member(index.member(name), largest) if name in index.spans else None
    except (NoTar, OSError):
        return None
    except ValueError:
        raise DamagedFile(f"{path} is cut short, or has more than {largest:,} bytes") from None
