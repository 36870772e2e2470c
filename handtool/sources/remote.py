"""Films on other machines, through fsspec: each is fetched into a file without a name, read, and gone.

Credentials come from the environment, as boto3, huggingface_hub or FSSPEC_S3_… read it, and are neither printed nor
stored.
"""

import contextlib
import errno
import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from handtool.addresses import hide_secrets
from handtool.errors import HandtoolError, first_line
from handtool.sources.frame import Frame, Sampling, Tally, Video

WAITS_S = (1.0, 4.0, 16.0)  # before another try
PATIENCE_S = 15.0  # for a connection, and for the next bytes: less than that with a worker
LASTING = {400, 401, 403, 404, 405, 410, 451}  # answers of a server that the next try would give again
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "http": "aiohttp", "https": "aiohttp", "hf": "huggingface_hub"}


class Unreachable(Exception):
    """Why a film cannot be fetched, in short, without secrets."""


def check_protocols(addresses: list[str]) -> None:
    """Raises HandtoolError if the library for one of the addresses is not installed, or unknown."""
    for protocol in sorted({address.partition("://")[0].lower() for address in addresses}):
        try:
            find_filesystem(protocol)
        except ImportError:
            needs = PACKAGES.get(protocol, "a package that fsspec names")
            told = f"{protocol}:// addresses need {needs}, which is not installed"
            raise HandtoolError(told, hint="pip install 'handtool[remote]'") from None
        except ValueError:
            raise HandtoolError(f"fsspec knows no {protocol}:// addresses", hint="s3://, https://, hf://") from None


def find_filesystem(protocol: str) -> Any:
    """The class of fsspec for a protocol, with what it needs. Errors: ImportError, ValueError."""
    found = importlib.import_module("fsspec").get_filesystem_class(protocol)
    if protocol in PACKAGES:
        importlib.import_module(PACKAGES[protocol])
    return found


def open_filesystem(protocol: str) -> Any:
    """Of this process. No answer for PATIENCE_S is an error; tries again are ours alone, between which a worker sends
    heartbeats."""
    options: dict[str, Any] = {}
    if protocol in ("http", "https"):
        aiohttp = importlib.import_module("aiohttp")
        patience = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE_S, sock_read=PATIENCE_S)
        options["client_kwargs"] = {"timeout": patience}
    elif protocol in ("s3", "s3a"):
        times = {"connect_timeout": PATIENCE_S, "read_timeout": PATIENCE_S}
        options["config_kwargs"] = times | {"retries": {"total_max_attempts": 1}}
    return find_filesystem(protocol)(**options)


def read_remote(video: Video, read: Callable, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    """As `read`, of a film at an address. What cannot be fetched is a problem in `tally`."""
    with contextlib.ExitStack() as stack:
        try:
            path, tally.version = stack.enter_context(fetched(video.address, tally.heartbeat))
        except Unreachable as error:
            tally.problem = f"cannot be fetched: {error}"
            return
        for frame in read(replace(video, path=str(path), address=""), sampling, tally):
            yield replace(frame, name=f"{video.path}#{frame.number}")


@contextlib.contextmanager
def fetched(address: str, heartbeat: Callable[[], None]) -> Iterator[tuple[Path, str]]:
    """The file as a local one, and what its server says of it: ETag or time of change, and size. Raises Unreachable."""
    protocol = address.partition("://")[0].lower()
    with tempfile.TemporaryDirectory(prefix="handtool-") as folder, tempfile.TemporaryFile() as file:
        path = name_file(file, Path(folder), address)
        for wait_s in (*WAITS_S, None):
            try:
                version = fetch(open_filesystem(protocol), address, path, heartbeat)
                break
            except Exception as error:
                cause = find_cause(error)
                if is_lasting(cause) or wait_s is None:
                    raise Unreachable(explain(cause, address)) from None
                sleep(wait_s, heartbeat)
        yield path, version


def sleep(seconds: float, heartbeat: Callable[[], None]) -> None:
    for _ in range(max(1, round(seconds))):
        heartbeat()
        time.sleep(min(seconds, 1.0))


def name_file(file: Any, folder: Path, address: str) -> Path:
    """A name with the film's ending, by which FFmpeg knows some formats: on Linux for a file that has none itself, and
    so is gone with its process, however that ends."""
    name = folder / ("film" + Path(address.partition("?")[0]).suffix[:16])
    if (own := Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")).exists():
        name.symlink_to(own)
    return name


def fetch(files: Any, address: str, path: Path, heartbeat: Callable[[], None]) -> str:
    """Copies what is at the address to `path`. Raises what fsspec raises, and Unreachable for what the disk has no room
    for."""
    about = files.info(address)
    size, room = about.get("size"), shutil.disk_usage(path.parent).free
    if about.get("type") == "directory":
        raise Unreachable("a folder")
    if size is not None and size > room:
        raise Unreachable(f"{size / 1e9:.1f} GB, {path.parent.parent} has room for {room / 1e9:.1f} GB (TMPDIR)")
    callback = importlib.import_module("fsspec.callbacks").Callback(hooks={"alive": lambda *_, **__: heartbeat()})
    files.get_file(address, str(path), callback=callback)
    came = path.stat().st_size
    if size is not None and came != size:
        raise EOFError(f"{came:,} of {size:,} bytes came")
    names = ("ETag", "etag", "mtime", "LastModified", "last_modified", "Last-Modified", "created", "blob_id")
    stamp = next((str(about[name]) for name in names if about.get(name)), "")
    return f"{stamp} {came}".strip()


def find_cause(error: Exception) -> BaseException:
    """fsspec calls every failure of HTTP a missing file."""
    return error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error


def is_lasting(error: BaseException) -> bool:
    """Whether the next try would fail as well."""
    lasting = (FileNotFoundError, PermissionError, IsADirectoryError, ImportError, Unreachable, ValueError)
    status = status_of(error)
    if status is not None:
        return status in LASTING
    return isinstance(error, lasting) or is_full(error) or type(error).__name__ == "NoCredentialsError"


def is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def status_of(error: BaseException) -> int | None:
    """The number of a server's answer; None if that is not the cause."""
    answer = getattr(error, "response", None)
    about = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
    status = getattr(error, "status", None) or getattr(answer, "status_code", None) or about.get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def explain(error: BaseException, address: str) -> str:
    status = status_of(error)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return "not found"
    if isinstance(error, PermissionError) or status in (401, 403):
        return "no permission"
    if status is not None:
        return f"the server answers {status}"
    if isinstance(error, TimeoutError):
        return f"no answer for {PATIENCE_S:g} s"
    if is_full(error):
        return f"no room for it in {tempfile.gettempdir()} (TMPDIR)"
    return hide_secrets(str(error) if isinstance(error, Unreachable) else first_line(error), address)
