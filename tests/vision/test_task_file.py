"""The download of MediaPipe's task file, from a server on this machine."""

import dataclasses
import hashlib
import http.server
import threading
from contextlib import closing
from socket import socket

import numpy as np
import pytest

from handtool.errors import HandtoolError
from handtool.stages import doctor as stage
from handtool.stages.doctor import fetch_task
from handtool.vision import task_file
from handtool.vision.task_file import RemoteFile, download

CONTENT = np.random.default_rng(0).bytes(200_000)
ENOUGH = threading.Event()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302 if self.path == "/moved" else 200 if self.path != "/gone" else 404)
        if self.path == "/moved":
            self.send_header("Location", "ftp://127.0.0.1/good")
        self.send_header("Content-Length", str(0 if self.path in ("/moved", "/gone") else len(CONTENT)))
        self.end_headers()
        body = {"/good": CONTENT, "/cut": CONTENT[:70_000], "/other": CONTENT[::-1]}.get(self.path, b"")
        self.wfile.write(body)
        if self.path == "/stall":
            self.wfile.write(CONTENT[:50_000])
            self.wfile.flush()
            ENOUGH.wait(10)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """-> the place in the cache. Addresses without https are good here."""
    monkeypatch.setattr(task_file, "SCHEMES", ("http",))
    monkeypatch.setenv("HANDTOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hand_landmarker.task"


def fetch(monkeypatch, address, seen=None, **changes):
    remote = RemoteFile(address, SHA256, len(CONTENT))
    monkeypatch.setattr(stage, "HAND_LANDMARKER", dataclasses.replace(remote, **changes))
    return fetch_task(lambda what, done, total=None, **_: seen is not None and seen.append((done, total)))


def test_a_good_file_is_kept_whole_and_its_progress_shown(server, cache, monkeypatch):
    seen = []
    assert "200,000 bytes, with the published sha256" in fetch(monkeypatch, f"{server}/good", seen)
    assert cache.read_bytes() == CONTENT and [path.name for path in cache.parent.iterdir()] == [cache.name]
    assert seen[-1] == (200_000, 200_000) and len(seen) > 2


def test_what_is_in_the_cache_is_not_fetched_again_nor_replaced(cache, monkeypatch):
    cache.parent.mkdir()
    cache.write_bytes(CONTENT)
    assert fetch(monkeypatch, "http://nowhere.invalid/") == f"{cache} is there already"
    cache.write_bytes(b"mine")
    assert "is not the published file, and is left as it is" in fetch(monkeypatch, "http://nowhere.invalid/")
    assert cache.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "path, said",
    [
        ("other", "sends another file"),
        ("cut", "ended after 70,000 of 200,000 bytes|could not be read after 70,000 bytes"),
        ("gone", "answers 404 Not Found"),
        ("moved", "could not be read after 0 bytes .ftp://127.0.0.1/good is not https"),
    ],
)
def test_anything_else_leaves_nothing_behind_and_names_what_to_fetch_by_hand(server, cache, monkeypatch, path, said):
    with pytest.raises(HandtoolError, match=said) as caught:
        fetch(monkeypatch, f"{server}/{path}")
    assert (
        f"{server}/{path}" in caught.value.message and str(cache) in caught.value.hint and SHA256 in caught.value.hint
    )
    assert not list(cache.parent.iterdir())
    fetch(monkeypatch, f"{server}/good")  # the next try begins anew
    assert cache.read_bytes() == CONTENT


def test_a_server_that_falls_silent_is_given_up(server, cache, monkeypatch):
    monkeypatch.setattr(task_file, "TIMEOUT_S", 0.3)
    with pytest.raises(HandtoolError, match=r"could not be read after [\d,]+ bytes \(.*timed out"):
        fetch(monkeypatch, f"{server}/stall")
    ENOUGH.set()
    assert not list(cache.parent.iterdir())


def test_a_file_larger_than_the_published_one_is_given_up(server, cache, monkeypatch):
    seen = []
    with pytest.raises(HandtoolError, match="sends more than the 100,000 bytes"):
        fetch(monkeypatch, f"{server}/good", seen, size=100_000)
    assert seen[-1][0] <= 100_000 and not cache.exists()


def test_offline_is_an_error_that_says_where_the_file_is(cache, monkeypatch):
    with closing(socket()) as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/good"
    with pytest.raises(HandtoolError, match="could not be read after 0 bytes .*refused") as caught:
        fetch(monkeypatch, address)
    assert "on another machine" in caught.value.hint and not list(cache.parent.iterdir())


def test_only_https_is_fetched(server, tmp_path):
    for address in (f"{server}/good", "file:///etc/passwd"):
        with pytest.raises(HandtoolError, match="is not https"), open(tmp_path / "f", "wb") as file:
            download(RemoteFile(address, SHA256, len(CONTENT)), tmp_path / "f", file)
    assert not (tmp_path / "f").read_bytes() and task_file.HAND_LANDMARKER.address.startswith("https://")


def test_a_cache_that_cannot_be_made_is_a_line(monkeypatch):
    monkeypatch.setenv("HANDTOOL_CACHE", "/proc/self/cache")
    with pytest.raises(HandtoolError, match="cannot make /proc/self/cache"):
        fetch(monkeypatch, "http://nowhere.invalid/")
