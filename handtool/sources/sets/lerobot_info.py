"""meta/info.json of a LeRobot set: what is in it and where. Nothing in it leads out of the set's folder."""

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from handtool.bounded import read_json
from handtool.errors import DamagedFile, HandtoolError
from handtool.names import printable

INFO = Path("meta", "info.json")
LARGEST = 16 << 20  # bytes of info.json
VERSION = re.compile(r"v?(\d{1,3})\.(\d{1,3})(\.\d{1,3})?")
WORD = re.compile(r"\{(\w{1,40})(?::0?(\d{1,2})d)?\}")
USUAL = {
    3: {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    },
    2: {
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    },
}
FASTEST = 1000.0  # frames a second
MOST_FEATURES = 10_000
WHERE = "its root is the folder that holds meta/info.json"
OUTSIDE = "its film is a link out of the set's folder"


@dataclass(frozen=True)
class Info:
    """fps: 1/s. cameras: the names of the video features, without depth. widths: numbers in a row of each feature of
    numbers. left_out: what is in the set and not read. real_first: quaternions w x y z, by their names."""

    root: Path
    major: int
    fps: float
    data_path: str
    video_path: str
    chunk_size: int
    splits: dict[str, str]
    cameras: tuple[str, ...] = ()
    widths: dict[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    real_first: tuple[str, ...] = ()

    def film(self, camera: str, words: dict[str, int]) -> Path:
        return self.fill(self.video_path, "video_path", {**words, "video_key": camera})

    def table(self, words: dict[str, int]) -> Path:
        return self.fill(self.data_path, "data_path", words)

    def fill(self, template: str, name: str, words: dict[str, Any]) -> Path:
        """The path of a file of the set by the template `name`. Raises DamagedFile where it leads out of the folder, or
        has other words than the format."""
        what = f"{shown(self.root / INFO)}: {name} {printable(template[:200])!r}"

        def put(found: re.Match) -> str:
            if found[1] not in words or (found[2] and isinstance(words[found[1]], str)):
                raise DamagedFile(f"{what} has the word {found[1]!r}, and there are {', '.join(words)}", hint=WHERE)
            return str(words[found[1]]).zfill(int(found[2] or 0))

        path = PurePosixPath(WORD.sub(put, template))
        if path.is_absolute() or ".." in path.parts or "\0" in str(path) or not path.parts or len(str(path)) > 1000:
            raise DamagedFile(f"{what} is no path inside the folder", hint=WHERE)
        if re.search("[{}]", WORD.sub("", template)):
            raise DamagedFile(f"{what} is no template of a path", hint=WHERE)
        return self.root / path


def shown(path: Path) -> str:
    return printable(str(path))


def is_within(root: Path, path: Path) -> bool:
    """Whether it lies in the folder, links followed; or where the Hub's cache keeps the files of its snapshots."""
    real, home = os.path.realpath(path), Path(os.path.realpath(root))
    homes = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    return any(os.path.commonpath([real, each]) == str(each) for each in homes)


def need_within(root: Path, path: Path) -> Path:
    if not is_within(root, path):
        raise DamagedFile(f"{shown(path)} is a link out of {shown(root)}", hint="put the file itself there")
    return path


def read_info(root: Path) -> Info:
    """Raises HandtoolError where there is none, DamagedFile where it is another format's or leads out of the folder."""
    path = root / INFO
    if not path.exists():
        raise HandtoolError(f"{shown(path)} does not exist", hint=WHERE)
    content = read_json(need_within(root, path), LARGEST, hint=WHERE, what=shown(path))
    if not isinstance(content, dict) or not isinstance(content.get("features"), dict):
        raise DamagedFile(f"{shown(path)} has no features", hint=WHERE)
    version, fps = VERSION.fullmatch(str(content.get("codebase_version"))), content.get("fps")
    major = int(version[1]) if version else 0
    if major not in (2, 3):
        told = printable(str(content.get("codebase_version"))[:40])
        raise DamagedFile(f"{shown(path)} is of LeRobot's format {told!r}, and 2.x and 3.x are read")
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps <= FASTEST or not math.isfinite(fps):
        raise DamagedFile(f"{shown(path)}: fps is {printable(repr(fps)[:40])}, looked for frames a second")
    size = content.get("chunks_size")
    data_path, video_path = (str(content.get(name) or usual) for name, usual in USUAL[major].items())
    splits = content.get("splits")
    return Info(
        root,
        major,
        float(fps),
        data_path,
        video_path,
        size if isinstance(size, int) and size > 0 else 1000,
        {str(name): str(rows) for name, rows in splits.items()} if isinstance(splits, dict) else {},
        **sort_features(content["features"], path),
    )


def sort_features(features: dict, path: Path) -> dict[str, Any]:
    """Info's cameras, widths, left_out and real_first."""
    cameras, widths, left_out, real_first = [], {}, [], []
    if len(features) > MOST_FEATURES:
        raise DamagedFile(f"{shown(path)} has {len(features):,} features, and may have {MOST_FEATURES:,}")
    for name, about in features.items():
        if not isinstance(about, dict) or "/" in name or name in ("", ".", "..") or len(name) > 200:
            raise DamagedFile(f"{shown(path)}: {printable(name[:80])!r} is no feature as the format has them")
        kind, shape = about.get("dtype"), about.get("shape")
        if kind == "video" and is_depth(about):
            left_out.append(f"depth, not read: {printable(name)}")
        elif kind == "video":
            cameras.append(name)
        elif kind == "image":
            left_out.append(f"single images, not read: {printable(name)}")
        elif isinstance(shape, list) and all(isinstance(n, int) and 0 < n <= 4096 for n in shape):
            widths[name] = math.prod(shape)
            if (
                shape == [4]
                and isinstance(names := about.get("names"), list)
                and str(names[:1]).lower().endswith("w']")
            ):
                real_first.append(name)
    lists = {"cameras": tuple(cameras), "left_out": tuple(left_out), "real_first": tuple(real_first)}
    return {**lists, "widths": widths}


def is_depth(about: dict) -> bool:
    told = [each for name in ("info", "video_info") if isinstance(each := about.get(name), dict)]
    return any(each.get(name) is True for each in (about, *told) for name in ("is_depth_map", "video.is_depth_map"))
