"""Hand keypoints in COCO-shaped json: 2D labels on single pictures, of whatever set, tool or release.

    any folder/
      hands.json                  or annotations/*.json: told by their content (sources/coco_hands.py)
      images/…, train2017/… …     each picture at its `file_name`, below the folder, images/ or another folder of it

or that json itself, or a zip archive with both, as CVAT exports ("COCO Keypoints 1.0"), or a json of Label Studio
(sources/label_studio.py). Where a folder has several such files, `--split` names one, by its name or a word of it:
`train` is `coco_wholebody_train_v1.0.json`. Nothing is unpacked.

A row of /videos is a folder of pictures, as for pictures without labels; `frame` is the place of a picture among those
that its file lists there. `sample_id` is the annotation's id, `sample_key` the `file_name`. A picture of another size
than its file states, and of the same shape, is the resized one, and the points follow it.

No camera is known and no joint in space, but where RHD's json of mmpose has `cam_param` and `joint_cam`. Box: the
hand's as given, else the extent of its keypoints. Where the pictures are FreiHAND's, each is the hand.

Memory: the json of COCO-WholeBody's train (1.6 GB) is read twice as a stream; of each hand 220 bytes are kept.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from handtool import config
from handtool.archives import open_zip
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.groups import LABEL_FILES
from handtool.hands.keypoint_lists import read_points, resize
from handtool.names import natural, printable
from handtool.sources import label_studio
from handtool.sources.annotation_file import AnnotationFile, mentions
from handtool.sources.coco_hands import HINT, WHOLE_BODY, HandFile, read_categories, read_coco_hands
from handtool.sources.coco_pictures import (
    ANNOTATIONS,
    MISSING,
    OUTSIDE,
    base_of,
    count_others,
    name_finder,
    picture_finder,
    plain,
    reader_of,
    words_of,
)
from handtool.sources.frame import Choice, Frame, KnownHand, Tally, Video
from handtool.sources.images import Sample, read_samples
from handtool.sources.labelled_frames import BadLabel
from handtool.sources.sets.dataset_choice import refuse_choice

NAME, TITLE = "coco", "COCO hand keypoints"
BOX_SCALE = config.BOX_SCALE
MOST_FILES = 24  # json files of a folder that are looked at
LOOKED_FOR = 20  # pictures, one of which must be there
SAME_SHAPE = 0.02  # of width to height
WORDS = ((b'"annotations"', b'"keypointlabels"'), (b'"keypoints"', b"hand_kpts", b'"keypointlabels"'))
log = logging.getLogger(__name__)


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    """Whether a json there has keypoints of hands on pictures that are there; one whose pictures are not is told. Where
    there are labels in the project's own format, these count."""
    if any(name in names and not kind_of(folder / name) for name in LABEL_FILES):
        return False
    files = find_files(folder, names)
    there = [path for path in files if has_pictures(path, folder)]
    if files and not there:
        log.warning("%s has keypoints of hands, and none of its pictures is in %s", files[0], folder)
    return bool(there)


def is_file(path: Path) -> bool:
    """Every json and zip that is named itself: if it is none of ours, the reason is told. But labels.json may be in the
    project's own format."""
    is_named = path.suffix.lower() in (".json", ".zip") and path.is_file()
    return is_named and (path.name not in LABEL_FILES or bool(kind_of(path)))


def find_files(folder: Path, names: list[str] | None = None) -> list[Path]:
    """The json files of a root that have keypoints of hands."""
    found = []
    for place in (folder, folder / ANNOTATIONS):
        if names is not None and place == folder:
            inside = names
        else:
            inside = [each.name for each in place.iterdir()] if place.is_dir() else []
        files = sorted(filter(is_annotations, inside), key=natural)
        found += [place / name for name in files if len(files) <= MOST_FILES]
    return [path for path in found if kind_of(path)]


def kind_of(path: Path) -> str:
    """ "coco", "label studio", or "" where it is neither with a hand's keypoints. Raises as AnnotationFile."""
    about = path.stat() if path.is_file() else None
    return look_at(path, about.st_mtime_ns, about.st_size) if about else ""


@lru_cache(maxsize=64)
def look_at(path: Path, changed: int, size: int) -> str:
    return kind_of_content(AnnotationFile(path)) if mentions(path, *WORDS) else ""


def kind_of_content(file: AnnotationFile) -> str:
    if file.is_list:
        return "label studio" if label_studio.is_export(file.content) else ""
    annotations = file.first("annotations")
    if any(f"{hand}_kpts" in one for one in annotations for hand in WHOLE_BODY):
        return "coco"
    counts = {len(points) for one in annotations if (points := read_points(one.get("keypoints"))) is not None}
    if 21 in counts:
        return "coco"
    named = counts and file.content is not None and any(one.orders for one in read_categories(file).values())
    return "coco" if named else ""


def has_pictures(path: Path, folder: Path) -> bool:
    file = AnnotationFile(path)
    names = (
        label_studio.read_tasks(file).names[:LOOKED_FOR]
        if file.is_list
        else [str(one.get("file_name")) for one in file.first("images", LOOKED_FOR)]
    )
    find = picture_finder(folder)
    return any(find(name) for name in names)


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """One video a folder of pictures. Raises HandtoolError where there is nothing to read, WrongCommand for other
    names."""
    for option, asked in (("--subset", choice.subset), ("--cameras", choice.cameras)):
        refuse_choice(TITLE, option, asked, "there is nothing to choose by but the file, --split")
    if root.suffix.lower() == ".zip" and root.is_file():
        return find_in_archive(root, title, choice)
    base = base_of(root)
    files = find_files(root) if root.is_dir() else [root]
    paths = by_name({path.relative_to(root if root.is_dir() else root.parent).as_posix(): path for path in files})
    if not paths:
        raise HandtoolError(f"{root} has no json with keypoints of hands, there or in {ANNOTATIONS}/", hint=HINT)
    if root.is_file() and not kind_of(root):
        raise not_ours(root)
    videos = []
    for stem in choose_files(list(paths), choice.split, root):
        hands = read_hands(AnnotationFile(paths[stem]))
        videos += make_videos(root, title, stem, hands, picture_finder(base, stem), str(base))
    return videos


def by_name(files: dict[str, Any]) -> dict[str, Any]:
    """Files by their paths -> by their names without ending, or by their paths where several are called so."""
    stems = Counter(PurePosixPath(path).stem for path in files)
    alone = {path: stems[PurePosixPath(path).stem] == 1 for path in files}
    return {PurePosixPath(path).stem if alone[path] else path: file for path, file in files.items()}


def not_ours(path: Path) -> HandtoolError:
    if path.suffix.lower() == ".json" and mentions(path, (b'"instances"', b'"keypoint_scores"')):
        return HandtoolError(
            f"{path} holds a model's predictions: they tell where the hands of a video or picture are",
            hint=f"handtool extract VIDEO --boxes {path}",
        )
    AnnotationFile(path)  # raises where it is damaged
    return DamagedFile(f"{path} has no keypoints of hands (21 points, or hands among named points)", hint=HINT)


def choose_files(stems: list[str], asked: str | None, root: Path) -> list[str]:
    """The names of the files that --split asks for: one, or that of all of them which is a word of one. Without it,
    all; two are not to be mixed, which `check_found` says."""
    if asked is None or asked in stems:
        return [asked] if asked else stems
    named = [stem for stem in stems if asked.lower() in words_of(stem)]
    if len(named) != 1:
        raise WrongCommand(f"{root} has no split {asked!r}", hint=f"--split {' | '.join(stems[:8])}")
    return named


def read_hands(file: AnnotationFile) -> HandFile:
    return label_studio.read_tasks(file) if file.is_list else read_coco_hands(file)


def find_in_archive(path: Path, title: str, choice: Choice) -> list[Video]:
    """CVAT's zip: annotations/*.json and the pictures below images/, both read where they lie."""
    with open_zip(path) as archive:
        members = [name for name in archive.namelist() if is_annotations(name)][:MOST_FILES]
        parsed = {name: AnnotationFile(path, archive, name) for name in members}
        files = by_name({name: file for name, file in parsed.items() if kind_of_content(file)})
        if not files:
            raise HandtoolError(f"{path} has no json with keypoints of hands", hint=HINT)
        names = archive.namelist()
    stems = choose_files(list(files), choice.split, path)
    videos = []
    for stem in stems:
        videos += make_videos(path, title, stem, read_hands(files[stem]), name_finder(names, stem), str(path))
    return videos


def is_annotations(name: str) -> bool:
    return name.lower().endswith(".json") and not PurePosixPath(name).name.startswith(".")


def make_videos(
    root: Path, title: str, split: str, found: HandFile, find: Callable[[str], str], where: str
) -> list[Video]:
    """A video a folder of pictures; labels: file, path (n,) texts, number (n,), size (n, 2), hands (n,) of HAND arrays,
    joints, camera (n,). Raises HandtoolError where no hand or none of the pictures is there."""
    hands = found.as_array()
    if not len(hands):
        told = ", ".join(f"{why}: {count:,}" for why, count in found.left_out.most_common(4)) or "no annotations"
        raise DamagedFile(f"{found.what} has no hand that can be used ({told})", hint=HINT)
    order = np.argsort(hands["image"], kind="stable")
    images, starts = np.unique(hands["image"][order], return_index=True)
    rows_of = dict(zip(images.tolist(), np.split(order, starts[1:])))
    paths = [find(name) for name in found.names]
    if not any(paths[image] for image in rows_of):
        example = printable(found.names[images[0]])[:80]
        raise HandtoolError(
            f"none of the {len(rows_of):,} pictures of {found.what} is there: looked for {example!r} in {where}, "
            "images/ and the folders below",
            hint="put the json beside its pictures, or into the folder above them",
        )
    left_out = found.left_out | Counter({"pictures without a hand": len(found.names) - len(rows_of)})
    left_out |= Counter({"pictures that it does not list": count_others(base_of(root), paths)})
    notes = [f"{found.what}: {count:,} {why} left out" for why, count in left_out.items() if count]
    marked_2 = bool((hands["mark"] == 2).any())
    places: dict[str, list[int]] = {}
    for place, name in enumerate(found.names):
        places.setdefault(folder_of(name), []).append(place)
    videos = []
    for folder, of_it in places.items():
        of_it.sort(key=lambda place: natural(found.names[place]))
        rows = [(number, place) for number, place in enumerate(of_it) if place in rows_of]
        if rows:
            labels = make_labels(found, hands, rows, rows_of, paths)
            tables = {
                "notes": np.array(notes, dtype=object),
                "whole": np.array(found.whole),
                "told": np.array(marked_2),
            }
            name = "/".join(part for part in (title, split, folder) if part)
            own: dict[str, Any] = {"dataset": NAME, "split": split, "labels": labels, "tables": tables}
            videos.append(Video(name, str(root), "labelled", rows=tuple(place for _, place in rows), **own))
    return sorted(videos, key=lambda video: natural(video.name))


def folder_of(name: str) -> str:
    below = plain(name)
    folder = PurePosixPath(below).parent.as_posix() if below else "."
    return printable("" if folder == "." else folder)


def make_labels(
    found: HandFile, hands: np.ndarray, rows: list[tuple[int, int]], rows_of: dict[int, np.ndarray], paths: list[str]
) -> dict[str, np.ndarray]:
    """rows: number and place of each picture."""
    labels: dict[str, np.ndarray] = {
        name: np.empty(len(rows), dtype=object) for name in ("file", "path", "hands", "joints", "camera")
    }
    labels["number"] = np.array([number for number, _ in rows])
    labels["size"] = np.array([found.sizes[place] for _, place in rows])
    for row, (_, place) in enumerate(rows):
        labels["file"][row], labels["path"][row] = found.names[place], paths[place]
        labels["hands"][row] = hands[rows_of[place]]
        labels["joints"][row] = [found.joints.get(int(hand)) for hand in rows_of[place]]
        labels["camera"][row] = found.cameras.get(place)
    return labels


def read_labelled_frames(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every picture of the rows, with all its hands."""
    labels, root = video.labels, Path(video.path)
    for note in video.tables["notes"].tolist():
        tally.note(note)

    def find(row: int) -> Sample:
        where = labels["path"][row] or (MISSING if plain(labels["file"][row]) else OUTSIDE)
        return Sample(Path(where), labels["file"][row], int(labels["number"][row]))

    def label(row: int, where: Sample, image: np.ndarray) -> tuple[KnownHand, ...]:
        return known_hands(video, row, image)

    with ExitStack() as stack:
        yield from read_samples(map(find, range(len(video.rows))), tally, label, reader_of(root, stack))


def known_hands(video: Video, row: int, image: np.ndarray) -> tuple[KnownHand, ...]:
    labels, size = video.labels, image.shape[1::-1]
    stated = labels["size"][row] if labels["size"][row].all() else np.array(size)
    wide, high = np.array(size) / stated
    if abs(wide / high - 1) > SAME_SHAPE:
        raise BadLabel("images of another shape than their labels state")
    camera = np.full((3, 3), np.nan)
    if labels["camera"][row] is not None:
        resized = np.array([[wide, 0, (wide - 1) / 2], [0, high, (high - 1) / 2], [0, 0, 1]])
        camera = resized @ labels["camera"][row]
    found = []
    for hand, joints in zip(labels["hands"][row], labels["joints"][row], strict=True):
        joints = np.full((21, 3), np.nan) if joints is None else joints
        known = {"joints": joints.astype(np.float32), "valid": np.isfinite(joints).all(axis=1), "camera": camera}
        points = resize(hand["keypoints"].astype(np.float64), (wide, high))
        known |= {"keypoints": points, "keypoints_valid": hand["mark"] > 0}
        known |= {"box": None if video.tables["whole"] else hand["box"] * np.array([wide, high] * 2)}
        known |= {"visible": hand["mark"] == 2} if video.tables["told"] else {}
        key = str(labels["file"][row])
        found.append(KnownHand(side=int(hand["side"]), sample_id=int(hand["id"]), sample_key=key, **known))
    return tuple(found)
