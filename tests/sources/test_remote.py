"""Films at addresses: fetched one at a time, kept nowhere, told apart from what is not there, without secrets."""

import contextlib
import errno
import json
import os
import tempfile
import threading
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from comparing import reasons
from footage import make_boxes, make_video, run_stage, tables_of

import handtool as package
from handtool import store
from handtool.config import ExtractConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.sources import remote
from handtool.sources.find import find_videos
from handtool.sources.frame import Sampling, Tally
from handtool.sources.read import read_frames
from handtool.sources.remote import check_protocols, explain, is_lasting
from handtool.sources.shards import divide_into_shards
from handtool.stages.extract import extract
from handtool.store import VIDEOS

ONE = ExtractConfig(workers=1)
SECRET = "s3cr3t"


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    for number, name in enumerate("abc"):
        make_video(folder / f"{name}.mp4", frames=60 + 30 * number)
    hands = {f"{name}.mp4#{number}": [[10, 10, 30, 20], [50, 20, 30, 30]] for name in "abc" for number in (0, 30, 60)}
    return folder, make_boxes(tmp_path / "boxes.json", hands, side="left")


@pytest.fixture(autouse=True)
def impatient(monkeypatch, tmp_path, in_this_process):
    """Tries again at once, and temporary files in a folder of their own."""
    monkeypatch.setattr(remote, "WAITS_S", (0.02, 0.02))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def server(films):
    """Films by HTTP, and what their folders ask for: busy-2/a.mp4 is refused twice, and so on."""
    pytest.importorskip("aiohttp")
    folder, asked = films[0], Counter()

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self):  # noqa: N802
            self.do_GET()

        def do_GET(self):  # noqa: N802
            what, _, name = self.path.partition("?")[0].strip("/").rpartition("/")
            kind, _, times = what.partition("-")
            asked[self.command, self.path] += 1
            data = (folder / name).read_bytes() if (folder / name).exists() else None
            if data is None:
                return self.send_error(404)
            if kind == "busy" and asked[self.command, self.path] <= int(times):
                return self.send_error(503)
            if kind == "denied":
                return self.send_error(403)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{name}-1"')
            self.end_headers()
            if self.command == "GET":
                with contextlib.suppress(OSError):
                    self.wfile.write(data[:1000] if kind == "cut" else data)
            self.close_connection = kind == "cut"

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def statuses(path):
    with store.open_file(path) as file:
        return [store.read_column(file, column).tolist() for column in (VIDEOS.path, VIDEOS.status, VIDEOS.version)]


def same_but_for_the_place(one, other):
    mine, theirs = tables_of(one), tables_of(other)
    for name in mine.keys() - {"videos/path", "videos/version", "videos/name"}:
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)


def test_the_hands_are_those_of_the_same_films_on_the_disk_and_nothing_is_kept(films, tmp_path):
    folder, boxes = films
    films = [folder / f"{name}.mp4" for name in "abc"]
    run_stage(extract, [], tmp_path / "local.h5", ONE, listed=films, boxes=boxes)
    listed = [films[0], f"file://{films[1]}", f"file://{films[2]}"]
    run_stage(extract, [], tmp_path / "o.h5", ONE, listed=listed, boxes=boxes)
    same_but_for_the_place(tmp_path / "o.h5", tmp_path / "local.h5")
    paths, status, version = statuses(tmp_path / "o.h5")
    assert paths == list(map(str, listed)) and status == ["ok"] * 3
    assert version[0] == "" and version[1].endswith(f" {films[1].stat().st_size}")
    assert not list((tmp_path / "tmp").glob("handtool-*"))


def test_a_film_is_one_at_a_time_on_the_disk_and_without_a_name(films, tmp_path):
    folder, _ = films
    (video,) = find_videos([], listed=[f"file://{folder / 'a.mp4'}"]).videos
    frames = read_frames(video, Sampling(), tally := Tally())
    assert next(frames).name == f"file://{folder / 'a.mp4'}#0" and tally.version
    (place,) = (tmp_path / "tmp").glob("handtool-*")
    (film,) = place.iterdir()
    assert film.is_symlink() and film.name == "film.mp4" and place.joinpath(os.readlink(film)).is_symlink() is not None
    assert sum(path.lstat().st_size for path in place.iterdir()) < 100, "only the name of an open file"
    frames.close()
    assert not list((tmp_path / "tmp").glob("handtool-*"))


def test_what_cannot_be_fetched_is_listed_with_its_reason_and_costs_no_other(films, server, tmp_path):
    folder, boxes = films
    host, asked = server
    words = ["good/a.mp4", "none/x.mp4", "denied/b.mp4", "busy-2/c.mp4", "busy-99/b.mp4", "cut/b.mp4"]
    listed = [f"http://{host}/{word}" for word in words]
    report = run_stage(extract, [], tmp_path / "o.h5", ONE, listed=listed, boxes=None if not boxes else boxes)
    paths, status, version = statuses(tmp_path / "o.h5")
    assert paths == listed and status[0] == status[3] == "ok"
    assert status[1] == "cannot be fetched: not found" and status[2] == "cannot be fetched: no permission"
    assert status[4] == "cannot be fetched: the server answers 503"
    assert status[5].startswith("cannot be fetched: ")
    assert version[0] == f'"a.mp4-1" {(folder / "a.mp4").stat().st_size}'
    assert asked["GET", "/none/x.mp4"] <= 2 and asked["GET", "/busy-99/b.mp4"] >= 3
    assert reasons(report, "videos") | {"what": 0} == {
        "what": 0,
        "in": 6,
        "done": 2,
        "skipped": {},
        "failed": {"cannot be fetched": 4},
    }


def test_signatures_and_passwords_are_nowhere_and_what_is_done_is_not_fetched_again(films, server, tmp_path, caplog):
    caplog.set_level("DEBUG", logger="handtool")  # a command prints no others
    folder, boxes = films
    host, asked = server
    listed = [f"http://me:{SECRET}@{host}/good/{name}.mp4?X-Amz-Signature={SECRET}" for name in "ab"]
    listed.append(f"http://{host}/denied/c.mp4?sig={SECRET}")
    output = tmp_path / "o.h5"
    report = run_stage(extract, [], output, ONE, keep_job=True, listed=listed, boxes=boxes)
    assert statuses(output)[0] == [f"http://{host}/{name}.mp4" for name in ("good/a", "good/b", "denied/c")]
    kept = [output, *(path for path in (tmp_path / "o.h5.partial").rglob("*") if path.is_file())]
    assert len(kept) > 3 and not any(SECRET.encode() in path.read_bytes() for path in kept)
    assert SECRET not in caplog.text and SECRET not in json.dumps(report, default=str)
    fetched = sum(asked.values())
    again = [address.replace(f"X-Amz-Signature={SECRET}", "X-Amz-Signature=another") for address in listed]
    run_stage(extract, [], output, ONE, listed=again, boxes=boxes)
    assert sum(asked.values()) == fetched, "the parts are there"


def test_the_command_resumes_retries_and_knows_a_film_by_its_address(films, server, tmp_path, handtool):
    aiohttp, (folder, boxes) = pytest.importorskip("aiohttp"), films
    host, _ = server
    paths = os.pathsep.join([str(Path(package.__file__).parents[1]), str(Path(aiohttp.__file__).parents[1])])
    command = partial(handtool, fresh=True, env={"PYTHONPATH": paths})
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"http://{host}/good/{name}.mp4?sig={SECRET}\n" for name in "abx"))
    words = ["extract", "--list", listed, "--boxes", boxes, "--workers", "1", "-o", tmp_path / "o.h5", "--json"]
    first = command(*words)
    assert first.returncode == 0, first.stderr
    listed.write_text(listed.read_text().replace(SECRET, "another"))
    kept = command(*words)
    assert json.loads(kept.stdout)["up_to_date"], kept.stderr
    (folder / "x.mp4").write_bytes((folder / "c.mp4").read_bytes())
    again = command(*words, "--retry-failed")
    assert again.returncode == 0, again.stderr
    assert reasons(json.loads(again.stdout)["report"], "videos")["done"] == 3
    whole = command(*words[:-2], tmp_path / "whole.h5")
    assert whole.returncode == 0 and tables_of(tmp_path / "o.h5").keys() == tables_of(tmp_path / "whole.h5").keys()
    for name, values in tables_of(tmp_path / "o.h5").items():
        np.testing.assert_array_equal(values, tables_of(tmp_path / "whole.h5")[name], err_msg=name)
    assert SECRET not in first.stderr + first.stdout + again.stderr + again.stdout
    refused = command("extract", f"https://u:{SECRET}@h/x.mp4?sig={SECRET}", "-o", tmp_path / "n.h5")
    assert refused.returncode == 2 and "--list FILE" in refused.stderr and SECRET not in refused.stderr


def test_films_of_s3_are_read_with_credentials_of_the_environment(films, tmp_path, monkeypatch):
    pytest.importorskip("s3fs")
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    folder, boxes = films
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    try:
        for name, value in {"ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": SECRET, "DEFAULT_REGION": "us-east-1"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        client = boto3.client("s3")
        client.create_bucket(Bucket="films")
        for name in "abc":
            client.upload_file(str(folder / f"{name}.mp4"), "films", f"of hands/{name}.mp4")
        listed = [f"s3://films/of hands/{name}.mp4" for name in "abcx"] + ["s3://none/a.mp4"]
        on_disk = [folder / f"{name}.mp4" for name in "abcx"] + [folder / "none.mp4"]
        run_stage(extract, [], tmp_path / "o.h5", ONE, listed=listed, boxes=boxes)
        run_stage(extract, [], tmp_path / "local.h5", ONE, listed=on_disk, boxes=boxes)
        paths, status, version = statuses(tmp_path / "o.h5")
        assert paths == listed and status[:3] == ["ok"] * 3
        assert status[3:] == ["cannot be fetched: not found"] * 2
        assert all(text.startswith('"') for text in version[:3])
        same = {"videos/frames_decoded", "crops/box", "crops/jpeg_crc32", "crops/video"}
        one, other = tables_of(tmp_path / "o.h5"), tables_of(tmp_path / "local.h5")
        assert all(np.array_equal(one[name], other[name]) for name in same)
        assert SECRET.encode() not in (tmp_path / "o.h5").read_bytes()
    finally:
        server.stop()


def test_shards_do_not_depend_on_the_network():
    listed = [f"https://h/{number}.mp4" for number in range(10)]
    videos = find_videos([], listed=listed).videos
    shards = divide_into_shards(videos, 4)
    assert sorted(sum(shards, [])) == list(range(10)) and max(map(len, shards)) == 3


def test_the_same_film_is_read_once_and_what_is_no_film_is_refused():
    found = find_videos(
        [], listed=["https://h/a.mp4?sig=1", "https://h/a.mp4?sig=2", "https://h/get?id=1", "https://h/get?id=2"]
    )
    assert [video.path for video in found.videos] == ["https://h/a.mp4", "https://h/get", "https://h/get"]
    assert found.left_out == {"named twice": 1} and found.videos[1].address == "https://h/get?id=1"
    assert "id=1" not in repr(found.videos[1])
    with pytest.raises(WrongCommand, match=r"https://h/a\.jpg is an image"):
        find_videos([], listed=["https://h/a.jpg?sig=1"])


def test_a_library_that_is_not_there_is_named_before_the_work(monkeypatch):
    monkeypatch.setattr(remote, "PACKAGES", {"file": "no_such_package"})
    with pytest.raises(HandtoolError, match="file:// addresses need no_such_package") as caught:
        check_protocols(["file:///x", "file:///y"])
    assert caught.value.hint == "pip install 'handtool[remote]'"
    with pytest.raises(HandtoolError, match="knows no nonsense://"):
        check_protocols(["nonsense://x"])


class Refused(Exception):
    def __init__(self, status):
        self.status = status


@pytest.mark.parametrize(
    ("error", "lasting", "said"),
    [
        (FileNotFoundError("https://h/x?sig=1"), True, "not found"),
        (PermissionError("x"), True, "no permission"),
        (Refused(503), False, "the server answers 503"),
        (Refused(410), True, "not found"),
        (Refused(401), True, "no permission"),
        (TimeoutError(), False, "no answer for 15 s"),
        (OSError(errno.ENOSPC, "full"), True, "no room for it in {tmp} (TMPDIR)"),
        (ConnectionResetError("reset, url='https://me:pw@h/x?sig=1'"), False, "reset, url='https://h/x'"),
    ],
)
def test_errors_are_short_and_only_passing_ones_are_tried_again(error, lasting, said):
    assert is_lasting(error) == lasting
    assert explain(error, "https://me:pw@h/x?sig=1") == said.replace("{tmp}", tempfile.gettempdir())


def test_a_film_that_the_disk_has_no_room_for_is_told_with_its_size(films, monkeypatch):
    usage = remote.shutil.disk_usage("/")
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda path: usage._replace(free=10))
    (video,) = find_videos([], listed=[f"file://{films[0] / 'a.mp4'}"]).videos
    assert list(read_frames(video, Sampling(), tally := Tally())) == []
    assert tally.problem.startswith("cannot be fetched: 0.0 GB, ") and tally.problem.endswith("for 0.0 GB (TMPDIR)")
