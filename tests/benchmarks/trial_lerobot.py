"""Trial: sets that LeRobot itself writes, read by handtool, and the other way round, number by number.

    python tests/benchmarks/trial_lerobot.py OTHER_PYTHON [FOLDER]

OTHER_PYTHON: of an environment with `pip install 'lerobot[dataset]'` (Python 3.12, 5.4 GB). It runs this file, too,
with `write` or `read`; nothing of it reaches a network. FOLDER: where the sets are made; else a temporary one.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

LENGTHS, CAMERAS, SIZE = (20, 13, 31), ("observation.images.main", "wrist"), (96, 128)
CODECS = ("libsvtav1", "h264")


def shade(episode: int, camera: int, frame: int) -> int:
    return 30 + (50 * episode + 100 * camera + 3 * frame) % 200


def number_of(episode: int, frame: int) -> np.ndarray:
    return np.random.default_rng([episode, frame]).normal(size=7).astype(np.float32)


def write_theirs(folder: Path) -> None:
    """In the other environment: a set of each codec, by LeRobotDataset.create."""
    from lerobot.configs.video import RGBEncoderConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features = {name: {"dtype": "video", "shape": (*SIZE, 3), "names": ["height", "width", "c"]} for name in CAMERAS}
    features |= {"observation.state": {"dtype": "float32", "shape": (7,), "names": None}}
    features |= {"action": {"dtype": "float32", "shape": (7,), "names": None}}
    for codec in CODECS:
        encoder = RGBEncoderConfig(vcodec=codec)
        made = LeRobotDataset.create(f"local/{codec}", 15, features, root=folder / codec, rgb_encoder=encoder)
        for episode, length in enumerate(LENGTHS):
            for frame in range(length):
                item = {
                    name: np.full((*SIZE, 3), shade(episode, camera, frame), np.uint8)
                    for camera, name in enumerate(CAMERAS)
                }
                state = number_of(episode, frame)
                made.add_frame({**item, "observation.state": state, "action": state, "task": f"task {episode % 2}"})
            made.save_episode()
        made.finalize()


def read_ours(folder: Path) -> None:
    """In the other environment: every item of the sets ours_*, into a file beside each."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    for root in sorted(folder.glob("ours_*")):
        if not root.is_dir():
            continue
        read = LeRobotDataset("local/ours", root=root)
        items = [read[number] for number in range(len(read))]
        columns = {name: [np.asarray(item[name]) for item in items] for name in items[0] if name != "task"}
        columns = {
            name: [each.mean(axis=(1, 2)) for each in values] if values[0].ndim == 3 else values
            for name, values in columns.items()
        }
        stats = {f"stats {name}": np.asarray(read.meta.stats[name]["mean"]) for name in read.meta.stats}
        np.savez(root.with_suffix(".npz"), task=[item["task"] for item in items], **columns, **stats)


def check_theirs(folder: Path) -> None:
    from handtool.sources.find import find_videos
    from handtool.sources.frame import Sampling, Tally
    from handtool.sources.parquet import ParquetFile
    from handtool.sources.read import read_frames

    for codec in CODECS:
        videos, worst, frames = find_videos([folder / codec]).videos, 0.0, 0
        assert len(videos) == len(LENGTHS) * len(CAMERAS)
        for video in videos:
            episode, camera = video.episode.number, CAMERAS.index(video.name.rpartition("/")[2])
            assert video.place == f"task {episode % 2}"
            for sampling in (Sampling(every=1), Sampling(every=4), Sampling(fps=5.0), Sampling(fps=5.0, decode="all")):
                tally = Tally()
                seen = list(read_frames(video, sampling, tally))
                step = sampling.every or 3
                assert [frame.number for frame in seen] == list(range(0, LENGTHS[episode], step)), (video, sampling)
                assert tally.status == "ok" and tally.decoded == LENGTHS[episode]
                for frame in seen:
                    worst = max(worst, abs(float(frame.image.mean()) - shade(episode, camera, frame.number)))
                    assert abs(frame.time - frame.number / 15) < 1e-9
                frames += len(seen)
            rows = ParquetFile(Path(video.episode.table)).matrix(
                {"observation.state": 7, "episode_index": 1}, only=("episode_index", episode)
            )["observation.state"]
            assert np.array_equal(rows, [number_of(episode, frame) for frame in range(LENGTHS[episode])])
        print(f"LeRobot's own, {codec}: {len(videos)} videos, {frames} frames, brightness at most {worst:.2f} off")
        assert worst < 3


def make_ours(folder: Path) -> dict[str, Path]:
    """ours_*: films that are copied (of an even rate, an uneven one, 30000/1001), of sampled frames, and left out.
    Returns the predictions of each."""
    sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "lerobot")]
    from footage import make_video
    from test_write import export_set, make_predictions

    sources = {}
    for name, frames, settings in (
        ("copied", {}, {}),
        ("uneven", {"times": [n / 30 + 0.008 * (n % 3 == 1) for n in range(40)]}, {}),
        ("ntsc", {}, {"ntsc": True}),
        ("sampled", {}, {"every": None, "fps": 7.5}),
        ("bare", {}, {}),
    ):
        place = folder / f"films_{name}"
        place.mkdir()
        rate = 30000 / 1001 if settings.pop("ntsc", False) else 30
        times = frames.get("times") or [n / rate for n in range(40)]
        films = [make_video(place / f"{letter}.mp4", 40, 30, (128, 96), times) for letter in "ab"]
        if name == "ntsc":
            films = [retime(film) for film in films]
        sources[name] = make_predictions(place, films, on=(0, 4, 8, 12, 39), **settings)
        print(f"ours, {name}:", export_set(sources[name], folder / f"ours_{name}", films=name != "bare"))
    return sources


def retime(film: Path) -> Path:
    """The same pictures at 30000/1001 a second."""
    from lerobot_sets import write_film

    from handtool.sources.frame import Sampling, Tally, Video
    from handtool.sources.video import read_video

    images = [frame.image for frame in read_video(Video("a", str(film), "video"), Sampling(every=1), Tally())]
    return write_film(film, images, 30000 / 1001)


def check_ours(folder: Path, name: str) -> None:
    """LeRobot's items against the table of data, bit by bit, and the pictures against ours."""
    from pyarrow import parquet

    from handtool.sources.find import find_videos
    from handtool.sources.frame import Sampling, Tally
    from handtool.sources.read import read_frames

    root = folder / f"ours_{name}"
    with np.load(root.with_suffix(".npz")) as read:
        theirs = dict(read)
    table = parquet.read_table(root / "data/chunk-000/file-000.parquet")
    for column in table.column_names:
        ours = np.array(table[column].to_pylist(), np.float32 if "float" in str(table[column].type) else np.int64)
        assert np.array_equal(ours, theirs[column].reshape(ours.shape)), (name, column)
    assert set(theirs["task"].tolist()) == {"hands"}
    worst = 0.0
    if name != "bare":
        videos = find_videos([root]).videos
        frames = [frame for video in videos for frame in read_frames(video, Sampling(every=1), Tally())]
        assert len(frames) == table.num_rows
        for frame, mean in zip(frames, theirs["observation.images.main"], strict=True):
            worst = max(worst, float(np.abs(frame.image.mean(axis=(0, 1)) / 255 - mean).max()))
        assert worst < 0.02
    told = f"{table.num_rows} items of {len(table.column_names)} features equal to the last bit"
    print(f"ours, {name}, by LeRobot: {told}; mean colours at most {255 * worst:.2f} of 255 off")


def check_hands(folder: Path, name: str, source: Path) -> None:
    """What LeRobot gave against /predictions themselves."""
    sys.path[:0] = [str(Path(__file__).resolve().parents[1])]
    from running import read

    from handtool.store import CROPS, PREDICTIONS

    with np.load(folder / f"ours_{name}.npz") as saved:
        theirs = dict(saved)
    joints, video, side, frame = (
        read(source, column) for column in (PREDICTIONS.joints, CROPS.video, CROPS.side, CROPS.frame)
    )
    step = 4 if name == "sampled" else 1
    kept = frame % step == 0
    for hand in np.flatnonzero(kept):
        row = np.flatnonzero((theirs["episode_index"] == video[hand]) & (theirs["frame_index"] == frame[hand] // step))
        told = theirs["observation.hands.kp3d"][row[0]].reshape(2, 21, 3)[side[hand]]
        assert np.array_equal(told, joints[hand]) and theirs["observation.hands.valid"][row[0], side[hand]] == 1
    print(f"ours, {name}: the joints of {int(kept.sum())} hands in LeRobot's items are those of the file")


def main(other: str, folder: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    environment.pop("PYTHONPATH", None)

    def run(what: str) -> None:
        subprocess.run([other, __file__, what, str(folder)], env=environment, check=True, stderr=subprocess.DEVNULL)

    run("write")
    check_theirs(folder)
    sources = make_ours(folder)
    run("read")
    for name, source in sources.items():
        check_ours(folder, name)
        check_hands(folder, name, source)


if __name__ == "__main__":
    if sys.argv[1] in ("write", "read"):
        {"write": write_theirs, "read": read_ours}[sys.argv[1]](Path(sys.argv[2]))
    elif len(sys.argv) > 2:
        main(sys.argv[1], Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(sys.argv[1], Path(scratch))
