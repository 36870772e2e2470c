"""LeRobot data sets of the formats 3.x and 2.x (github.com/huggingface/lerobot): episodes filmed by some cameras.

    my_set/
      meta/    info.json     3.x: episodes/chunk-000/file-000.parquet … tasks.parquet     2.x: episodes.jsonl …
      data/    chunk-000/file-000.parquet …      a row a frame                            2.x: a file an episode
      videos/  observation.images.main/chunk-000/file-000.mp4 …    many episodes a file   2.x: a file an episode

A video is what one camera saw of one episode: `my_set/episode_000012/observation.images.main`. Its frames are numbered
from 0, and frame i is at i / fps; those of 3.x are read out of the joined file, from the key frame before them. The
cameras of an episode are one recording. `place` is the task. Films are read as any others (--fps, --every, --keyframes,
--decode); where the rows tell of hands on a camera's pictures (sets/lerobot_hands.py), these become the hands and
labels of its frames. Depth films and single images are left out, and the report says so.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from handtool.bounded import read_json
from handtool.config import BOX_SCALE  # noqa: F401  (of this set as of films)
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.names import printable
from handtool.sources.frame import Choice, Episode, Frame, Sampling, Tally, Video
from handtool.sources.sets.dataset_choice import choose_some, refuse_choice
from handtool.sources.sets.lerobot_episodes import Entry, read_episodes
from handtool.sources.sets.lerobot_hands import find_hands, read_rows
from handtool.sources.sets.lerobot_info import INFO, LARGEST, OUTSIDE, Info, is_within, read_info, shown
from handtool.sources.video import read_video

NAME, TITLE = "lerobot", "the LeRobot set"


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    if "meta" not in below or not {"data", "videos"} & set(below) or not (folder / INFO).is_file():
        return False
    try:
        content = read_json(folder / INFO, LARGEST)
    except DamagedFile:
        return True  # which find_videos tells
    return isinstance(content, dict) and {"codebase_version", "features"} <= set(content)


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """A video for each episode and camera. Raises HandtoolError, DamagedFile where its tables lie, WrongCommand."""
    info = read_info(root)
    refuse_choice(TITLE, "--subset", choice.subset, "there is nothing to choose by but episodes and cameras")
    cameras = choose_some(TITLE, "--cameras", choice.cameras, info.cameras)
    if not cameras:
        beside = "; ".join(info.left_out) or f"it has {', '.join(map(printable, list(info.widths)[:6])) or 'nothing'}"
        raise HandtoolError(f"{shown(root)} has no film ({beside})")
    entries = choose_episodes(info, read_episodes(info), choice.split)
    if not entries:
        raise HandtoolError(f"{shown(root)} has no episodes", hint="downloaded to its end?")
    return [as_video(info, title, entry, camera, choice.split or "") for entry in entries for camera in cameras]


def choose_episodes(info: Info, entries: list[Entry], split: str | None) -> list[Entry]:
    """Those of a split, which is a range "0:40" of places; all where none is asked for. Raises WrongCommand."""
    if split is None:
        return entries
    if split not in info.splits:
        raise WrongCommand(
            f"{TITLE} has no split {split!r}",
            hint=f"--split {' | '.join(map(printable, info.splits))}" if info.splits else "leave out --split",
        )
    first, _, last = info.splits[split].partition(":")
    if not (first.isdecimal() and last.isdecimal()):
        raise DamagedFile(f"{shown(info.root / INFO)}: split {split!r} is {printable(info.splits[split][:40])!r}")
    return entries[int(first[:9]) : int(last[:9])]


def as_video(info: Info, title: str, entry: Entry, camera: str, split: str) -> Video:
    film = entry.films.get(camera, "")
    begin = entry.begin.get(camera, 0.0)
    hands, notes = find_hands(info, camera) if entry.table else ((), ())
    notes = (*info.left_out, *notes)
    episode = Episode(entry.number, begin, entry.length, info.fps, entry.table, hands, notes)
    name = printable(f"{title}/episode_{entry.number:06d}/{camera}")
    return Video(
        name,
        str(info.root),
        "video",
        (film,) if film else (),
        dataset=NAME,
        split=split,
        place=printable(entry.task),
        episode=episode,
        knows_hands=bool(hands),
    )


def read_frames(video: Video, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    """The kept frames of an episode, in order. Problems are recorded in `tally`."""
    assert video.episode
    for note in video.episode.notes:
        tally.note(note)
    if not video.files:
        tally.problem = "the set does not say in which film it is"
    elif not all(is_within(Path(video.path), Path(path)) for path in (video.files[0], video.episode.table) if path):
        tally.problem = OUTSIDE
    else:
        try:
            rows = read_rows(video.episode, video.name) if video.episode.hands else None
        except HandtoolError as error:
            tally.problem = error.message
            return
        film = replace(video, path=video.files[0], files=())
        for frame in read_video(film, sampling, tally):
            hands = rows.hands(frame.number) if rows else None
            yield replace(frame, name=f"{video.name}#{frame.number}", hands=hands)
