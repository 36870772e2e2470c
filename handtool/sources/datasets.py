"""Published data sets: which one is in a folder, its reader, and the box scale of its crops.

A reader is the module of sets/ that is called as the set is on the command line (config.DATASETS), with

    BOX_SCALE                            side of a crop / side of the hand's box, as those who use the set cut it;
                                         None: each image is a hand, nothing is cut out
    GIVES_LANDMARKS                      True where its hands have an estimator's landmarks; else not there
    is_root(folder, names, below)        whether a folder with those files and folders is its root
    is_file(path)                        optional: whether that file is the set, which is then given as its root
    find_videos(root, title, choice)     its videos
    read_labelled_frames(video, tally)   their frames; of a set of films, read_frames(video, sampling, tally)
                                         gives those that are kept
"""

from importlib import import_module
from pathlib import Path

from handtool.config import BOX_SCALE, DATASETS
from handtool.errors import HandtoolError, WrongCommand
from handtool.sources.frame import Choice, Video

SETS = {name: import_module(f"handtool.sources.sets.{name}") for name in DATASETS}


def check_choice(choice: Choice) -> None:
    if choice.dataset is not None and choice.dataset not in SETS:
        raise WrongCommand(
            f"no data set {choice.dataset!r} is known",
            hint=f"--dataset {' | '.join(SETS)}; your own: a folder with labels.npz",
        )


def recognise(folder: Path, names: list[str], below: list[str], choice: Choice = Choice()) -> str | None:
    """names, below: of the files and folders in `folder`. The data set whose root it is, None where it is none."""
    readers = {name: reader for name, reader in SETS.items() if not (choice.boxes and name == "coco")}
    return next((name for name, reader in readers.items() if reader.is_root(folder, names, below)), None)


def recognise_file(path: Path) -> str | None:
    """The data set that a file alone is, None where it is none."""
    last = sorted(SETS, key=lambda name: name == "coco")  # which takes every json
    readers = {name: getattr(SETS[name], "is_file", None) for name in last}
    return next((name for name, is_file in readers.items() if is_file and is_file(path)), None)


def find_dataset(name: str, root: Path, title: str, choice: Choice) -> list[Video]:
    """The videos of a data set. Raises HandtoolError, which names what was looked for and what was found."""
    if not root.is_dir() and not hasattr(SETS[name], "is_file"):
        raise HandtoolError(f"{root} is no folder: a data set is named by its root")
    return SETS[name].find_videos(root, title, choice)


def check_found(videos: list[Video], choice: Choice, camera: bool = False) -> None:
    """Raises if an option chooses a part of a set that has none, or two splits would be joined in one file unasked.
    camera: whether one was given."""
    sets = [video for video in videos if video.dataset]
    asked = {"--split": choice.split, "--subset": choice.subset, "--cameras": choice.cameras}
    if not sets and (options := [option for option, value in asked.items() if value]):
        raise WrongCommand(
            f"{options[0]} chooses a part of a data set, and none was recognised", hint=f"--dataset {' | '.join(SETS)}"
        )
    if knowing := [video for video in sets if camera and video.is_labelled]:
        raise WrongCommand(
            f"the labels of {knowing[0].dataset} say what is known of its cameras",
            hint="leave out --camera; to choose among those of a data set: --cameras A,B…",
        )
    splits = sorted({video.split for video in sets})
    if choice.split is None and len(splits) > 1:
        raise WrongCommand(
            f"{sets[0].path} has {' and '.join(splits)}, which are not to be mixed", hint=f"--split {splits[-1]}"
        )
    if choice.split is None and any(video.dataset == "dexycb" for video in sets):
        raise WrongCommand(
            f"{sets[0].path} is DexYCB: which split?", hint=f"--split {' | '.join(SETS['dexycb'].SPLITS)}"
        )


def name_landmarks(videos: list[Video]) -> str:
    """The sets whose readers give an estimator's landmarks; "": none."""
    names = dict.fromkeys(video.dataset for video in videos if video.dataset)
    return " + ".join(name for name in names if getattr(SETS[name], "GIVES_LANDMARKS", False))


def box_scale_of(videos: list[Video]) -> float:
    """Side of a crop / side of the hand's box where the user did not say: the data set's, else BOX_SCALE."""
    names = dict.fromkeys(video.dataset for video in videos)
    said = {name or "the rest": SETS[name].BOX_SCALE if name else BOX_SCALE for name in names}
    said = {name: scale for name, scale in said.items() if scale is not None}
    scales = sorted(set(said.values()))
    if len(scales) > 1:
        told = ", ".join(f"{name} at {scale:g}" for name, scale in said.items())
        raise WrongCommand(
            f"the crops of one file have one box scale, these are cut at different ones: {told}",
            hint=f"--box-scale {scales[-1]:g}",
        )
    return scales[0] if scales else BOX_SCALE
