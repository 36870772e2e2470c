"""The parquet files and the json of a LeRobot set, in the format 3.0."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from handtool.lerobot.features import CAMERA, Told
from handtool.lerobot.statistics import Stats
from handtool.sources.parquet import import_parquet

VERSION = "v3.0"
CHUNK_SIZE = 1000  # files in a folder
DATA_MB, VIDEO_MB = 100, 200
GROUP_EPISODES = 10  # rows of the table of episodes that are written at once
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


class DataFiles:
    """data/: a row a frame, a row group an episode; the next file where one has DATA_MB."""

    def __init__(self, root: Path) -> None:
        self.root, self.number, self.rows = root, -1, 0
        self.writer: Any = None

    def add(self, told: dict[str, Told], usual: dict[str, np.ndarray]) -> dict[str, int]:
        """The place of the episode, as the table of episodes says it. usual: as `usual_columns` makes them."""
        import pyarrow as pa

        if self.writer is None or os.stat(self.path).st_size >= DATA_MB << 20:
            self.close()
            self.number += 1
        table = pa.table({name: as_lists(each.values) for name, each in told.items()} | usual)
        frames = table.num_rows
        if self.writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.writer = import_parquet().ParquetWriter(self.path, table.schema)
        self.writer.write_table(table, row_group_size=max(frames, 1))
        where = {"dataset_from_index": self.rows, "dataset_to_index": self.rows + frames}
        self.rows += frames
        return where | {f"data/{name}": value for name, value in place_of(self.number).items()}

    def usual_columns(self, episode: int, task: int, fps: float, frames: int) -> dict[str, np.ndarray]:
        """(frames,) each: those that every set has, last."""
        frame = np.arange(frames)
        columns: dict[str, np.ndarray] = {"timestamp": (frame / fps).astype(np.float32), "frame_index": frame}
        columns |= {"episode_index": np.full(frames, episode), "index": frame + self.rows}
        return columns | {"task_index": np.full(frames, task)}

    @property
    def path(self) -> Path:
        return self.root / DATA.format(**place_of(self.number))

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


class EpisodeFile:
    """meta/episodes: a row an episode."""

    def __init__(self, root: Path) -> None:
        self.path = root / EPISODES
        self.rows: list[dict[str, Any]] = []
        self.writer: Any = None

    def add(self, row: dict[str, Any], stats: dict[str, Stats]) -> None:
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        for name, each in stats.items():
            row |= {f"stats/{name}/{figure}": value for figure, value in each.as_columns(shape_of(name)).items()}
        self.rows.append(row)
        if len(self.rows) >= GROUP_EPISODES:
            self.write()

    def write(self) -> None:
        import pyarrow as pa

        if not self.rows:
            return
        table = pa.table({name: [row[name] for row in self.rows] for name in self.rows[0]})
        if self.writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.writer = import_parquet().ParquetWriter(self.path, table.schema)
        self.writer.write_table(table)
        self.rows = []

    def close(self) -> None:
        self.write()
        if self.writer is not None:
            self.writer.close()


def as_lists(values: np.ndarray) -> Any:
    """(n, k) float32 -> an Arrow array of lists of k."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def shape_of(feature: str) -> tuple[int, ...]:
    """Of its statistics."""
    return (3, 1, 1) if feature == CAMERA else (-1,)


def place_of(number: int) -> dict[str, int]:
    """Of the n-th file."""
    return {"chunk_index": number // CHUNK_SIZE, "file_index": number % CHUNK_SIZE}


def film_path(root: Path, number: int) -> Path:
    return root / VIDEO.format(video_key=CAMERA, **place_of(number))


def write_tasks(root: Path, tasks: list[str]) -> None:
    """As pandas writes it with the tasks as index: LeRobot reads them by their place."""
    import pyarrow as pa

    column = {"field_name": "task", "name": "task", "numpy_type": "object", "pandas_type": "unicode", "metadata": None}
    number = {"field_name": "task_index", "name": "task_index", "numpy_type": "int64", "pandas_type": "int64"}
    about = {"index_columns": ["task"], "columns": [{**number, "metadata": None}, column], "column_indexes": []}
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    (root / "meta").mkdir(exist_ok=True)
    import_parquet().write_table(
        table.replace_schema_metadata({"pandas": json.dumps(about)}), root / "meta" / "tasks.parquet"
    )


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def make_info(fps: float | int, features: dict, episodes: int, frames: int, tasks: int, about: dict) -> dict:
    """about: handtool's own part."""
    has_films = CAMERA in features
    return {
        "codebase_version": VERSION,
        "robot_type": "hands",
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": CHUNK_SIZE,
        "data_files_size_in_mb": DATA_MB,
        "video_files_size_in_mb": VIDEO_MB,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA,
        "video_path": VIDEO if has_films else None,
        "features": features,
        "handtool": about,
    }
