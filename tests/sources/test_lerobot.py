"""LeRobot sets as sources: every episode of every camera is a video with its own frames, wherever it lies in a film."""

import json
import os

import av
import numpy as np
import pyarrow as pa
import pytest
from footage import run_stage, tables_of
from lerobot_sets import CAMERAS, make_v2, make_v3, shade, write_film, write_table

from handtool.config import ExtractConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.groups import Origin, footage_key
from handtool.sources.find import find_videos
from handtool.sources.frame import Choice, Sampling, Tally
from handtool.sources.read import read_frames
from handtool.sources.shards import divide_into_shards
from handtool.stages.extract import extract
from handtool.store import CROPS, VIDEOS


def find(root, **choice):
    return find_videos([root], choice=Choice(**choice)).videos


def read(video, **sampling):
    tally = Tally()
    return list(read_frames(video, Sampling(**{"every": 1, **sampling}), tally)), tally


def shades(frames):
    return [float(np.median(frame.image)) for frame in frames]


@pytest.fixture(scope="module")
def v3(tmp_path_factory):
    return make_v3(tmp_path_factory.mktemp("v3") / "set")


def test_each_episode_of_each_camera_is_a_video(v3):
    videos = find(v3)
    expected = [f"set/episode_{episode:06d}/{camera}" for episode in range(3) for camera in CAMERAS]
    assert [video.name for video in videos] == expected
    assert [video.place for video in videos[::2]] == ["task 0", "task 1", "task 0"]


@pytest.mark.parametrize("codec", ["h264 with long groups", "h264 with short groups", "av1"])
def test_an_episode_gives_its_own_frames_numbered_from_0(tmp_path, codec):
    options = {"h264 with long groups": {"bf": "3", "g": "250"}, "h264 with short groups": {"bf": "2", "g": "2"}}
    how = (
        {"codec": "libsvtav1", "options": {"preset": "12", "g": "2"}} if codec == "av1" else {"options": options[codec]}
    )
    root = make_v3(tmp_path / "set", fps=30000 / 1001, **how)
    for video in find(root):
        frames, tally = read(video)
        episode, camera = video.episode.number, CAMERAS.index(video.name.rpartition("/")[2])
        length = (12, 9, 15)[episode]
        assert [frame.number for frame in frames] == list(range(length)) and tally.status == "ok"
        assert [frame.time for frame in frames] == pytest.approx([number * 1001 / 30000 for number in range(length)])
        assert shades(frames) == pytest.approx([shade(episode, camera, number) for number in range(length)], abs=1.1)
        assert frames[3].name == f"{video.name}#3" and tally.fps == 30000 / 1001


@pytest.mark.parametrize(
    "sampling, numbers",
    [
        ({"every": None, "fps": 2.0}, [0, 5, 10]),
        ({"every": 4}, [0, 4, 8, 12]),
        ({"every": 4, "decode": "all"}, [0, 4, 8, 12]),
        ({"every": None, "fps": 5.0, "decode": "all"}, [0, 2, 4, 6, 8, 10, 12, 14]),
    ],
)
def test_every_way_of_sampling_counts_from_the_beginning_of_the_episode(v3, sampling, numbers):
    frames, tally = read(find(v3)[-1], **sampling)
    assert [frame.number for frame in frames] == numbers
    assert shades(frames) == pytest.approx([shade(2, 1, number) for number in numbers], abs=1.1)
    assert (tally.decoded, tally.sampled, tally.status, tally.duration) == (15, len(numbers), "ok", 1.5)


def test_key_frames_are_those_of_the_episode(tmp_path):
    root = make_v3(tmp_path / "set", cameras=CAMERAS[:1], options={"g": "4", "bf": "0", "sc_threshold": "0"})
    for decode in ("auto", "all"):
        frames, _ = read(find(root)[1], every=None, fps=100.0, keyframes=True, decode=decode)
        assert [frame.number for frame in frames] == [0, 4, 8], "12, 16 and 20 of the film"


def test_a_late_episode_is_sought_and_not_decoded_from_the_beginning(tmp_path, monkeypatch):
    root = make_v3(tmp_path / "set", lengths=[10] * 20, cameras=CAMERAS[:1], options={"g": "10", "bf": "0"})
    fed, decode = [], av.VideoCodecContext.decode

    from handtool.sources import excerpt

    demux = excerpt.Excerpt.demux
    monkeypatch.setattr(
        excerpt.Excerpt, "demux", lambda self, stream: map(lambda p: fed.append(p) or p, demux(self, stream))
    )
    frames, _ = read(find(root)[-1])
    assert len(frames) == 10 and len(fed) <= 22 and decode


def test_an_episode_between_two_key_frames_is_read_from_the_one_before(tmp_path):
    root = make_v3(tmp_path / "set", cameras=CAMERAS[:1], options={"g": "250", "bf": "3", "x264-params": "scenecut=0"})
    frames, _ = read(find(root)[1], every=3)
    assert shades(frames) == pytest.approx([shade(1, 0, number) for number in (0, 3, 6)], abs=1.1)


def test_version_2_has_a_film_an_episode(tmp_path):
    videos = find(make_v2(tmp_path / "set"))
    assert [video.name for video in videos][2:] == [f"set/episode_000001/{camera}" for camera in CAMERAS]
    for video in videos:
        frames, tally = read(video)
        assert len(frames) == video.episode.length and tally.status == "ok"
        assert shades(frames[:1]) == pytest.approx(
            [shade(video.episode.number, CAMERAS.index(video.name[19:]), 0)], abs=1
        )
    assert [video.place for video in videos[::2]] == ["task 0", "task 1"]


def test_roots_below_a_folder_are_found_and_one_that_is_damaged_is_counted(tmp_path):
    for name in ("pour/a", "pour/b", "cut/c"):
        make_v3(tmp_path / "all" / name, lengths=(5,), cameras=CAMERAS[:1])
    (tmp_path / "all/pour/b/meta/info.json").write_text('{"codebase_version": "v3.0", "fea')
    found = find_videos([tmp_path / "all"])
    assert [video.name for video in found.videos] == [
        f"all/{name}/episode_000000/{CAMERAS[0]}" for name in ("cut/c", "pour/a")
    ]
    assert found.left_out["LeRobot sets that cannot be read"] == 1
    with pytest.raises(DamagedFile, match="info.json cannot be read"):
        find_videos([tmp_path / "all/pour/b"])


def test_the_cameras_of_an_episode_are_one_recording_and_episodes_are_not(v3):
    videos = find(v3)
    texts = [[getattr(video, name) for video in videos] for name in ("name", "path", "subject")]
    origin = Origin("x", np.arange(6), *texts, np.zeros(6), np.zeros(6), [""] * 6)
    keys = [footage_key(origin, number) for number in range(6)]
    assert keys[0] == keys[1] and keys[2] == keys[3] and len(set(keys)) == 3


def test_cameras_and_splits_are_chosen_by_their_names(tmp_path):
    root = make_v3(tmp_path / "set", info={"splits": {"train": "0:2", "val": "2:3"}})
    assert [video.name[4:] for video in find(root, cameras=("wrist",), split="val")] == ["episode_000002/wrist"]
    for choice, told in (({"cameras": ("left",)}, "no 'left'"), ({"split": "test"}, "no split 'test'")):
        with pytest.raises(WrongCommand, match=told):
            find(root, **choice)


def test_depth_and_single_images_are_left_out_and_the_report_says_so(tmp_path):
    depth = {"dtype": "video", "shape": [64, 96, 1], "info": {"video.is_depth_map": True}}
    image = {"dtype": "image", "shape": [64, 96, 3]}
    root = make_v3(tmp_path / "set", features={"depth": depth, "still": image}, cameras=CAMERAS[:1])
    videos = find(root)
    assert len(videos) == 3
    assert list(read(videos[0])[1].notes) == ["depth, not read: depth", "single images, not read: still"]


@pytest.mark.parametrize("task_columns", [("task_index", "task"), ("task_index", "__index_level_0__")])
def test_a_table_without_texts_of_tasks_takes_them_from_the_tasks(tmp_path, task_columns):
    changes = {"tasks": None, "stats/task_index/min": [[1.0], [0.0], [1.0]]}
    root = make_v3(tmp_path / "set", episodes=changes, cameras=CAMERAS[:1])
    write_table(root / "meta/tasks.parquet", dict(zip(task_columns, ([1, 0], ["wash", "dry"]))))
    assert [video.place for video in find(root)] == ["wash", "dry", "wash"]


def test_a_missing_film_is_named_and_the_others_are_read(tmp_path):
    root = make_v3(tmp_path / "set")
    (root / "videos/wrist/chunk-000/file-000.mp4").unlink()
    statuses = [read(video)[1].status for video in find(root)]
    assert statuses[::2] == ["ok"] * 3 and all("No such file" in status for status in statuses[1::2])


def test_an_episode_beyond_its_film_costs_its_missing_frames_and_says_so(tmp_path):
    late = {f"videos/{CAMERAS[0]}/from_timestamp": [0.0, 3.0, 99.0]}
    statuses = []
    for video in find(make_v3(tmp_path / "set", cameras=CAMERAS[:1], episodes=late)):
        for sampling in ({}, {"every": 3}):
            statuses.append(read(video, **sampling)[1].status)
    assert statuses[:2] == ["ok", "ok"]
    assert statuses[2:4] == ["6 of its 9 frames are in the film"] * 2
    assert statuses[4:] == ["no frame could be decoded"] * 2


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"video_path": "../{video_key}/x.mp4"}, "no path inside"),
        ({"video_path": "/etc/passwd"}, "no path inside"),
        ({"data_path": "data/../../x-{chunk_index}.parquet"}, "no path inside"),
        ({"video_path": "videos/{video_key.__class__}.mp4"}, "no template"),
        ({"video_path": "videos/{video_key:0999999999d}.mp4"}, "no template"),
        ({"video_path": "videos/{secret}.mp4"}, "has the word 'secret'"),
        ({"codebase_version": "v4.0"}, "format 'v4.0'"),
        ({"fps": 0}, "frames a second"),
        ({"fps": "1e999"}, "frames a second"),
        ({"features": {"../..": {"dtype": "video"}}}, "no feature"),
        ({"features": {"..": {"dtype": "video"}}}, "no feature"),
        ({"features": {"a": 7}}, "no feature"),
        ({"features": []}, "no features"),
    ],
)
def test_an_info_that_leads_elsewhere_is_refused_in_one_line(tmp_path, changes, told):
    root = make_v3(tmp_path / "set", lengths=(2,), cameras=CAMERAS[:1], info=changes)
    with pytest.raises(DamagedFile, match=told) as caught:
        find(root)
    assert "\n" not in caught.value.message and len(caught.value.message) < 600


@pytest.mark.parametrize(
    "column, values, told",
    [
        ("length", [5, -1, 3], "length is -1 in row 1"),
        ("length", [5, 1 << 62, 3], "length is 4.6"),
        (f"videos/{CAMERAS[0]}/from_timestamp", [0.0, float("inf"), 1.0], "from_timestamp is inf"),
        (f"videos/{CAMERAS[0]}/from_timestamp", [0.0, -3.0, 1.0], "from_timestamp is -3"),
        (f"videos/{CAMERAS[0]}/file_index", [0, 1 << 40, 0], "file_index is"),
        ("length", ["a", "b", "c"], "looked for 1 numbers"),
        ("length", [[1], [1, 2], [3]], "rows of different lengths"),
        ("episode_index", [0.5, 1.0, 2.0], "episode_index is 0.5"),
    ],
)
def test_a_table_of_episodes_that_lies_is_refused_in_one_line(tmp_path, column, values, told):
    root = make_v3(tmp_path / "set", cameras=CAMERAS[:1], episodes={column: values})
    with pytest.raises(DamagedFile, match=told) as caught:
        find(root)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("kind", ["cut short", "zeros within", "no parquet", "empty", "a pipe"])
def test_a_damaged_table_is_refused_in_one_line(tmp_path, kind):
    root = make_v3(tmp_path / "set", cameras=CAMERAS[:1])
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    data = path.read_bytes()
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        zeros = data[:4] + bytes(len(data) - 12) + data[-8:]
        path.write_bytes({"cut short": data[:-50], "zeros within": zeros, "no parquet": b"hello", "empty": b""}[kind])
    with pytest.raises(DamagedFile) as caught:
        find(root)
    assert "\n" not in caught.value.message and "file-000.parquet" in caught.value.message


def test_a_text_said_a_million_times_is_kept_once(tmp_path):
    import tracemalloc

    root = make_v3(
        tmp_path / "set", lengths=(3,) * 50, cameras=CAMERAS[:1], episodes={"tasks": [["x" * 2_000_000]] * 50}
    )
    assert (root / "meta/episodes/chunk-000/file-000.parquet").stat().st_size < 8_000_000
    tracemalloc.start()
    assert {len(video.place) for video in find(root)} == {1000}
    assert tracemalloc.get_traced_memory()[1] < 60_000_000
    tracemalloc.stop()


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    root, secret = make_v3(tmp_path / "set", lengths=(3, 3)), tmp_path / "secret.mp4"
    film = root / "videos/wrist/chunk-000/file-000.mp4"
    film.rename(secret)
    film.symlink_to(secret)
    assert [read(video)[1].problem for video in find(root, cameras=("wrist",))] == [
        "its film is a link out of the set's folder"
    ] * 2
    table = root / "meta/episodes/chunk-000/file-000.parquet"
    table.rename(tmp_path / "elsewhere.parquet")
    table.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(DamagedFile, match="is a link out of"):
        find(root)


def test_the_links_of_the_hubs_cache_are_followed(tmp_path):
    blobs, root = tmp_path / "datasets--me--set/blobs", tmp_path / "datasets--me--set/snapshots/abc"
    blobs.mkdir(parents=True)
    make_v3(root, lengths=(3,), cameras=CAMERAS[:1])
    for number, path in enumerate([each for each in root.rglob("*.*") if each.is_file()]):
        path.rename(blobs / str(number))
        path.symlink_to(os.path.relpath(blobs / str(number), path.parent))
    assert read(find(root)[0])[1].status == "ok"


def test_folders_that_are_no_set_stay_what_they_are(tmp_path):
    (tmp_path / "mine/meta").mkdir(parents=True)
    (tmp_path / "mine/meta/info.json").write_text(json.dumps({"about": "my films"}))
    write_film(tmp_path / "mine/videos/a.mp4", [np.zeros((64, 96, 3), np.uint8)] * 3, 10)
    assert [video.name for video in find(tmp_path / "mine")] == ["mine/videos/a.mp4"]


def test_a_set_without_films_says_what_it_has(tmp_path):
    root = make_v3(tmp_path / "set", lengths=(3,), cameras=())
    (root / "videos").mkdir()
    with pytest.raises(HandtoolError, match="has no film .it has timestamp"):
        find(root)


def test_extract_keeps_episodes_tasks_and_cameras_and_boxes_are_told_by_their_names(tmp_path):
    root, boxes = make_v3(tmp_path / "set", lengths=(4, 5)), tmp_path / "boxes.csv"
    names = [
        f"set/episode_{episode:06d}/{camera}#{frame}" for episode in (0, 1) for camera in CAMERAS for frame in (0, 3)
    ]
    boxes.write_text("image,x0,y0,x1,y1\n" + "".join(f"{name},20,10,60,50\n" for name in names))
    run_stage(extract, [root], tmp_path / "c.h5", ExtractConfig(every=1, workers=1), boxes=boxes)
    tables = tables_of(tmp_path / "c.h5")
    assert list(tables[VIDEOS.name.path]) == [name.partition("#")[0] for name in names[::2]]
    assert list(tables[VIDEOS.place.path]) == ["task 0"] * 2 + ["task 1"] * 2
    assert (
        tables[CROPS.video.path].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        and tables[CROPS.frame.path].tolist() == [0, 3] * 4
    )


def test_a_row_of_endless_values_is_refused(tmp_path):
    count = 20_000_000
    endless = pa.ListArray.from_arrays([0, count, count + 1, count + 2], np.zeros(count + 2, np.int64))
    root = make_v3(tmp_path / "set", cameras=CAMERAS[:1], episodes={"length": endless})
    assert (root / "meta/episodes/chunk-000/file-000.parquet").stat().st_size < 100_000
    with pytest.raises(DamagedFile, match="length has rows of different lengths"):
        find(root)


def test_shards_share_the_episodes_by_their_lengths(tmp_path):
    videos = find(make_v3(tmp_path / "set", lengths=(30, 10, 10, 10), cameras=CAMERAS[:1]))
    assert divide_into_shards(videos, 2) == [[0], [1, 2, 3]]
    assert find(tmp_path / "set")[2] == videos[2], "every machine finds the same ones"
