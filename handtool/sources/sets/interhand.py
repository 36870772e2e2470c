"""InterHand2.6M (Moon et al. 2020, arXiv 2008.09309): right, left and interacting hands, filmed by a hundred cameras.

    InterHand2.6M/
      annotations/train/InterHand2.6M_train_data.json  …_camera.json  …_joint_3d.json   and val/, test/ (1.0)
      annotations/all/InterHand2.6M_train_data.json  …   and human_annot/, machine_annot/ (0.0): --subset
      images/train/Capture0/<sequence>/cam<camera>/image12345.jpg  …   `file_name`, below images/<split>/

    excerpt/     the three files as <split>_interhand2.6m_data.json … beside the images that they name

data.json: images {id, file_name, width, height, capture, subject, seq_name, camera, frame_idx}, annotations {id,
image_id, bbox x y w h, joint_valid 42, hand_type}. camera.json: capture -> campos, camrot, focal, princpt -> camera;
mm. joint_3d.json: capture -> frame -> world_coord 42 x 3 mm, joint_valid 42. In version 1.0 `--subset human_annot`
needs aid_human_annot_<split>.txt (ids of annotations, one a line) beside the annotations. `--subset` also chooses by
hand_type: right, left, interacting; of each kind any, of both kinds both.

Conversions: X_camera = camrot (X - campos), mm to m, joints to our order. One row a hand: of an image of interacting
hands there are two. A joint is valid where the annotation says so (known, and inside the image) and its place in the
world is known; a hand without any valid joint is no row. Box: of one hand the set's own; of interacting hands, where
that goes around both, the extent of the hand's own valid joints times 1.2, which is how the set makes its boxes. A
video is a sequence of one capture with all its cameras, since they see the same moments; its rows go camera by camera.
`sample_id` is the place of the annotation in data.json, counted over the whole split, `sample_key` the image's path
below the root; the two hands of an image share them. `frame` is the place among the images of the video.

Memory: data.json of train is about a gigabyte. It is read as a stream, once, by the first process, which keeps about
400 bytes an image (0.6 GB of train; as objects 9 GB); a process that reads images gets 2048 labels at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.boxes import enlarge
from handtool.sources.frame import Choice, Frame, KnownHand, Tally, Video
from handtool.sources.sets.dataset_choice import choose_some, choose_split, missing_error
from handtool.sources.sets.interhand_labels import TYPES, read_poses, read_rows, read_views
from handtool.sources.sets.multi_camera import find_missing_folders, read_multi_camera

NAME, TITLE = "interhand", "InterHand2.6M"
BOX_SCALE = 1.25
BOX_OF_EXTENT = 1.2  # the set's boxes: the extent of the valid joints times this
SPLITS = {"train": "train", "val": "val", "test": "test"}
SUBSETS = ("all", "human_annot", "machine_annot")
KINDS = ("data", "camera", "joint_3d")
EXCERPT = "{}_interhand2.6m_{}.json"
WHERE = "the root is the folder that holds annotations/ and images/; the annotations are a download of their own"


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    excerpt = any(name.endswith(EXCERPT.format("", "data")) for name in names)
    return ("annotations" in below or excerpt) and bool(list_splits(folder))


def list_layouts(root: Path, split: str) -> list[tuple[str, list[Path], str]]:
    """Where the annotations of a split may lie, the usual place first: subset, files, folder of the images."""
    folders = {"": split, **{subset: subset for subset in SUBSETS}}
    whole = [
        (subset, [root / "annotations" / folder / f"{TITLE}_{split}_{kind}.json" for kind in KINDS], f"images/{split}/")
        for subset, folder in folders.items()
    ]
    return [*whole, ("", [root / EXCERPT.format(split, kind) for kind in KINDS], "")]


def list_splits(root: Path) -> list[str]:
    """Those of which any file of annotations is there."""
    files = {split: [path for _, paths, _ in list_layouts(root, split) for path in paths] for split in SPLITS}
    return [split for split in SPLITS if any(path.is_file() for path in files[split])]


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """A video for each sequence of a capture. Raises HandtoolError, or WrongCommand for unknown names."""
    there = list_splits(root)
    if not there and choice.split is None:
        path = root / "annotations" / "train" / f"{TITLE}_train_data.json"
        raise missing_error(path, "the annotations of InterHand2.6M", WHERE)
    split = choose_split(TITLE, choice.split, SPLITS, there, root)
    asked = choose_some(TITLE, "--subset", choice.subset, (*SUBSETS, *TYPES)) if choice.subset else ()
    subsets, types = [each for each in asked if each in SUBSETS], [each for each in asked if each in TYPES]
    if len(subsets) > 1:
        raise WrongCommand(
            f"{TITLE}: --subset {','.join(subsets)}: annotations are one of {', '.join(SUBSETS)}", hint="--subset all"
        )
    paths, images, ids = choose_files(root, split, subsets[0] if subsets else "")
    rows, names = read_rows(paths[0])
    chosen = choose_rows(rows, names["camera"], choice.cameras, types, ids)
    if not chosen.any():
        given = {"--subset": choice.subset, "--cameras": choice.cameras}
        options = " and ".join(name for name, asked in given.items() if asked)
        raise HandtoolError(f"{paths[0]} has no image that is asked for by {options}", hint="ask for more of them")
    world = World(read_views(paths[1]), read_poses(paths[2]), paths)
    videos = list(make_videos(root, f"{title}/{split}", images, rows, names, chosen, world))
    find_missing_folders(root, videos, "unpacked to the end? The images go into images/train, images/val, images/test")
    return videos


def make_videos(
    root: Path,
    title: str,
    images: str,
    rows: dict[str, np.ndarray],
    names: dict[str, list[str]],
    chosen: np.ndarray,
    world: "World",
) -> Iterator[Video]:
    """One for each sequence of a capture. rows: by column, with the texts of `names`; chosen: (n,) which of them;
    images: their folder and a slash."""
    order = np.lexsort((rows["frame"], rows["camera"], rows["sequence"], rows["capture"]))
    starts = np.flatnonzero(np.diff(rows["capture"][order], prepend=-1) | np.diff(rows["sequence"][order], prepend=-1))
    for of_it in np.split(order, starts[1:]):
        number = np.flatnonzero(chosen[of_it])  # the place among all images of the video, whatever is chosen
        if not number.size:
            continue
        its_rows = {name: values[of_it[number]] for name, values in rows.items()}
        capture, sequence = int(its_rows["capture"][0]), names["sequence"][its_rows["sequence"][0]]
        labels, tables = world.join(capture, its_rows, names["camera"])
        labels |= {"file": np.char.add(images.encode(), its_rows["file"]), "number": number, "id": of_it[number]}
        about: dict[str, Any] = {"subject": str(its_rows["subject"][0]), "split": title.rpartition("/")[2]}
        about |= {"rows": tuple(labels["id"].tolist()), "labels": labels, "tables": tables, "dataset": NAME}
        yield Video(f"{title}/Capture{capture}/{sequence}", str(root), "labelled", **about)


def choose_rows(
    rows: dict[str, np.ndarray], known: list[str], cameras: tuple[str, ...], types: list[str], ids: np.ndarray | None
) -> np.ndarray:
    """(n,) bool: the annotations of these cameras, kinds of hands and ids; no cameras, no types or None: all."""
    asked = tuple(camera.removeprefix("cam") for camera in cameras)
    wanted = [known.index(camera) for camera in choose_some(TITLE, "--cameras", asked, known)]
    chosen = np.isin(rows["camera"], wanted) & (ids is None or np.isin(rows["annotation"], ids))
    if types:
        chosen &= (rows["hands"][:, None] == [TYPES[each] for each in types]).all(axis=2).any(axis=1)
    return chosen


def choose_files(root: Path, split: str, subset: str) -> tuple[list[Path], str, np.ndarray | None]:
    """The three files of a split, the folder of its images, and the ids of the annotations asked for (None: all)."""
    layouts = list_layouts(root, split)
    found = [layout for layout in reversed(layouts) if any(path.is_file() for path in layout[1])]
    there = {which: (paths, images) for which, paths, images in found}
    which, ids = subset, None
    if not subset or (subset == "all" and subset not in there):
        usual = next((usual for usual in ("", "all") if usual in there), None)
        if usual is None and len(there) > 1:
            raise WrongCommand(
                f"{root} has annotations of {split} by people and by machine, each of its own",
                hint="--subset human_annot",
            )
        which = usual if usual is not None else next(iter(there), "")
    elif subset not in there and "" in there:
        which, ids = "", read_ids(there[""][0][0].parent, split, subset)
    paths, images = there.get(which) or next((paths, images) for name, paths, images in layouts if name == which)
    for path in paths:
        if not path.is_file():
            raise missing_error(path, ", ".join(each.name for each in paths), WHERE)
    return paths, images, ids


def read_ids(folder: Path, split: str, subset: str) -> np.ndarray:
    """The annotations of version 1.0 that people made, by their id; it has no list of those that a machine made."""
    name = f"aid_{subset}_{split}.txt"
    places = [place / name for place in (folder, folder.parent, folder.parent.parent)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        hint = "version 1.0 has them as a download of its own, of human_annot alone"
        raise missing_error(folder / name, f"the ids of {subset}, one a line", hint)
    try:
        return np.array(path.read_text().split(), np.int64)
    except ValueError:
        raise DamagedFile(f"{path} is not a list of numbers, one a line") from None


@dataclass(frozen=True)
class World:
    """The cameras and the poses of a split, and the files that they are from."""

    views: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]]
    poses: dict[int, dict[int, tuple[np.ndarray, bytes]]]
    paths: list[Path]

    def join(
        self, capture: int, rows: dict[str, np.ndarray], cameras: list[str]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The labels and tables of a `Video`, for rows of one capture. Raises HandtoolError where files do not fit."""
        (used, view), (frames, pose) = (np.unique(rows[name], return_inverse=True) for name in ("camera", "frame"))
        poses, views = self.poses.get(capture, {}), self.views.get(capture, {})
        names, numbers = [cameras[number] for number in used], frames.tolist()
        for path, wanted, there in ((self.paths[1], names, views), (self.paths[2], numbers, poses)):
            if lacking := [each for each in wanted if each not in there]:
                raise HandtoolError(
                    f"{path} lacks {lacking[0]} of capture {capture}, which {self.paths[0].name} names, and "
                    f"{len(lacking) - 1} more",
                    hint="files of one version?",
                )
        joints, known = zip(*(poses[frame] for frame in numbers))
        valid = rows["valid"] & np.frombuffer(b"".join(known), bool).reshape(-1, 42)[pose]
        matrices, extrinsics = (np.array(each) for each in zip(*(views[name] for name in names)))
        labels = {"valid": valid, "view": view.astype(np.int32), "pose": pose.astype(np.int32)}
        labels |= {name: rows[name] for name in ("box", "hands")}
        return labels, {"joints": np.array(joints), "camera": matrices, "extrinsics": extrinsics}


def read_labelled_frames(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every image of the rows, with the hands of which anything is known."""

    def find_box(row: int, hand: KnownHand) -> np.ndarray | None:
        if not hand.valid.any():
            return None
        return box_of_hand(hand) if video.labels["hands"][row].all() else video.labels["box"][row]

    return read_multi_camera(video, tally, find_box)


def box_of_hand(hand: KnownHand) -> np.ndarray:
    """(4,) px: as the set draws a box, around the joints of this hand alone."""
    points = hand.keypoints[hand.keypoints_valid]
    if not len(points):
        return np.full(4, np.nan)
    return enlarge(np.concatenate([points.min(axis=0), points.max(axis=0)]), BOX_OF_EXTENT)
