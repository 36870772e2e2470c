"""Which hands belong together: they must not count as different, pair with each other, or be separated by a split.

Three partitions of the hands, each finer than the next:

    hand    one hand at one instant: FreiHAND's four backgrounds of a hand, and all rows with the same label
    group   hands that belong together: those of a film, or, in a set of single pictures (FreiHAND), one hand
    film    one recording, whoever appears in it; recordings that share a hand are one film

They are derived from columns that all files have, also those of older versions; copies of a recording (hands/copies.py)
are recognised in old ones by equal bytes alone. Copies are one film.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import numpy as np

from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.copies import Pictures, Union, find_copies

LABEL_FILES = ("labels.npz", "labels.json")  # in the plain format, /videos/path of all videos is the labels file
# labels/sample_key of FreiHAND; its number is labels/sample_id
SINGLE_PICTURES = re.compile(r"(training|evaluation)/rgb/(\d{8})\.jpg")

EPISODE = re.compile(r"episode_\d{6,}")  # of a LeRobot set; below it in the name, the camera


@dataclass(frozen=True)
class Origin:
    """The columns of a file that tell where its n hands are from. V: its number of videos."""

    owner: str  # identifies the file whose rows the hands are
    video: np.ndarray  # (n,) index into the next three
    name: Sequence[str]  # (V,)
    path: Sequence[str]  # (V,)
    subject: Sequence[str]  # (V,) "" unknown
    label: np.ndarray  # (n,) uint64, equal for labels with equal bits; 0: no label
    sample_id: np.ndarray  # (n,) int64
    sample_key: Sequence[str]  # (V,) of one hand of each video, "" unknown
    # the rest: None where copies are not looked for
    digest: np.ndarray | None = None  # (n,) uint64, equal for crops with equal bytes
    thumbnails: np.ndarray | None = None  # (n, 2, 8, 8) uint8 of the crop and its frame, 0: none
    time: np.ndarray | None = None  # (n,) s, NaN of images
    frame: np.ndarray | None = None  # (n,) number within the video


@dataclass(frozen=True)
class Groups:
    """Partitions of n hands as numbers, those of the rows of /videos where no films are joined. person: one per film if
    unknown."""

    hand: np.ndarray  # (n,) int64
    group: np.ndarray  # (n,) int64
    film: np.ndarray  # (n,) int64
    person: np.ndarray  # (n,) int64
    person_known: np.ndarray  # (n,) bool
    copied: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))  # (n,) of a film that is there several times
    copies: list[list[str]] = field(default_factory=list)  # of each of these, the names of the videos


def find_groups(origins: list[Origin]) -> Groups:
    """The groups of the hands of one file, or of several files concatenated."""
    footage, subject, same = _number_texts(origins)
    video = [origin.video for origin in origins]
    row = np.concatenate([same[origin.owner] + np.arange(len(origin.video)) for origin in origins])
    film = np.concatenate([number[rows] for number, rows in zip(footage, video)])
    film, copied, copies = join_copies(origins, footage, film)
    person = np.concatenate([number[rows] for number, rows in zip(subject, video)])
    label = np.concatenate([origin.label for origin in origins])
    known = np.flatnonzero(label)
    hand = row.copy()
    hand[known] = len(row) + number_from_0(label[known])
    single = np.concatenate([_is_single(origin)[rows] for origin, rows in zip(origins, video)])
    if single.any():
        picture = row.copy()
        sample = np.concatenate([origin.sample_id for origin in origins])
        picture[single] = len(row) + number_from_0(np.stack([film[single], sample[single]], axis=1))
        hand = join_keys(hand, picture)
    hand = number_from_0(hand)
    group = join_keys(np.where(single, film.max(initial=-1) + 1 + hand, film), hand)
    film = join_keys(film, group)
    person_known, unknown = person >= 0, person.max(initial=-1) + 1 + film
    return Groups(hand, group, film, np.where(person_known, person, unknown), person_known, copied, copies)


def join_copies(
    origins: list[Origin], footage: list[np.ndarray], film: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
    """footage: the film of each video (V,), of each origin; film (n,): that of each hand. Returns the films (n,) with
    copies joined, `Groups.copied` and `Groups.copies`."""
    if any(origin.digest is None for origin in origins):
        return film, np.zeros(len(film), bool), []
    names_of = "digest thumbnails time frame label".split()
    pictures = Pictures(film, *(join([getattr(each, name) for each in origins]) for name in names_of))
    joined = Union()
    for one, other in find_copies(pictures).tolist():
        joined.add(one, other)
    names: dict[int, str] = {}
    for origin, numbers in zip(origins, footage):
        for row, number in enumerate(numbers.tolist()):
            names.setdefault(number, origin.name[row])
    copies: dict[int, list[str]] = {}
    root = np.arange(max(names, default=-1) + 1)
    for number in sorted({each for pair in joined.pairs for each in pair}):
        root[number] = joined.root(number)
        copies.setdefault(int(root[number]), []).append(names[number])
    return root[film], np.isin(root[film], list(copies)), list(copies.values())


def join(parts: list[np.ndarray]) -> np.ndarray:
    """One array, without a copy where there is only one part."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def find_units(groups: Groups, by: str, path: object, option: str) -> np.ndarray:
    """The unit of each hand that a division `by` video, subject or row keeps whole: (n,) int64, from 0 in order.

    A video is a group and a row is a hand. People of one film are one unit; an unknown person is one in each film.
    """
    if by == "video":
        return number_from_0(groups.group)
    if by == "row":
        return groups.hand
    if by != "subject":
        raise WrongCommand(f"{option} {by}: there are video, subject and row")
    if len(groups.person_known) and not groups.person_known.any():
        raise HandtoolError(
            f"{path} does not know whose hands it holds (videos/subject is empty)", hint=f"{option} video"
        )
    return number_from_0(join_keys(groups.person, groups.group))


def number_from_0(keys: np.ndarray) -> np.ndarray:
    """Keys (n,) or (n, k) of any type -> (n,) int64, numbers from 0 in the order of first appearance."""
    _, first, number = np.unique(keys, return_index=True, return_inverse=True, axis=0 if keys.ndim > 1 else None)
    return np.argsort(np.argsort(first))[number.reshape(-1)].astype(np.int64)


def join_keys(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Two partitions of n hands (n,) int64 -> the finest partition that keeps the classes of both whole, (n,) int64."""
    for coarse, fine in ((one, other), (other, one)):
        if _is_finer(fine, coarse):
            return coarse
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = number_from_0(one), number_from_0(other)
    first = one.max() + 1
    edges = coo_array((np.ones(len(one), bool), (one, first + other)), shape=(first + other.max() + 1,) * 2)
    return connected_components(edges, directed=False)[1][one].astype(np.int64)


def _is_finer(fine: np.ndarray, coarse: np.ndarray) -> bool:
    """Whether every class of `fine` lies in one class of `coarse`."""
    order = np.argsort(fine, kind="stable")
    return bool(((np.diff(fine[order]) != 0) | (np.diff(coarse[order]) == 0)).all())


def _number_texts(origins: list[Origin]) -> tuple[list[np.ndarray], list[np.ndarray], dict[str, int]]:
    """For each origin, numbers (V,) of the footage and of the subject (-1 unknown) of its videos, common to all
    origins; and the first row of each owner."""
    footage: dict[tuple, int] = {}
    people: dict[str, int] = {}
    first: dict[str, int] = {}
    parts, persons, count = [], [], 0
    for origin in origins:
        keys = [footage_key(origin, video) for video in range(len(origin.name))]
        parts.append(np.array([footage.setdefault(key, len(footage)) for key in keys], np.int64))
        persons.append(
            np.array([people.setdefault(who, len(people)) if who else -1 for who in origin.subject], np.int64)
        )
        first.setdefault(origin.owner, count)
        count += len(origin.video)
    return parts, persons, first


def footage_key(origin: Origin, video: int) -> tuple:
    """A key that is equal for two videos that are the same: the path, and for a data set also the name below its root.

    The folders above the root are left out, since they depend on how it was given. If a labels file names no footage,
    the hands of each subject are a film. The cameras of an episode are one.
    """
    path, name, subject = origin.path[video], origin.name[video], origin.subject[video]
    if not path:
        return origin.owner, video
    place = PurePath(path)
    root = place.parent.name if place.name in LABEL_FILES else place.name
    parts = PurePath(name).parts
    below = parts[parts.index(root) + 1 :] if root in parts else parts
    if len(below) > 1 and EPISODE.fullmatch(below[-2]):
        below = below[:-1]
    return (path, below, subject) if place.name in LABEL_FILES and not below else (path, below)


def _is_single(origin: Origin) -> np.ndarray:
    """(V,) bool: videos that are sets of single pictures, each of another hand."""
    return np.array([bool(SINGLE_PICTURES.fullmatch(key)) for key in origin.sample_key], bool)
