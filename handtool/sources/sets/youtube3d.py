"""YouTube-3D-Hands (Kulon et al. 2020, arXiv 2004.01946): hands in 109 videos, meshes fitted to the picture.

    youtube3d/
      youtube_train.json  youtube_val.json  youtube_test.json
      youtube/<VIDEO_ID>/video/frames/<FRAME_ID>.png …       made by the set's own script from videos still online

    {"images": [{id, name (the path above), width, height}],
     "annotations": [{id, image_id, is_left, vertices (778, 3)}]}

vertices are pixels of the image and a relative depth: they are no metres, so they give a box and a side, and no joint
is known. The box goes around the mesh; that is the hand with its flesh, so it is enlarged as a detector's box is. Where
the frames have another resolution than the one that was labelled, at the same aspect, boxes follow it. `keypoints`
finds the 2D keypoints, as in any footage.

A video is one VIDEO_ID, `frame` its FRAME_ID. `sample_id` is the place of the annotation in the json, `sample_key` the
image's name. `--subset` chooses by side: left, right.

Memory: the json of train is about two gigabytes, read once as a stream; of each hand its box is kept.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from handtool import config
from handtool.errors import DamagedFile, WrongCommand
from handtool.hands.boxes import box_of_points
from handtool.hands.skeleton import LEFT, NUM_VERTICES, RIGHT, UNKNOWN
from handtool.sources.frame import Choice, Frame, KnownHand, Tally, Video
from handtool.sources.labelled_frames import BadLabel, Sample, only_a_box, read_known
from handtool.sources.large_json import read_items
from handtool.sources.sets.dataset_choice import choose_some, choose_split, missing_error, refuse_choice

NAME, TITLE = "youtube3d", "YouTube-3D-Hands"
BOX_SCALE = config.BOX_SCALE
SPLITS = {"train": "train", "val": "val", "test": "test"}
SIDES = {"left": LEFT, "right": RIGHT}
SAME_ASPECT = 0.02  # of width to height: a frame of 854 x 480 is one of 1280 x 720
WHERE = (
    "its root is the folder that holds youtube_train.json and youtube/, where the set's download_images.py puts "
    "the frames"
)
Annotation = tuple[int, int, np.ndarray]  # place in the json, side, box (4,) px


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    return any(f"youtube_{split}.json" in names for split in SPLITS)


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """One video a VIDEO_ID. Raises HandtoolError where something is missing, WrongCommand for other names."""
    there = [split for split in SPLITS if (root / f"youtube_{split}.json").is_file()]
    if not there and choice.split is None:
        raise missing_error(
            root / "youtube_train.json", "youtube_train.json, youtube_val.json or youtube_test.json", WHERE
        )
    split = choose_split(TITLE, choice.split, SPLITS, there, root)
    refuse_choice(TITLE, "--cameras", choice.cameras, "each video has its own")
    sides = [SIDES[each] for each in choose_some(TITLE, "--subset", choice.subset, SIDES)]
    path = root / f"youtube_{split}.json"
    for needed, looked_for in (
        (path, "the annotations"),
        (root / "youtube", "the frames of the videos, youtube/VIDEO_ID/video/frames/…"),
    ):
        if not needed.exists():
            raise missing_error(needed, looked_for, WHERE)
    images, hands = read_labels(path, sides)
    if not hands:
        raise WrongCommand(
            f"{path} has no hand of --subset {','.join(choice.subset)}" if choice.subset else f"{path} has no hand"
        )
    videos: dict[str, list[int]] = {}
    for image in sorted(hands, key=lambda each: natural(images[each][0])):
        videos.setdefault(video_of(images[image][0]), []).append(image)
    return [make_video(root, f"{title}/{split}/{name}", split, of_it, images, hands) for name, of_it in videos.items()]


def read_labels(path: Path, sides: list[int]) -> tuple[dict[int, tuple[str, int, int]], dict[int, list[Annotation]]]:
    """By image id: name, width and height; and the hands of these sides, where there are any. Raises HandtoolError."""
    images: dict[int, tuple[str, int, int]] = {}
    hands: dict[int, list[Annotation]] = {}
    for kind, place, entry in read_items(path, "images", "annotations"):
        try:
            if kind == "images":
                images[entry["id"]] = read_image_entry(entry)
                continue
            side, vertices = (LEFT if entry["is_left"] else RIGHT), np.array(entry["vertices"], np.float64)
            if vertices.shape != (NUM_VERTICES, 3):
                raise ValueError(f"vertices of shape {vertices.shape}")
            if side in sides:
                hands.setdefault(entry["image_id"], []).append((place, side, box_of_points(vertices[:, :2])))
        except (KeyError, TypeError, ValueError) as error:
            told = f"no {error}" if isinstance(error, KeyError) else error
            raise DamagedFile(
                f"{path}: number {place} of {kind} is not as it should be: {told}", hint="a file of another version?"
            ) from None
    if unknown := [each for each in hands if each not in images]:
        raise DamagedFile(
            f"{path} has hands on image {unknown[0]!r}, and no image of that id; {len(unknown)} like it",
            hint="a file of another version?",
        )
    return images, hands


def read_image_entry(entry: dict) -> tuple[str, int, int]:
    name, width, height = str(entry["name"]), int(entry["width"]), int(entry["height"])
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or not place.name:
        raise ValueError(f"name {name[:80]!r} is no path below the root")
    if width < 1 or height < 1:
        raise ValueError(f"a size of {width} x {height}")
    return name, width, height


def video_of(name: str) -> str:
    """VIDEO_ID; of other names their folder."""
    parts = PurePosixPath(name).parts
    return parts[1] if len(parts) > 2 and parts[0] == "youtube" else PurePosixPath(name).parent.as_posix()


def natural(name: str) -> tuple[str, int, str]:
    """Frames in the order of their numbers."""
    place = PurePosixPath(name)
    return place.parent.as_posix(), int(place.stem) if place.stem.isdecimal() else -1, place.name


def make_video(
    root: Path,
    name: str,
    split: str,
    of_it: list[int],
    images: dict[int, tuple[str, int, int]],
    hands: dict[int, list[Annotation]],
) -> Video:
    """of_it: ids of its images, a row each. labels: file, number (n,), size (n, 2), id, side (n, k), box (n, k, 4)."""
    most = max(len(hands[each]) for each in of_it)
    numbers = [natural(images[each][0])[1] for each in of_it]
    labels = {
        "file": np.array([images[each][0] for each in of_it]),
        "number": np.arange(len(of_it)) if min(numbers) < 0 else np.array(numbers),
        "size": np.array([images[each][1:] for each in of_it]),
        "id": np.full((len(of_it), most), -1),
        "side": np.full((len(of_it), most), UNKNOWN),
        "box": np.full((len(of_it), most, 4), np.nan),
    }
    for row, image in enumerate(of_it):
        for place, hand in enumerate(hands[image]):
            labels["id"][row, place], labels["side"][row, place], labels["box"][row, place] = hand
    rows = tuple(labels["id"][:, 0].tolist())
    return Video(name, str(root), "labelled", rows=rows, dataset=NAME, split=split, labels=labels)


def read_labelled_frames(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every image of the rows, with all its hands."""
    labels = video.labels

    def find(row: int) -> Sample:
        name = str(labels["file"][row])
        return Sample(Path(video.path, name), name, int(labels["number"][row]))

    def label(row: int, where: Sample, image: np.ndarray) -> tuple[KnownHand, ...]:
        scale = size_ratio(image, labels["size"][row])
        return tuple(
            KnownHand(side=int(side), sample_id=int(number), sample_key=where.name, **only_a_box(box * scale))
            for number, side, box in zip(labels["id"][row], labels["side"][row], labels["box"][row], strict=True)
            if number >= 0
        )

    return read_known(video, tally, find, label)


def size_ratio(image: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """(4,) factors on the edges of a box. labelled: (width, height) px. Raises BadLabel for another aspect."""
    wide, high = np.array(image.shape[1::-1]) / labelled
    if abs(wide / high - 1) > SAME_ASPECT:
        raise BadLabel("images of another aspect than was labelled")
    return np.array([wide, high, wide, high])
