"""A LeRobot set of the format 3.0 from the predictions or labels of videos: one episode a video, one row a frame."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from handtool import __version__
from handtool.accounting import Accounting
from handtool.errors import HandtoolError
from handtool.lerobot.card import make_card
from handtool.lerobot.episodes import HandReader, Read, Videos, choose_videos, read_videos
from handtool.lerobot.features import CAMERA, describe, tell
from handtool.lerobot.films import measure_film, write_film
from handtool.lerobot.statistics import Stats, join, measure
from handtool.lerobot.tables import (
    DataFiles,
    EpisodeFile,
    film_path,
    make_info,
    place_of,
    shape_of,
    write_json,
    write_tasks,
)
from handtool.progress import Progress
from handtool.sources.frame import Video
from handtool.sources.parquet import import_parquet
from handtool.store import File, Table

NO_TASK = "hands"


def write_set(
    source: File, root: Path, table: Table, footage: list[Video | None] | None, read: Read, progress: Progress
) -> dict:
    """Writes the set into the empty folder `root`, meta/info.json last. footage: the film of each row of /videos, None
    where it was not found; None: a set without films. read: see HandReader. Returns the report. Raises HandtoolError if
    no video can be an episode."""
    import_parquet()  # before any film is written
    videos, accounting = read_videos(source), Accounting("videos")
    chosen = choose_videos(source, videos, footage, accounting)
    writer = SetWriter(root, videos, HandReader(source, table, videos, read), footage)
    for number in chosen:
        writer.add(number, accounting)
        progress("episodes", accounting.done, len(chosen))
    report = writer.finish(source, table)
    return {"accounting": [accounting.as_report(), writer.hands.hands.as_report()]} | report


class SetWriter:
    """Episode by episode, then `finish`."""

    def __init__(self, root: Path, videos: Videos, hands: HandReader, footage: list[Video | None] | None) -> None:
        self.root, self.videos, self.hands, self.footage = root, videos, hands, footage
        self.data, self.episodes = DataFiles(root), EpisodeFile(root)
        self.tasks: dict[str, int] = {}
        self.stats: defaultdict[str, list[Stats]] = defaultdict(list)
        self.names: list[str] = []
        self.size, self.codec = (0, 0), ""
        self.fps = float("nan")
        self.films = {"copied": 0, "encoded": 0}

    def add(self, number: int, accounting: Accounting) -> None:
        videos, episode = self.videos, len(self.names)
        self.fps = float(videos.rate[number])
        rows = self.hands.rows_of(number)
        stats: dict[str, Stats] = {}
        if self.footage is None:
            place, frames = self.hands.rows_of_frames(number, rows)
        elif not (video := self.footage[number]) or not self.hands.is_film_of(video, rows):
            accounting.fail("their films show something else now")
            return
        else:
            numbers, stats[CAMERA] = self.add_film(video, number, episode)
            place, frames = self.hands.rows_on(numbers, rows), len(numbers)
        if not frames:
            accounting.fail("no frame of the film could be read")
            return
        told = tell(self.hands.read_hands(rows, place), frames)
        task = str(videos.place[number]) or NO_TASK
        usual = self.data.usual_columns(episode, self.tasks.setdefault(task, len(self.tasks)), self.fps, frames)
        where = self.data.add(told, usual)
        stats |= {name: measure(each.values, each.known) for name, each in told.items()}
        stats |= {name: measure(each[:, None], np.ones((frames, 1), bool)) for name, each in usual.items()}
        self.episodes.add(self.describe_episode(episode, task, frames, where), stats)
        for name, each in stats.items():
            self.stats[name].append(each)
        self.names.append(videos.name[number])
        accounting.done += 1

    def add_film(self, video: Video, number: int, episode: int) -> tuple[list[int], Stats]:
        """The numbers of its frames, and the statistics of its colours."""
        path = film_path(self.root, episode)
        film = write_film(video, self.videos.sampling, self.fps, path, int(self.videos.frames[number]))
        stats, size, there = measure_film(path, len(film.numbers))
        if there != len(film.numbers):
            raise HandtoolError(f"{path.name} has {there} frames, {len(film.numbers)} were written")
        self.size = size if there else self.size
        self.codec = self.codec or film.codec
        self.films["copied" if film.copied else "encoded"] += 1
        return film.numbers, stats

    def describe_episode(self, episode: int, task: str, frames: int, where: dict) -> dict:
        row = {"episode_index": episode, "tasks": [task], "length": frames, **where}
        if self.footage is not None:
            row |= {f"videos/{CAMERA}/{name}": value for name, value in place_of(episode).items()}
            row |= {f"videos/{CAMERA}/from_timestamp": 0.0, f"videos/{CAMERA}/to_timestamp": frames / self.fps}
        return row

    def finish(self, source: File, table: Table) -> dict:
        """The tables are closed, then what describes them is written; the report."""
        self.data.close()
        self.episodes.close()
        if not self.names:
            raise HandtoolError(f"no film of {source.path} could be read")
        write_tasks(self.root, list(self.tasks))
        whole = {name: join(parts).as_columns(shape_of(name)) for name, parts in self.stats.items()}
        write_json(self.root / "meta" / "stats.json", whole)
        fps = int(self.fps) if self.fps == int(self.fps) else self.fps
        features = describe(fps, *self.size, self.codec if self.footage is not None else None)
        about: dict[str, Any] = {"version": __version__, "source": source.uuid, "table": table.group}
        about["videos"] = self.names
        kept = ("program", "version", "uuid")
        about["steps"] = [{name: step[name] for name in kept} for step in source.provenance]
        info = make_info(fps, features, len(self.names), self.data.rows, len(self.tasks), about)
        (self.root / "README.md").write_text(make_card(info), encoding="utf-8")
        write_json(self.root / "meta" / "info.json", info)
        films = {f"films_{how}": count for how, count in self.films.items() if count}
        return {"table": table.group, "format": "lerobot", "frames": self.data.rows, "fps": fps} | films
