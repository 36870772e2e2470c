"""The episodes of a LeRobot set: their lengths, tasks and files, by the tables of 3.x and the lists of 2.x."""

import json
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from handtool.bounded import read_bounded
from handtool.errors import DamagedFile, HandtoolError
from handtool.names import natural, printable
from handtool.sources.parquet import LONGEST_TEXT, ParquetFile
from handtool.sources.sets.lerobot_info import WHERE, Info, is_within, need_within, shown

LONGEST = 100_000_000  # frames of an episode
LATEST_S = 1e8
MOST_FILES, MOST_EPISODES = 100_000, 300_000
PANDAS_INDEX = "__index_level_0__"


@dataclass(frozen=True)
class Entry:
    """begin: s, where it begins in the film of each camera. films: its path, "" where the set does not say."""

    number: int
    length: int
    task: str = ""
    table: str = ""
    films: dict[str, str] = field(default_factory=dict)
    begin: dict[str, float] = field(default_factory=dict)


def read_episodes(info: Info) -> list[Entry]:
    """In the order of the set. Raises DamagedFile where a table says what cannot be."""
    return read_tables(info) if info.major == 3 else read_lists(info)


def read_tables(info: Info) -> list[Entry]:
    folder = info.root / "meta" / "episodes"
    paths = sorted(islice(folder.glob("*/*.parquet"), MOST_FILES), key=lambda path: natural(path.as_posix()))
    if not paths:
        raise HandtoolError(f"{shown(folder)} has no table of episodes", hint="downloaded to its end?")
    entries: list[Entry] = []
    for path in paths:
        entries += read_table(info, need_within(info.root, path), len(entries))
    return entries


def read_table(info: Info, path: Path, first: int) -> list[Entry]:
    """first: the number of its first episode, where the table does not say."""
    file = ParquetFile(path, texts=("tasks",))
    wanted = ["episode_index", "length", "data/chunk_index", "data/file_index", "dataset_from_index"]
    wanted += ["dataset_to_index", "stats/task_index/min"]
    parts = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
    wanted += [f"videos/{camera}/{part}" for camera in info.cameras for part in parts]
    known = [name for name in wanted if name in file.columns]
    if not known:
        raise DamagedFile(f"{file.name} is no table of episodes: it has none of their columns", hint=WHERE)
    if first + file.rows > MOST_EPISODES:
        raise DamagedFile(f"{file.name}: {first + file.rows:,} episodes, and a set may have {MOST_EPISODES:,}")
    columns = file.numbers(known)
    if any(len(values) != file.rows for values in columns.values()):
        raise DamagedFile(f"{file.name} has other numbers of rows than it says", hint="downloaded to its end?")
    tasks = file.texts("tasks") if "tasks" in file.columns else name_tasks(info, columns.get("stats/task_index/min"))
    say = Columns(file.name, columns)
    return [read_entry(info, say, row, first + row, tasks[row] if row < len(tasks) else "") for row in range(file.rows)]


def read_entry(info: Info, say: "Columns", row: int, number: int, task: str) -> Entry:
    films: dict[str, str] = {}
    begin: dict[str, float] = {}
    length = say.number("length", row, LONGEST)
    if length is None:
        first, end = (say.number(name, row, 1 << 60) for name in ("dataset_from_index", "dataset_to_index"))
        length = max(end - first, 0) if first is not None and end is not None else None
    for camera in info.cameras:
        where = say.place(f"videos/{camera}", row)
        start, until = (say.seconds(f"videos/{camera}/{part}", row) for part in ("from_timestamp", "to_timestamp"))
        if where is None or start is None:
            continue
        films[camera] = str(info.film(camera, where))
        begin[camera] = start
        length = round((until - start) * info.fps) if length is None and until is not None else length
    where = say.place("data", row)
    table = "" if where is None else str(info.table(where))
    named = say.number("episode_index", row, 10**9)
    return Entry(number if named is None else named, min(max(length or 0, 0), LONGEST), task, table, films, begin)


@dataclass(frozen=True)
class Columns:
    """(n,) float64 of each column of the table `name`."""

    name: str
    columns: dict[str, np.ndarray]

    def seconds(self, column: str, row: int) -> float | None:
        """None where it is not known. Raises DamagedFile for what no film can have."""
        value = float(self.columns[column][row]) if column in self.columns else np.nan
        if not (np.isnan(value) or 0 <= value <= LATEST_S):
            raise DamagedFile(f"{self.name}: {printable(column)} is {value:g} in row {row}")
        return None if np.isnan(value) else value

    def place(self, column: str, row: int) -> dict[str, int] | None:
        """Of a file: its chunk and its number in it."""
        chunk, file = (self.number(f"{column}/{part}", row, 10**9) for part in ("chunk_index", "file_index"))
        return None if chunk is None or file is None else {"chunk_index": chunk, "file_index": file}

    def number(self, column: str, row: int, largest: int) -> int | None:
        value = float(self.columns[column][row]) if column in self.columns else np.nan
        if np.isnan(value):
            return None
        if not 0 <= value <= largest or value != round(value):
            raise DamagedFile(f"{self.name}: {printable(column)} is {value:g} in row {row}")
        return int(value)


def name_tasks(info: Info, numbers: np.ndarray | None) -> list[str]:
    """numbers: (n,) of the task of each episode. The names stand in tasks.parquet, as a column or as pandas' index."""
    path = info.root / "meta" / "tasks.parquet"
    if numbers is None or not path.exists() or not is_within(info.root, path):
        return []
    file = ParquetFile(path, texts=("task", PANDAS_INDEX))
    named = next((name for name in ("task", PANDAS_INDEX) if name in file.columns), None)
    if named is None or "task_index" not in file.columns:
        return []
    tasks = dict(zip(file.numbers(["task_index"])["task_index"].tolist(), file.texts(named)))
    return [tasks.get(number, "") for number in numbers.tolist()]


def read_lists(info: Info) -> list[Entry]:
    """2.x: meta/episodes.jsonl, and a film and a table for each episode."""
    path = info.root / "meta" / "episodes.jsonl"
    if not path.exists():
        raise HandtoolError(f"{shown(path)} does not exist", hint=WHERE)
    text = read_bounded(need_within(info.root, path), kind="line", what=shown(path))
    return [as_entry(info, line, row, path) for row, line in enumerate(filter(bytes.strip, text.splitlines()))]


def as_entry(info: Info, line: bytes, row: int, path: Path) -> Entry:
    try:
        said = json.loads(line)
        number, length = said.get("episode_index", row), said.get("length", 0)
        tasks = said.get("tasks") or []
        if not (is_count(number) and is_count(length) and isinstance(tasks, (list, str))):
            raise ValueError("looked for episode_index, tasks and length")
    except (ValueError, AttributeError, RecursionError) as error:
        told = printable(str(error)[:120])
        raise DamagedFile(f"{shown(path)}: line {row + 1} is no episode: {told}") from None
    words = {"episode_chunk": number // info.chunk_size, "episode_index": number}
    films = {camera: str(info.film(camera, words)) for camera in info.cameras}
    task = "; ".join(map(str, [tasks] if isinstance(tasks, str) else tasks[:10]))[:LONGEST_TEXT]
    return Entry(number, length, task, str(info.table(words)), films, dict.fromkeys(films, 0.0))


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LONGEST
