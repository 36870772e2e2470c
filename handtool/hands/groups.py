"""Who belongs together: which hands must never be told apart as different ones, paired with each other, or torn apart by a split.

Three partitions of the hands, each finer than the next:

    hand    one hand at one instant: FreiHAND's four pictures of it before different backgrounds, and all rows with the same label
    group   what is never told apart: a film; of a set of single pictures (FreiHAND) a hand
    film    one piece of footage, whoever appears in it; films that share a hand are one

They follow from columns that every file has, so that files of every version have them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from handtool.errors import HandtoolError, WrongCommand

LABEL_FILES = ("labels.npz", "labels.json")  # of the plain format: /videos/path is the labels file of all its videos
SINGLE_PICTURES = re.compile(
    r"(training|evaluation)/rgb/(\d{8})\.jpg"
)  # FreiHAND: labels/sample_key, with the number of labels/sample_id


@dataclass(frozen=True)
class Origin:
    """What a file says of where its n hands are from; it has V videos."""

    owner: str  # tells the file that the hands are rows of from all others
    video: np.ndarray  # (n,) row of the next three
    name: Sequence[str]  # (V,)
    path: Sequence[str]  # (V,)
    subject: Sequence[str]  # (V,) "" unknown
    label: np.ndarray  # (n,) uint64, equal where the labels are equal to the last bit; 0 no label
    sample_id: np.ndarray  # (n,) int64
    sample_key: Sequence[str]  # (V,) of one hand of each, "" unknown


@dataclass(frozen=True)
class Groups:
    """The partitions of n hands as numbers from 0, in the order of their first hands. person: whose hands, film by film if unknown."""

    hand: np.ndarray  # (n,) int64
    group: np.ndarray  # (n,) int64
    film: np.ndarray  # (n,) int64
    person: np.ndarray  # (n,) int64
    person_known: np.ndarray  # (n,) bool


def find_groups(origins: list[Origin]) -> Groups:
    """Of the hands of one file, or of several, one behind the other."""
    footage, subject, same = _number_texts(origins)
    video = [origin.video for origin in origins]
    row = np.concatenate([same[origin.owner] + np.arange(len(origin.video)) for origin in origins])
    film = np.concatenate([number[rows] for number, rows in zip(footage, video)])
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
    group = join_keys(np.where(single, film.max(initial=-1) + 1 + hand, film), hand)
    film = join_keys(film, group)
    people = number_from_0(np.where(person >= 0, person, person.max(initial=-1) + 1 + film))
    return Groups(number_from_0(hand), number_from_0(group), number_from_0(film), people, person >= 0)


def find_units(groups: Groups, by: str, path: object, option: str) -> np.ndarray:
    """What stays on one side when hands are divided `by` video, subject or row: (n,) int64, numbers from 0, in the order of first hands.

    A video is a group and a row is a hand. People who appear in one film are one unit; a film of an unknown person is a person of its own.
    """
    if by == "video":
        return groups.group
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
    """Keys (n,) or (n, k) of any kind -> (n,) int64, numbers from 0 in the order of first appearance."""
    _, first, number = np.unique(keys, return_index=True, return_inverse=True, axis=0 if keys.ndim > 1 else None)
    return np.argsort(np.argsort(first))[number.reshape(-1)].astype(np.int64)


def join_keys(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Two partitions of n hands (n,) int64 -> the finest that tears apart no part of either, (n,) int64."""
    counts = [len(np.unique(keys)) for keys in (one, other)]
    if len(one) in counts:  # parts of a single hand join nothing
        return one if counts[1] == len(one) else other
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = number_from_0(one), number_from_0(other)
    edges = coo_array((np.ones(len(one), bool), (one, counts[0] + other)), shape=(sum(counts),) * 2)
    return connected_components(edges, directed=False)[1][one].astype(np.int64)


def _number_texts(origins: list[Origin]) -> tuple[list[np.ndarray], list[np.ndarray], dict[str, int]]:
    """Of each origin the footage (V,) and the subject (V,), -1 unknown, of its videos, numbered over all; and the first row of each owner."""
    footage: dict[tuple, int] = {}
    people: dict[str, int] = {}
    parts, persons, first, count = [], [], {}, 0
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
    """What two videos have in common if they are one: the path, and of a data set the name below its root.

    The folders before the root depend on how it was given. Where a labels file names no footage, the hands of each subject are a film.
    """
    path, name, subject = origin.path[video], origin.name[video], origin.subject[video]
    if not path:
        return origin.owner, video
    place = PurePath(path)
    root = place.parent.name if place.name in LABEL_FILES else place.name
    parts = PurePath(name).parts
    below = parts[parts.index(root) + 1 :] if root in parts else parts
    return (path, below, subject) if place.name in LABEL_FILES and not below else (path, below)


def _is_single(origin: Origin) -> np.ndarray:
    """(V,) bool: videos that are no footage but pictures of one hand each."""
    return np.array([bool(SINGLE_PICTURES.fullmatch(key)) for key in origin.sample_key], bool)
