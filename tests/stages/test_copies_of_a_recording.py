"""Copies of a recording never pair, are on one side of every split, and are told; and hands that are too near are left
out by --min-distance."""

import shutil

import av
import cv2
import numpy as np
import pytest
from footage import make_boxes, write_image
from footage import run_stage as run_resumable
from running import read, run_stage

from handtool import store
from handtool.config import ExtractConfig, MineConfig, SplitConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.stages.cat import cat
from handtool.stages.extract import extract
from handtool.stages.mine import mine
from handtool.stages.split import split
from handtool.store import CROPS, EMBEDDINGS, PAIRS, VIDEOS

SIZE, FRAMES, FPS = (160, 96), 24, 12  # px, and of a film


def draw(seed, frames=FRAMES):
    """RGB pictures of a film: a patch whose look changes travels over a ground that stays."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(30, 220, (5, 8, 3), dtype=np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
    looks = rng.integers(0, 255, (frames // 2 + 2, 5, 5, 3)).astype(np.float32)
    pictures = []
    for number in range(frames):
        look = looks[number // 2] * (1 - number % 2 / 2) + looks[number // 2 + 1] * (number % 2 / 2)
        picture = ground.copy()
        left, top, side, _ = box_of(number, frames)
        picture[top : top + side, left : left + side] = cv2.resize(look, (side, side)).astype(np.uint8)
        pictures.append(picture)
    return pictures


def box_of(number, frames=FRAMES):
    """x y width height px."""
    return [10 + 80 * number // frames, 20, 48, 48]


def write_film(path, pictures, fps=FPS, codec="libx264", size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *size, "yuv420p", 400_000
        for picture in pictures:
            resized = np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(resized, format="rgb24")))
        container.mux(stream.encode())
    return path


def boxes_of(path, films):
    """films: path -> (first number, how many frames, scale, whose boxes jump by so many px)."""
    hands = {}
    for film, (first, count, scale, jump) in films.items():
        for number in range(count):
            box = np.array(box_of(first + number)) + [jump * (number % 2), 0, 0, 0]
            hands[f"{film}#{number}"] = [(scale * box).tolist()]
    return make_boxes(path, hands)


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Three recordings, and of the first: a byte copy, one by another coder and half as large, and a part of it."""
    root = tmp_path_factory.mktemp("films")
    films = {}
    for seed, name in enumerate(("a.mp4", "b.mp4", "c.mp4")):
        films[write_film(root / "in" / name, draw(seed))] = (0, FRAMES, 1, 0)
    films[shutil.copy(root / "in" / "a.mp4", root / "in" / "byte-copy.mp4")] = (0, FRAMES, 1, 0)
    half = [size // 2 for size in SIZE]
    films[write_film(root / "in" / "half.avi", draw(0), codec="mpeg4", size=half)] = (0, FRAMES, 0.5, 0)
    brighter = [np.clip(0.8 * picture + 40, 0, 255).astype(np.uint8) for picture in draw(0)]
    films[write_film(root / "in" / "part.mp4", brighter[7:19])] = (7, 12, 1, 1)
    boxes = boxes_of(root / "boxes.json", films)
    run_resumable(extract, [root / "in"], root / "crops.h5", ExtractConfig(every=1, workers=1), boxes=boxes)
    return root / "crops.h5"


def embed_by_hand(crops, path, seed=0):
    """The hands of one instant of the first recording have nearly the same vector."""
    names, video, frame = read(crops, VIDEOS.name), read(crops, CROPS.video), read(crops, CROPS.frame)
    recording = np.array([int(name.endswith("b.mp4")) + 2 * int(name.endswith("c.mp4")) for name in names])[video]
    instant = frame + np.where(np.char.endswith(names.astype(str), "part.mp4")[video], 7, 0)
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=(3, FRAMES, 6))[recording, instant] + rng.normal(0, 1e-3, (len(video), 6))
    with store.open_file(crops) as file, store.create_file(path, store.Record("test", {}), [file]) as sink:
        columns = dict(vector=vector, valid=np.ones(len(video), bool))
        store.write_table(sink, EMBEDDINGS, columns, {"kind": "pca", "normalization": "crop"})
        sink.inherit(file)
        sink.finish({})
    return path, recording


@pytest.mark.parametrize("exclude", ["video", "track", "none"])
@pytest.mark.parametrize("index", ["hnsw", "exact"])
def test_copies_of_a_recording_never_pair_and_are_told(crops, tmp_path, exclude, index):
    source, recording = embed_by_hand(crops, tmp_path / "e.h5")
    report = run_stage(mine, source, tmp_path / "p.h5", MineConfig(topk=3, exclude=exclude, index=index))
    anchor, positive = (read(tmp_path / "p.h5", column) for column in (PAIRS.anchor, PAIRS.positive))
    assert len(anchor) == 3 * len(recording)
    of_copies = recording[anchor] == 0
    assert of_copies.any() and (recording[positive][of_copies] != 0).all()
    assert exclude != "video" or (recording[anchor] != recording[positive]).all()
    assert report["recordings_with_copies"] == 1 and report["videos_in_copies"] == 4
    assert [sorted(name[3:] for name in names) for names in report["copies"]] == [
        ["a.mp4", "byte-copy.mp4", "half.avi", "part.mp4"]
    ]
    assert report["copies_recognised_by"] == "their pictures"


def test_copies_of_a_recording_are_on_one_side_of_a_split(crops, tmp_path):
    for seed in range(4):
        parts = [tmp_path / f"{seed}{part}.h5" for part in range(2)]
        for part, path in enumerate(parts):
            report = run_stage(split, crops, path, SplitConfig("video", (50.0, 50.0), part, seed=seed))
        names = [{name[3:] for name in read(path, VIDEOS.name)} for path in parts]
        copies = {"a.mp4", "byte-copy.mp4", "half.avi", "part.mp4"}
        assert sorted(copies <= some for some in names) == [False, True]
        assert sorted(bool(copies & some) for some in names) == [False, True]
    assert report["videos_in_copies"] == 4


def test_copies_in_a_pool_and_in_a_joined_file_are_recognised_too(crops, tmp_path):
    source, _ = embed_by_hand(crops, tmp_path / "e.h5")
    run_stage(cat, [crops, crops], tmp_path / "twice.h5", cat_config())
    pool, recording = embed_by_hand(tmp_path / "twice.h5", tmp_path / "pool.h5")
    report = run_stage(mine, source, tmp_path / "p.h5", MineConfig(topk=2), pool=pool)
    anchor, positive = (read(tmp_path / "p.h5", column) for column in (PAIRS.anchor, PAIRS.positive))
    assert len(anchor) and (recording[anchor] != recording[positive]).all()
    assert report["recordings_with_copies"] == 1 and report["videos_in_copies"] == 4


def cat_config():
    from handtool.config import CatConfig

    return CatConfig()


def test_a_collection_of_one_recording_is_refused_with_the_names_of_its_copies(crops, tmp_path):
    keep = np.array(["b.mp4" not in name and "c.mp4" not in name for name in read(crops, VIDEOS.name)])
    source, _ = embed_by_hand(crops, tmp_path / "e.h5")
    invalid = np.flatnonzero(~keep[read(crops, CROPS.video)])
    with store.open_file(source) as file, store.create_file(tmp_path / "o.h5", store.Record("t", {}), [file]) as sink:
        valid = store.read_column(file, EMBEDDINGS.valid)
        valid[invalid] = False
        columns = dict(vector=store.read_column(file, EMBEDDINGS.vector), valid=valid)
        store.write_table(sink, EMBEDDINGS, columns, {"kind": "pca", "normalization": "crop"})
        sink.inherit(file, but=(EMBEDDINGS,))
        sink.finish({})
    with pytest.raises(HandtoolError, match="of one recording, of which these are copies: in/a.mp4, in/byte-copy.mp4"):
        run_stage(mine, tmp_path / "o.h5", tmp_path / "p.h5", MineConfig())


def test_a_photo_encoded_anew_in_another_folder_joins_the_folders(tmp_path):
    photos = [cv2.resize(draw(seed)[5], (800, 480), interpolation=cv2.INTER_CUBIC) for seed in range(18)]
    for number, photo in enumerate(photos[:8]):
        write_image(tmp_path / "in" / "one" / f"{number}.jpg", photo)
    for number, photo in enumerate([photos[2], *photos[8:13]]):
        small = cv2.resize(photo, (400, 240), interpolation=cv2.INTER_AREA)
        write_image(tmp_path / "in" / "two" / f"{number}.jpg", small, quality=60)
    for number, photo in enumerate(photos[13:]):
        write_image(tmp_path / "in" / "three" / f"{number}.jpg", photo)
    hands = {str(path): [[100, 100, 240, 240]] for path in (tmp_path / "in").glob("*/*.jpg")}
    hands |= {name: [[51, 50, 120, 121]] for name in hands if "/two/" in name}
    boxes = make_boxes(tmp_path / "b.json", hands)
    run_resumable(extract, [tmp_path / "in"], tmp_path / "c.h5", ExtractConfig(workers=1), boxes=boxes)
    report = run_stage(split, tmp_path / "c.h5", tmp_path / "s.h5", SplitConfig("video", (50.0, 50.0), 0))
    assert report["copies"] == [["in/one", "in/two"]]


def test_crops_without_thumbnails_are_compared_by_their_bytes_and_that_is_told(crops, tmp_path, handtool):
    with store.open_file(crops) as file, store.create_file(tmp_path / "old.h5", store.Record("t", {}), [file]) as sink:
        jpegs = store.open_jpegs(file)
        columns = {c.name: store.read_column(file, c) for c in CROPS.columns if file.has(c) and c.length == "N"}
        del columns["thumbnails"], columns["jpeg_crc32"]
        columns["jpeg"] = [jpegs[row] for row in range(len(columns["video"]))]
        store.write_table(sink, CROPS, columns, store.read_attrs(file, CROPS))
        store.write_table(sink, VIDEOS, {c.name: store.read_column(file, c) for c in VIDEOS.columns if file.has(c)})
        sink.finish({})
    embed_by_hand(tmp_path / "old.h5", tmp_path / "e.h5")
    done = handtool("mine", "e.h5", "-o", "p.h5")
    assert done.returncode == 0, done.stderr
    assert "2 videos are copies or parts of one recording and count as one: in/a.mp4 = in/byte-copy.mp4." in done.stdout
    assert "copies are recognised by equal bytes alone" in done.stdout


def test_pairs_nearer_than_the_least_distance_are_left_out_and_the_lists_are_full(crops, tmp_path):
    source, _ = embed_by_hand(crops, tmp_path / "e.h5")
    vector = read(source, EMBEDDINGS.vector).astype(float)
    for metric, least in (("euclidean", 3.0), ("cosine", 0.6)):
        unit = vector / np.linalg.norm(vector, axis=1, keepdims=True)
        apart = np.linalg.norm(vector[:, None] - vector, axis=2) if metric == "euclidean" else 1 - unit @ unit.T
        config = MineConfig(topk=4, metric=metric, min_distance=least, index="exact")
        report = run_stage(mine, source, tmp_path / f"{metric}.h5", config)
        anchor, positive = (read(tmp_path / f"{metric}.h5", column) for column in (PAIRS.anchor, PAIRS.positive))
        assert len(anchor) == 4 * len(vector) and apart[anchor, positive].min() >= least - 1e-6
        assert report["min_distance"] == least and report["distance_quantiles"][0] >= least - 1e-6
    with pytest.raises(WrongCommand, match="no distance is 3 at least and 2 at most"):
        run_stage(mine, source, tmp_path / "x.h5", MineConfig(min_distance=3, max_distance=2))
