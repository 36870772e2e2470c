"""Published data sets: which one lies in a folder, and who reads it."""

from collections.abc import Iterator
from pathlib import Path

from handtool.errors import HandtoolError, WrongCommand
from handtool.sources import freihand
from handtool.sources.frame import Choice, Frame, Tally, Video

NAMES = (freihand.NAME,)


def check_choice(choice: Choice) -> None:
    if choice.dataset is not None and choice.dataset not in NAMES:
        raise WrongCommand(f"no data set {choice.dataset!r} is known", hint=f"--dataset {' | '.join(NAMES)}; your own: a folder with labels.npz")


def recognise(names: list[str], below: list[str]) -> str | None:
    """names, below: of the files and folders in a folder. The data set whose root it is, None where it is none."""
    return freihand.NAME if freihand.is_root(names, below) else None


def find_dataset(name: str, root: Path, title: str, choice: Choice) -> list[Video]:
    """The videos of a data set. Raises HandtoolError, which says what was looked for and what was found."""
    if not root.is_dir():
        raise HandtoolError(f"{root} is no folder: a data set is named by its root")
    match name:
        case freihand.NAME:
            return freihand.find_hands(root, title, choice)
    raise AssertionError(name)


def read_dataset(video: Video, tally: Tally) -> Iterator[Frame]:
    match video.dataset:
        case freihand.NAME:
            return freihand.read_hands(video, tally)
    raise AssertionError(video.dataset)


def check_found(videos: list[Video], choice: Choice) -> None:
    """Options that choose a part need a set that has parts, and two splits do not go into one file unasked."""
    sets = [video for video in videos if video.dataset]
    if not sets and (choice.split is not None or choice.subset):
        raise WrongCommand(
            f"{'--split' if choice.split is not None else '--subset'} chooses a part of a data set, and none was recognised", hint="--dataset NAME"
        )
    splits = sorted({video.split for video in sets})
    if choice.split is None and len(splits) > 1:
        raise WrongCommand(f"{sets[0].path} has {' and '.join(splits)}, which are not to be mixed", hint=f"--split {splits[-1]}")
