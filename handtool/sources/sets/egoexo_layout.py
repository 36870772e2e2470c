"""What lies where below the root of Ego-Exo4D: splits, takes, their annotations and their pictures."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from handtool import bounded
from handtool.sources.images import SUFFIXES
from handtool.sources.sets.egoexo_hands import Seen, is_aria, read_prepared, read_raw

SPLITS = {"train": "train", "val": "val", "test": "test"}
SUBSETS = {"manual": ("annotation", "manual"), "automatic": ("automatic", "auto")}  # folders: raw, prepared
ANNOTATIONS = Path("annotations") / "ego_pose"
FILE = "ego_pose_gt_anno_{}_public.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Take:
    """uid: its key in the annotations; name: "" unknown; subject: "" unknown."""

    uid: str
    name: str = ""
    subject: str = ""


def list_splits(root: Path, subset: str) -> list[str]:
    return [split for split in SPLITS if raw_folder(root, split, subset).is_dir() or find_prepared(root, split, subset)]


def raw_folder(root: Path, split: str, subset: str) -> Path:
    return root / ANNOTATIONS / split / "hand" / SUBSETS[subset][0]


def find_prepared(root: Path, split: str, subset: str) -> Path | None:
    folders = [root / "annotation" / SUBSETS[subset][1], *([root, root / "annotation"] if subset == "manual" else [])]
    return next((path for each in folders if (path := each / FILE.format(split)).is_file()), None)


def read_takes(root: Path) -> dict[str, Take]:
    """By uid, where takes.json is there."""
    path = next((path for path in (root / "takes.json", root / "annotations" / "takes.json") if path.is_file()), None)
    given = bounded.read_json(path) if path else []
    takes = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    made = [Take(*(str(each.get(key) or "") for key in ("take_uid", "take_name", "participant_uid"))) for each in takes]
    return {take.uid: take for take in made if is_plain(take.uid) and (not take.name or is_plain(take.name))}


def is_plain(name: str) -> bool:
    """Whether it is the name of one folder."""
    return PurePosixPath(name).name == name and name not in ("", ".", "..") and "\\" not in name


def read_annotations(root: Path, split: str, subset: str, named: dict[str, Take]) -> Iterator[tuple[Take, list[Seen]]]:
    if prepared := find_prepared(root, split, subset):
        for uid, name, frames in read_prepared(prepared):
            take = named.get(uid, Take(uid, name if is_plain(name) else ""))
            if is_plain(uid) and frames:
                yield take, frames
        return
    for path in sorted(raw_folder(root, split, subset).glob("*.json")):
        folders = root / ANNOTATIONS / split, root / ANNOTATIONS / split / "hand", root / ANNOTATIONS
        poses = next((file for each in folders if (file := each / "camera_pose" / path.name).is_file()), None)
        if poses is None:
            log.warning("%s: no camera_pose of take %s, which is left out", root, path.stem)
        elif frames := read_raw(path, poses, subset == "manual"):
            yield named.get(path.stem, Take(path.stem)), frames


def find_pictures(root: Path, split: str, take: Take, camera: str) -> str:
    """The folder of pictures of a camera, or its film, below the root; "": neither is there."""
    for name in filter(None, (take.name, take.uid)):
        places = [f"images/{name}/{camera}", f"{name}/{camera}"] if is_plain(camera) else []
        if is_aria(camera):
            glasses = (f"image/undistorted/{split}/{name}", f"image/undistorted/{name}", f"image/{split}/{name}")
            places = [*places, *glasses, f"images/{name}", name]
        if found := next((place for place in places if has_images(root / place)), None):
            return found
        film = f"takes/{name}/frame_aligned_videos/{camera}.mp4"
        if is_plain(camera) and not is_aria(camera) and (root / film).is_file():
            return film
    return ""


def has_images(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())
