"""Tars made for the tests, by Python's tarfile, and by hand where that does not write what is wanted."""

import io
import tarfile
from pathlib import Path

BLOCK = 512


def make_tar(path: Path, members: dict[str, bytes | Path], form: int = tarfile.PAX_FORMAT) -> Path:
    """members: name -> content, or the file that has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members.items():
            add(tar, name, content.read_bytes() if isinstance(content, Path) else content)
    return path


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    tar.addfile(info, io.BytesIO(content))


def header(name: bytes, size: bytes | int, kind: bytes = b"0", magic: bytes = b"ustar\x0000") -> bytes:
    """A header that says anything. size: bytes as they stand there, or a number."""
    told = size if isinstance(size, bytes) else b"%011o\0" % size
    block = name.ljust(100, b"\0") + b"0000644\0" + 2 * b"0000000\0" + told.ljust(12, b"\0") + b"00000000000\0"
    block = (block + 8 * b" " + kind).ljust(257, b"\0") + magic
    block = block.ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)
