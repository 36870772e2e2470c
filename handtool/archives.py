"""Zip archives that a user names (.npz, .pth, .task): opened within bounds, their bytes checked by their own crc32."""

import errno
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handtool.errors import DamagedFile, HandtoolError, first_line

BLOCK = 1 << 20  # bytes
FOLDER = 0x10  # of MS-DOS, in a member's attributes
TAIL = (1 << 16) + 22 + 20 + 56  # where the end records are
LONGEST_DIRECTORY = 4 << 20  # bytes of the list of members: some 50,000
PLAIN = 128 << 20  # unpacked, bytes, that any archive may have
RATIO = 50  # unpacked / packed that a larger one may have; float arrays reach 5


@contextmanager
def open_zip(path: Path, hint: str | None = None) -> Iterator[zipfile.ZipFile]:
    """Raises HandtoolError where it is no file; DamagedFile where it is no zip archive, a bomb, or what is read from
    it does not match its crc32."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            raise HandtoolError(f"{path} cannot be read: it is no file", hint=f"ls -l {path}")
        if directory_size(path, about.st_size) > LONGEST_DIRECTORY:
            raise DamagedFile(f"{path} cannot be read: it lists more members than any sound archive", hint)
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > max(PLAIN, RATIO * about.st_size):
                told = f"{path} cannot be read: its {about.st_size:,} bytes say that they unpack to {unpacked:,}"
                raise DamagedFile(told, hint)
            yield archive
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError) as error:
        raise DamagedFile(f"{path} cannot be read: {first_line(error)}", hint) from None
    except OSError as error:
        kind = DamagedFile if error.errno == errno.EINVAL else HandtoolError  # a member before the archive's beginning
        raise kind(f"{path} cannot be read: {error.strerror or first_line(error)}") from None


def directory_size(path: Path, size: int) -> int:
    """The bytes of the list of members, by the end records (APPNOTE.TXT 4.3.14 and 4.3.16); 0 where there are none."""
    with open(path, "rb") as file:
        file.seek(max(0, size - TAIL))
        tail = file.read(TAIL)
    end = tail.rfind(b"PK\5\6")
    if end < 0:
        return 0
    stated = int.from_bytes(tail[end + 12 : end + 16], "little")
    if tail[max(end - 20, 0) : end].startswith(b"PK\6\7") and end >= 76:
        stated = max(stated if stated < 0xFFFFFFFF else 0, int.from_bytes(tail[end - 36 : end - 28], "little"))
    return stated


def has_checksums(archive: zipfile.ZipFile) -> bool:
    """Whether it was written with them: torch can leave them out, and then writes 0."""
    return any(member.CRC for member in archive.infolist() if member.file_size)


def check_crcs(archive: zipfile.ZipFile) -> None:
    """Reads all members, in blocks. Raises zipfile.BadZipFile, which `open_zip` turns into DamagedFile."""
    for member in archive.infolist():
        if member.external_attr & FOLDER and member.file_size:  # torch's reader would give memory that nobody filled
            raise zipfile.BadZipFile(f"{member.filename} is marked as a folder, and has {member.file_size:,} bytes")
        with archive.open(member) as file:
            while file.read(BLOCK):
                pass
