"""Films and images inside tars: read where they lie as plain files are, one video each, whoever asks for them."""

import json
import shutil
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
from archives import add, header, make_tar, padded
from footage import make_video, picture, run_stage, tables_of, write_image

from handtool import store
from handtool.config import ExtractConfig, SplitConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.extraction.cameras import give_cameras
from handtool.sources import tar_index
from handtool.sources.factories import find_people
from handtool.sources.find import find_videos
from handtool.sources.folder_chunks import split_into_chunks
from handtool.sources.frame import Sampling, Tally, Video
from handtool.sources.read import read_frames
from handtool.sources.reopen import find_again
from handtool.sources.shards import divide_into_shards, size_of
from handtool.sources.tar_videos import DAMAGED, HIDDEN, IS_PACKED, NESTED, NO_TAR, find_clips
from handtool.stages.extract import extract
from handtool.store import VIDEOS

ONE = ExtractConfig(workers=1, whole=True, fps=2)
SIZE = (64, 48)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return [make_video(folder / f"{number}.mp4", frames=20 + 5 * number, size=SIZE) for number in range(4)]


def read(video: Video, **sampling):
    tally = Tally()
    frames = [(frame.number, frame.time, frame.image) for frame in read_frames(video, Sampling(**sampling), tally)]
    outcome = tally.as_outcome()
    return [each[:2] for each in frames], [each[2] for each in frames], {name: str(outcome[name]) for name in outcome}


def names_in(*paths: Path) -> list[str]:
    return [video.name for video in find_videos([*paths]).videos]


def jpeg(number: int = 1) -> bytes:
    import cv2

    return cv2.imencode(".jpg", picture(number, 9, SIZE))[1].tobytes()


@pytest.mark.parametrize("sampling", [{"fps": 5}, {"fps": 5, "decode": "all"}, {"every": 3}, {"keyframes": True}])
def test_a_film_in_a_tar_gives_what_the_plain_file_gives(tmp_path, films, sampling):
    path = make_tar(tmp_path / "a.tar", {f"{number}.mp4": film for number, film in enumerate(films)})
    videos = find_videos([path]).videos
    assert [video.name for video in videos] == [f"a.tar/{number}.mp4" for number in range(4)]
    assert [size_of(video) for video in videos] == [film.stat().st_size for film in films]
    for video, film in zip(videos, films, strict=True):
        inside, plain = read(video, **sampling), read(Video("a", str(film), "video"), **sampling)
        assert inside[0] == plain[0] and inside[2] == plain[2] and np.array_equal(inside[1], plain[1])


@pytest.mark.parametrize("name", ["film.mkv", "film.avi", "film.h264", "film.ts", "film.webp", "film.mov"])
def test_other_containers_are_read_in_a_tar_as_they_are_outside(tmp_path, name):
    path = tmp_path / name
    if name == "film.webp":
        import cv2

        if not hasattr(cv2, "imencodeanimation"):
            pytest.skip("this OpenCV writes no animation")
        animation = cv2.Animation()
        animation.frames, animation.durations = [picture(n, 5, SIZE) for n in range(5)], [200] * 5
        path.write_bytes(cv2.imencodeanimation(".webp", animation)[1].tobytes())
    else:
        make_video(path, frames=20, size=SIZE)
    (video,) = find_videos([make_tar(tmp_path / "a.tar", {name: path})]).videos
    inside, plain = read(video, fps=5), read(Video("a", str(path), "video"), fps=5)
    assert len(inside[0]) > 2 and inside[0] == plain[0] and inside[2] == plain[2]
    assert video.kind == "video" and np.array_equal(inside[1], plain[1])


def test_a_film_never_reads_a_byte_of_its_neighbours(tmp_path, films):
    whole = films[0].read_bytes()
    for cut in (200, len(whole) // 2, len(whole) * 3 // 4):
        alone = tmp_path / "alone.mp4"
        alone.write_bytes(whole[:cut])
        path = make_tar(tmp_path / "a.tar", {"a.mp4": whole[:cut], "b.mp4": whole[cut:] + whole})
        inside, plain = read(find_videos([path]).videos[0]), read(Video("a", str(alone), "video"))
        assert inside[0] == plain[0] and inside[2] == plain[2] and inside[2]["status"] != "ok"


def test_images_are_one_video_of_each_folder_clip_and_camera():
    names = [f"a/{number:03d}.jpg" for number in range(3)]
    names += [f"{number}.image_{camera}.jpg" for camera in "12" for number in "34"]
    names += [f"b/walk_{number}.png" for number in range(2)] + [f"b/run-{number}.png" for number in range(2)]
    names += ["c/one.jpg", "c/two.jpg", "c/three.jpg", "d/frame.001.jpg", "d/frame.002.jpg"]
    assert {clip: len(own) for clip, own in find_clips(names).items()} == {
        "a": 3,
        "image_1": 2,
        "image_2": 2,
        "b/walk": 2,
        "b/run": 2,
        "c": 3,
        "d/frame": 2,
    }


def test_images_in_a_tar_give_what_a_folder_gives(tmp_path):
    for number in (10, 9, 1):
        write_image(tmp_path / "plain" / f"{number}.jpg", picture(number, 12, SIZE))
    (tmp_path / "plain" / "2.jpg").write_bytes(b"")
    (tmp_path / "plain" / "3.jpg").write_bytes(jpeg()[:-200])
    path = make_tar(tmp_path / "a.tar", {f"x/{file.name}": file for file in (tmp_path / "plain").iterdir()})
    (folder,), (inside,) = find_videos([tmp_path / "plain"]).videos, find_videos([path]).videos
    assert inside.name == "a.tar/x" and inside.path == f"{path}/x" and inside.kind == "images"
    (numbers, images, told), (there, plain, said) = read(inside), read(folder)
    assert str(numbers) == str(there) and told == said and np.array_equal(images, plain)
    assert "1 images cut short" in told["status"]
    assert [frame.jpeg for frame in read_frames(inside, Sampling(), Tally())] == [
        frame.jpeg for frame in read_frames(folder, Sampling(), Tally())
    ]


def test_many_images_in_a_tar_are_read_in_chunks_and_up_to_a_limit(tmp_path):
    path = make_tar(tmp_path / "a.tar", {f"{number:05d}.jpg": jpeg(number % 9) for number in range(2100)})
    (video,) = find_videos([path]).videos
    first, second = split_into_chunks(video)
    assert (len(first.spans), second.first, second.spans) == (2048, 2048, video.spans[2048:])
    frames = list(read_frames(second, Sampling(every=25), Tally()))
    assert [frame.number for frame in frames] == [2050, 2075] and frames[0].jpeg == jpeg(2050 % 9)
    (some,) = find_videos([path], limit=3).videos
    assert some.files == video.files[:3] and some.spans == video.spans[:3] and len(video.files) == 2100


def film_of(seed: int, path: Path) -> Path:
    """A film that is like no other: tiles of random grey, others on each frame."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for tiles in rng.integers(0, 256, (8, 8, 8), np.uint8):
            image = np.repeat(np.kron(tiles, np.ones((8, 8), np.uint8))[:, :, None], 3, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def make_factories(root: Path, style: str) -> Path:
    """Two factories with two workers each, as Egocentric-10K or -100K has them."""
    part = 0
    for factory in (1, 2):
        for worker in (1, 2):
            members: dict[str, bytes | Path] = {}
            f, w = f"factory_{factory:03d}", f"worker_{worker:03d}"
            for number in range(2):
                film = film_of(10 * part + number, root.parent / f"{part}-{number}.mp4")
                name = (
                    f"factory{factory:03d}_worker{worker:03d}_{number:05d}"
                    if style == "10K"
                    else f"{f}_{w}_{number:04d}"
                )
                members[f"{name}.mp4"] = film
                members[f"{name}.json"] = json.dumps({"factory_id": f, "worker_id": w, "codec": "h265"}).encode()
            folder = root / f / "workers" / w if style == "10K" else root / f.replace("_", "") / w.replace("_", "")
            file = f"factory{factory:03d}_worker{worker:03d}_part00.tar" if style == "10K" else f"part{part:03d}.tar"
            make_tar(folder / file, members)
            part += 1
    return root


@pytest.mark.parametrize("style", ["10K", "100K"])
def test_factory_and_worker_are_place_and_subject_and_divide_the_hands(tmp_path, style, in_this_process):
    from handtool.stages.split import split

    root, output = make_factories(tmp_path / "set", style), tmp_path / "o.h5"
    report = run_stage(extract, [root], output, ONE)
    with store.open_file(output) as file:
        subjects, places = (store.read_column(file, column).tolist() for column in (VIDEOS.subject, VIDEOS.place))
    people = [f"factory_{f:03d}/worker_{w:03d}" for f in (1, 2) for w in (1, 2)]
    assert subjects == [person for person in people for _ in range(2)] and not report.get("files_left_out")
    assert places == [person.partition("/")[0] for person in subjects]
    parts = []
    for part in (0, 1):
        record = store.Record("handtool split", {}, [])
        with store.open_file(output) as file, store.create_file(tmp_path / f"{part}.h5", record, [file]) as sink:
            sink.finish(split(file, sink, SplitConfig(by="subject", shares=(0.5, 0.5), part=part)))
        with store.open_file(tmp_path / f"{part}.h5") as file:
            parts.append(set(store.read_column(file, VIDEOS.subject).tolist()))
    assert not parts[0] & parts[1] and parts[0] | parts[1] == set(people)


@pytest.mark.parametrize(
    "path, about, told",
    [
        ("factory_001/workers/worker_002/factory001_worker002_part00.tar/factory001_worker002_00003.mp4", None, (1, 2)),
        ("factory003/worker004/part012.tar/factory_003_worker_004_0000.mp4", None, (3, 4)),
        ("factory_9/worker_8/part0.tar/factory003_worker004_0.mp4", None, (3, 4)),
        ("a/b.tar/c.mp4", {"factory_id": "factory_005", "worker_id": "worker_006"}, (5, 6)),
        ("a/b.tar/c.mp4", None, ("", "")),
        ("manufactory_1/coworker_2.tar/c.mp4", None, ("", "")),
        ("factory_1/b.tar/c.mp4", {"worker_id": 7}, ("", "factory_001")),
        ("a/b.tar/c.mp4", {"factory_id": "Leeds", "worker_id": "Ann"}, ("Leeds/Ann", "Leeds")),
        ("worker_5/b.tar/c.mp4", [], ("worker_005", "")),
    ],
)
def test_people_and_places_by_path_and_by_json(path, about, told):
    subject, place = find_people(path, b"" if about is None else json.dumps(about).encode())
    if isinstance(told[0], int):
        told = f"factory_{told[0]:03d}/worker_{told[1]:03d}", f"factory_{told[0]:03d}"
    assert (subject, place) == told


def test_a_bad_json_beside_a_film_is_counted_and_the_film_is_read(tmp_path, films):
    bad = {"a": b"{", "b": b"[" * 5000, "c": b"1" * (1 << 17), "d": b"\xff\xfe"}
    members = {f"{name}.mp4": films[0] for name in bad} | {f"{name}.json": text for name, text in bad.items()}
    found = find_videos([make_tar(tmp_path / "a.tar", members)])
    assert len(found.videos) == 4 and found.left_out == {"json beside films in tars that cannot be read": 4}
    assert all(video.subject == "" for video in found.videos)


def test_a_tar_beside_other_films_is_searched_in_its_turn(tmp_path, films):
    shutil.copy(films[0], tmp_path / "1.mp4")
    shutil.copy(films[0], tmp_path / "10.mp4")
    hidden = {".hidden.mp4": b"1", "__MACOSX/._b.mp4": b"1"}
    make_tar(tmp_path / "2.tar", {"a/b.mp4": films[1], "notes.txt": b"?"} | hidden)
    (tmp_path / "link.tar").symlink_to(tmp_path / "2.tar")
    (tmp_path / "3.tar.gz").write_bytes(b"\x1f\x8b")
    make_tar(tmp_path / "4.tar", {"inner.tar": b"1", "inner.tgz": b"1"})
    (tmp_path / "5.tar").write_bytes(b"no tar")
    found = find_videos([tmp_path])
    top = tmp_path.name
    assert [video.name for video in found.videos] == [f"{top}/1.mp4", f"{top}/2.tar/a/b.mp4", f"{top}/10.mp4"]
    assert dict(found.left_out) == {
        "not a video or image by its ending": 1,
        HIDDEN: 2,
        "named twice": 1,
        IS_PACKED: 1,
        NESTED: 2,
        NO_TAR: 1,
    }


def test_tars_come_from_a_list_too_and_a_missing_one_is_a_video_that_cannot_be_read(tmp_path, films):
    path = make_tar(tmp_path / "a.tar", {"a.mp4": films[0]})
    found = find_videos([], listed=[path, tmp_path / "gone.tar", path, tmp_path / "b.tar.gz"])
    assert [video.name for video in found.videos] == ["a.tar/a.mp4", "gone.tar"]
    assert found.left_out == {"named twice": 1, IS_PACKED: 1}
    assert "No such file" in read(found.videos[1])[2]["status"]


@pytest.mark.parametrize(
    "name, program", [("a.tar.gz", "gzip -d"), ("a.TGZ", "gzip -d"), ("a.tar.zst", "zstd -d"), ("a.tar.xz", "xz -d")]
)
def test_a_compressed_tar_is_refused_with_what_to_do(tmp_path, name, program):
    (tmp_path / name).write_bytes(b"\x1f\x8b")
    with pytest.raises(HandtoolError, match="compressed") as caught:
        find_videos([tmp_path / name])
    assert caught.value.hint == f"{program} {tmp_path / name}"


def hostile(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.tar"
    if kind == "paths":
        return make_tar(path, {"../../out.mp4": b"1", "/out.mp4": b"1"})
    if kind == "links":
        with tarfile.open(path, "w") as tar:
            add(tar, "a.mp4", kind=tarfile.SYMTYPE, link="/etc/passwd")
            add(tar, "b.mp4", kind=tarfile.LNKTYPE, link="/etc/passwd")
        return path
    if kind == "nested":
        return make_tar(path, {"a.tar": make_tar(tmp_path / "in.tar", {"a.mp4": b"1"})})
    contents = {
        "size": header(b"x", b"7" * 11, b"x"),
        "sparse": header(b"a.mp4", 512, b"S", b"ustar  \0") + bytes(512),
        "text": b"<html>not found",
        "packed": b"\x1f\x8b" * 999,
    }
    path.write_bytes(contents[kind])
    return path


def test_a_tar_at_an_address_is_refused():
    with pytest.raises(WrongCommand, match="is a tar: only videos"):
        find_videos([], listed=["https://example.org/part00.tar?token=a"])


def test_a_folder_of_compressed_tars_alone_says_so(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(HandtoolError, match="1 compressed tars, which cannot be read in place"):
        find_videos([tmp_path])


REFUSALS = {
    "paths": "2 members of tars whose path is absolute",
    "links": "2 links in tars",
    "nested": "1 tars in tars",
    "size": "is no tar: a header of 8,589,934,591 bytes",
    "sparse": "1 sparse members of tars",
    "text": "html pages in place of a download",
    "packed": "gzip -d",
}


@pytest.mark.parametrize("kind, told", REFUSALS.items())
def test_a_hostile_tar_is_refused_in_one_line(tmp_path, kind, told):
    path, before = hostile(tmp_path, kind), sorted(tmp_path.rglob("*"))
    with pytest.raises(DamagedFile) as caught:
        find_videos([path])
    assert "\n" not in caught.value.message and told in caught.value.message
    assert sorted(tmp_path.rglob("*")) == before


def test_films_before_the_damage_are_read_and_what_is_cut_is_counted(tmp_path, films, in_this_process):
    whole = make_tar(tmp_path / "a.tar", {f"{number}.mp4": film for number, film in enumerate(films)})
    index = tar_index.read_index(str(whole))
    offset, size = index.spans["2.mp4"]
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[: offset + size // 2])
    found = find_videos([cut])
    assert found.left_out == {DAMAGED: 1} and len(found.videos) == 3
    report = run_stage(extract, [cut], tmp_path / "o.h5", ONE)
    assert report["accounting"][0] == {"what": "videos", "in": 3, "done": 2, "skipped": {}, "failed": {"cut short": 1}}
    (bad,) = report["videos_not_read_whole"]
    assert bad["video"] == "cut.tar/2.mp4" and f"{size // 2:,} of {size:,} bytes" in bad["status"]


def test_a_film_that_claims_more_than_there_is_is_not_opened(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(header(b"a.mp4", b"7" * 11) + padded(b"?") + header(b"b.mp4", 1) + padded(b"1"))
    (video,) = find_videos([path]).videos
    assert "cut short" in read(video)[2]["status"]
    path.write_bytes(header(b"a.jpg", b"7" * 11) + padded(jpeg()))
    (video,) = find_videos([path]).videos
    assert "images" in read(video)[2]["status"]


def test_a_run_goes_on_member_by_member_and_reads_the_list_once(tmp_path, films, monkeypatch, in_this_process):
    path, calls, real = make_tar(tmp_path / "a.tar", {f"{n}.mp4": films[n % 4] for n in range(8)}), [], read_frames
    whole = run_stage(extract, [path], tmp_path / "whole.h5", ONE)

    def stop(video, *more):
        calls.append(video.name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(video, *more)

    listed, tell = [], tar_index.read_members
    monkeypatch.setattr(tar_index, "read_members", lambda *given: listed.append(1) or tell(*given))
    monkeypatch.setattr("handtool.extraction.reading.read_frames", stop)
    config = ExtractConfig(workers=1, whole=True, fps=2)
    tar_index.index_at.cache_clear()
    with pytest.raises(KeyboardInterrupt):
        run_stage(extract, [path], tmp_path / "o.h5", config, keep_job=True)
    assert len(listed) == 1
    assert run_stage(extract, [path], tmp_path / "o.h5", config) == whole
    assert len(calls) == 4 + 5, "three were done"
    first, second = tables_of(tmp_path / "whole.h5"), tables_of(tmp_path / "o.h5")
    assert all(np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f") for name in first)


def test_shards_deal_out_members_and_together_have_all(tmp_path, films, in_this_process):
    path = make_tar(tmp_path / "a.tar", {f"{number}.mp4": films[number % 4] for number in range(7)})
    videos, names = find_videos([path]).videos, []
    assert sorted(sum(divide_into_shards(videos, 3), [])) == list(range(7))
    for number in (1, 2):
        output = tmp_path / f"{number}.h5"
        run_stage(extract, [path], output, ExtractConfig(workers=1, whole=True, fps=2, shard=f"{number}/2"))
        with store.open_file(output) as file:
            names += store.read_column(file, VIDEOS.name).tolist()
    assert sorted(names) == [video.name for video in videos]


def test_footage_in_a_tar_is_found_again_also_where_it_was_moved(tmp_path, films, monkeypatch):
    path = make_tar(tmp_path / "a" / "x.tar", {"b/0.mp4": films[0], "i/1.jpg": jpeg(), "i/2.jpg": jpeg()})
    monkeypatch.chdir(tmp_path)
    for video in find_videos([Path("a")]).videos:
        again = find_again(video.name, video.path, [], [])
        assert again is not None and (again.spans, again.path) == (video.spans, video.path)
    noted = [(video.name, video.path) for video in find_videos([Path("a")]).videos]
    (tmp_path / "moved").mkdir()
    shutil.move(path, tmp_path / "moved" / "x.tar")
    for name, place in noted:
        assert find_again(name, place, [], []) is None
        again = find_again(name, place, [tmp_path / "moved"], [])
        assert again is not None and len(read(again)[0])


def test_the_camera_of_a_film_is_found_in_its_tar_or_beside_it(tmp_path, films):
    def lens(fx: float) -> bytes:
        told = dict(model="fisheye", fx=fx, fy=fx, cx=31.5, cy=23.5, k1=0.1, k2=0, k3=0, k4=0)
        return json.dumps(told | {"image_width": SIZE[0], "image_height": SIZE[1]}).encode()

    members = {"a/0.mp4": films[0], "b/c/1.mp4": films[1], "b/intrinsics.json": lens(1), "2.mp4": films[2]}
    root = tmp_path / "set"
    one = make_tar(root / "x" / "1.tar", members)
    make_tar(root / "x" / "2.tar", members | {"intrinsics.json": lens(2)})
    make_tar(root / "y" / "3.tar", {"i/1.jpg": jpeg(), "i/2.jpg": jpeg(), "i/intrinsics.json": b"[" * (2 << 20)})
    (root / "x" / "intrinsics.json").write_bytes(lens(3))
    (root / "intrinsics.json").write_bytes(lens(4))
    for source in (root, one):
        found = find_videos([source])
        videos = give_cameras(found.videos, [source], None, False)
        known = {video.path[len(str(root)) + 1 :]: video.lens and video.lens.numbers[0] for video in videos}
        first = {"x/1.tar/2.mp4": 3, "x/1.tar/a/0.mp4": 3, "x/1.tar/b/c/1.mp4": 1}
        second = {"x/2.tar/2.mp4": 2, "x/2.tar/a/0.mp4": 2, "x/2.tar/b/c/1.mp4": 1}
        assert known == (first if source == one else first | second | {"y/3.tar/i": None})
        assert "not a video or image by its ending" not in found.left_out
