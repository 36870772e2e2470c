"""LeRobot sets made from scratch, by pyarrow and PyAV alone, in the layouts of 3.0 and 2.1."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
from footage import picture
from pyarrow import parquet

SIZE = (96, 64)
CAMERAS = ("observation.images.main", "wrist")


def shade(episode: int, camera: int, frame: int) -> int:
    """The brightness that tells a frame: even within an episode, no two episodes alike."""
    return 20 + (60 * episode + 30 * camera + 2 * frame) % 230


def plain(episode: int, camera: int, frame: int) -> np.ndarray:
    return np.full((SIZE[1], SIZE[0], 3), shade(episode, camera, frame), np.uint8)


def write_film(path: Path, images: list[np.ndarray], fps: float, codec: str = "libx264", options=None) -> Path:
    """Of constant rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options or {"bf": "2"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_table(path: Path, columns: dict, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path, **options)
    return path


def default_columns(lengths: list[int], fps: float) -> dict:
    frame = np.concatenate([np.arange(length) for length in lengths])
    episode = np.repeat(np.arange(len(lengths)), lengths)
    return {
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": episode,
        "index": np.arange(len(frame)),
        "task_index": episode % 2,
    }


def as_lists(values: np.ndarray) -> pa.Array:
    """(n, k) float32 -> fixed_size_list<float>[k]."""
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def feature(dtype: str, *shape: int, **more) -> dict:
    return {"dtype": dtype, "shape": list(shape), "names": None, **more}


def make_info(version: str, lengths: list[int], fps: float, cameras, features: dict, changes: dict) -> dict:
    numbers = {name: feature("float32" if name == "timestamp" else "int64", 1) for name in default_columns([1], fps)}
    films = {camera: feature("video", SIZE[1], SIZE[0], 3) for camera in cameras}
    info = {"codebase_version": version, "fps": fps, "features": {**films, **features, **numbers}}
    info |= {"total_episodes": len(lengths), "total_frames": sum(lengths), "total_tasks": 2, "chunks_size": 1000}
    return {**info, "splits": {"train": f"0:{len(lengths)}"}, **changes}


def make_v3(
    root: Path,
    lengths=(12, 9, 15),
    fps: float = 10,
    cameras=CAMERAS,
    columns: dict | None = None,
    features: dict | None = None,
    picture_of=plain,
    episodes: dict | None = None,
    info: dict | None = None,
    codec: str = "libx264",
    options=None,
) -> Path:
    """All episodes in one file of each kind. columns: (n, k) further columns of data, features: their descriptions;
    episodes: columns of the table of episodes to be replaced (None: left out); info: likewise."""
    lengths, ends = list(lengths), np.cumsum(lengths)
    begin = np.concatenate([[0], ends[:-1]])
    table = {"episode_index": np.arange(len(lengths)), "tasks": [[f"task {i % 2}"] for i in range(len(lengths))]}
    table |= {"length": lengths, "data/chunk_index": [0] * len(lengths), "data/file_index": [0] * len(lengths)}
    table |= {"dataset_from_index": begin, "dataset_to_index": ends}
    for number, camera in enumerate(cameras):
        images = [picture_of(e, number, f) for e, length in enumerate(lengths) for f in range(length)]
        write_film(root / "videos" / camera / "chunk-000" / "file-000.mp4", images, fps, codec, options)
        table |= {f"videos/{camera}/{part}": [0] * len(lengths) for part in ("chunk_index", "file_index")}
        table |= {f"videos/{camera}/from_timestamp": begin / fps, f"videos/{camera}/to_timestamp": ends / fps}
    table |= episodes or {}
    write_table(root / "meta/episodes/chunk-000/file-000.parquet", {k: v for k, v in table.items() if v is not None})
    data = {name: as_lists(values) for name, values in (columns or {}).items()} | default_columns(lengths, fps)
    write_table(root / "data/chunk-000/file-000.parquet", data, row_group_size=max(lengths))
    write_table(root / "meta/tasks.parquet", {"task_index": [0, 1], "task": ["task 0", "task 1"]})
    about = make_info("v3.0", lengths, fps, cameras, features or {}, info or {})
    (root / "meta/info.json").write_text(json.dumps(about))
    return root


def make_v2(root: Path, lengths=(12, 9), fps: float = 10, cameras=CAMERAS, columns=None, features=None) -> Path:
    """A film and a table for each episode."""
    lines, begin = [], 0
    for episode, length in enumerate(lengths):
        for number, camera in enumerate(cameras):
            images = [plain(episode, number, frame) for frame in range(length)]
            write_film(root / "videos/chunk-000" / camera / f"episode_{episode:06d}.mp4", images, fps)
        rows = slice(begin, begin + length)
        data = {name: as_lists(values[rows]) for name, values in (columns or {}).items()}
        data |= {name: values[rows] for name, values in default_columns(list(lengths), fps).items()}
        write_table(root / f"data/chunk-000/episode_{episode:06d}.parquet", data)
        lines.append(json.dumps({"episode_index": episode, "tasks": [f"task {episode % 2}"], "length": length}))
        begin += length
    (root / "meta").mkdir()
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    (root / "meta/info.json").write_text(json.dumps(make_info("v2.1", list(lengths), fps, cameras, features or {}, {})))
    return root


def ball(episode: int, camera: int, frame: int) -> np.ndarray:
    """A picture with content, for what looks for hands by `whole` boxes."""
    return picture(frame + 20 * episode, 80, SIZE)
