"""hand_landmarker.task, MediaPipe's two networks as one file, which its Tasks API needs: its place in the cache, and
its download."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from handtool.errors import HandtoolError, first_line
from handtool.progress import Progress, silent

NAME = "hand_landmarker.task"
SCHEMES = ("https",)
TIMEOUT_S = 20  # without a byte
BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A published file whose content is known. size: bytes."""

    address: str
    sha256: str
    size: int


HAND_LANDMARKER = RemoteFile(
    "https://storage.googleapis.com/mediapipe-models/hand_landmarker/hand_landmarker/float16/1/hand_landmarker.task",
    "fbc2a30080c3c557093b5ddfc334698132eb341044ccee322ccf8bcf3607cde1",
    7_819_105,
)


def cached_task() -> Path:
    """Where the task file is looked for: in HANDTOOL_CACHE if that is set, else in the user's own cache."""
    own = os.environ.get("HANDTOOL_CACHE")
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(own) if own else users / "handtool") / NAME


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(remote: RemoteFile, place: Path, file: BinaryIO | RawIOBase, progress: Progress = silent) -> None:
    """Writes the content into `file`, which becomes `place` if nothing is raised.

    Raises HandtoolError, with the address to fetch by hand, if the server cannot be reached or sends anything else.
    """
    digest, got = hashlib.sha256(), 0
    try:
        with open_address(remote.address) as answer:
            while block := answer.read(BLOCK_BYTES):
                got += len(block)
                if got > remote.size:
                    raise by_hand(remote, place, f"sends more than the {remote.size:,} bytes of the published file")
                digest.update(block)
                file.write(block)
                progress("download", got, remote.size)
    except urllib.error.HTTPError as error:
        raise by_hand(remote, place, f"answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = first_line(getattr(error, "reason", error))
        raise by_hand(remote, place, f"could not be read after {got:,} bytes ({reason})") from None
    if got < remote.size:
        raise by_hand(remote, place, f"ended after {got:,} of {remote.size:,} bytes")
    if digest.hexdigest() != remote.sha256:
        raise by_hand(remote, place, f"sends another file (sha256 {digest.hexdigest()}), which is not kept")


def by_hand(remote: RemoteFile, place: Path, what: str) -> HandtoolError:
    return HandtoolError(
        f"{remote.address} {what}",
        hint=f"try again, or fetch that address on another machine and put the file to {place} (sha256 "
        f"{remote.sha256}); where 0.10.21 is installed, MediaPipe needs no file",
    )


def open_address(address: str) -> http.client.HTTPResponse:
    check_scheme(address)
    return urllib.request.build_opener(SafeRedirects).open(address, timeout=TIMEOUT_S)


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to https."""

    def redirect_request(self, request, file, code, message, headers, address):
        check_scheme(address)
        return super().redirect_request(request, file, code, message, headers, address)


def check_scheme(address: str) -> None:
    if urlsplit(address).scheme not in SCHEMES:
        raise urllib.error.URLError(f"{address} is not https")
