"""Copies: videos that show one recording, or parts of it, recognised by the pictures of their hands.

Pictures are compared by thumbnails (hands/thumbnails.py), one of the crop and one of its whole frame. Two videos are
copies

* if a crop of one has the same bytes as one of the other,
* or if three different pictures of one look nearly the same in the other, all at one distance in time,
* or, in whatever order, if three different ones look the same, frames and crops;
* of images one, of a video with one or two hands all, if crop and frame look the same to the last.

A resting hand looks the same for long, and in another take of the scene too: that is why the three have to differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from handtool.hands.thumbnails import FREQUENCIES, compare, is_telling, mirror, spectrum

CROP, FRAME = 0, 1  # the two thumbnails of a hand
NEARLY, SAME = 4.0, 2.0  # largest difference of pictures that look nearly the same, or the same
LAST_CROP, LAST_FRAME = 3.0, 1.5  # the same of crops and frames that look the same to the last
DIFFERENT = 6.0  # least difference of pictures that count as two
LEAST_PICTURES = 3
STEP_S = 0.2  # of distances in time that count as one; of images, one place in their order
KEY_LENGTH, KEY_STEP, NUM_KEYS = 10, 60, 4  # frequencies in a key, their width in it, and keys of one thumbnail
REACH = 40  # largest difference of one frequency of nearly the same pictures
WINDOWS, WORK = (8, 32), 1_600_000  # thumbnails compared with each, of those with the same key, and in all
MOST_COMPARED = 64  # pictures whose differences are counted
BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class Pictures:
    """What is known of the pictures of n hands."""

    film: np.ndarray  # (n,) int64
    digest: np.ndarray  # (n,) uint64, equal for crops with equal bytes
    thumbnails: np.ndarray  # (n, 2, 8, 8) uint8 of the crop and its frame, 0: none
    time: np.ndarray  # (n,) s, NaN of images
    frame: np.ndarray  # (n,) number of the frame
    label: np.ndarray  # (n,) uint64, equal for equal labels, 0: none

    @cached_property
    def is_image(self) -> np.ndarray:
        return np.isnan(self.time)

    @cached_property
    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """For each row (n,): its film, counted from 0, and how many rows that has."""
        _, number, count = np.unique(self.film, return_inverse=True, return_counts=True)
        return number.reshape(-1), count[number.reshape(-1)]

    @cached_property
    def telling(self) -> np.ndarray:
        """(n, 2) bool: thumbnails with enough in them to be recognised by."""
        parts = [np.zeros((0, 2), bool)]
        for start in range(0, len(self.film), BLOCK_ROWS):
            block = self.thumbnails[start : start + BLOCK_ROWS]
            parts.append(is_telling(block) if block.any() else np.zeros((len(block), 2), bool))
        return np.concatenate(parts)


def find_copies(pictures: Pictures) -> np.ndarray:
    """(k, 2) films that are copies of each other.

    Memory: about 200 bytes a row. Time: n log n; no film is compared with all others.
    """
    if not (pictures.film[1:] != pictures.film[:1]).any():
        return np.zeros((0, 2), np.int64)
    return np.unique(np.concatenate([same_bytes(pictures), same_pictures(pictures)]), axis=0)


def same_bytes(pictures: Pictures) -> np.ndarray:
    """(k, 2) films with a crop of the same bytes. Where thumbnails do not confirm it, two such crops are needed, or all
    that one of the films has: digests of very many crops may be equal by chance."""
    film, digest, thumbnail = pictures.film, pictures.digest, pictures.thumbnails[:, CROP]
    order = np.lexsort((film, digest))
    before, after = order[:-1], order[1:]
    equal = (digest[before] == digest[after]) & (film[before] != film[after])
    before, after = before[equal], after[equal]
    confirmed = thumbnail[before].any((1, 2)) & thumbnail[after].any((1, 2))
    right = ~confirmed | ((thumbnail[before] == thumbnail[after]).all((1, 2)) & pictures.telling[before, CROP])
    before, after, confirmed = before[right], after[right], confirmed[right]
    pairs = np.sort(np.stack([film[before], film[after]], axis=1), axis=1)
    found, which, count = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    needed = np.full(len(found), 2)
    rows = pictures.numbers[1]
    np.minimum.at(needed, which.reshape(-1), np.minimum(rows[before], rows[after]))
    needed[which.reshape(-1)[confirmed]] = 1
    return found[count >= needed]


def same_pictures(pictures: Pictures) -> np.ndarray:
    """(k, 2) films that are copies by how their pictures look."""
    joined, same = Union(), [np.zeros((0, 3), np.int64)]
    for kind in (CROP, FRAME):
        thumbnail = pictures.thumbnails[:, kind]
        one, other = find_candidates(pictures, kind)
        enough = may_be_enough(pictures, one, other)
        one, other = one[enough], other[enough]
        apart = compare(thumbnail, one, other)
        one, other, apart = (values[apart < NEARLY] for values in (one, other, apart))
        matches = Matches(pictures.film, thumbnail, one, other)
        for shift in shifts(pictures, one, other):
            for group in matches.groups(shift, np.isfinite(shift)):
                matches.join_if_many(joined, group)
        both = pictures.telling[one].all(1) & pictures.telling[other].all(1)
        one, other, apart = one[both], other[both], apart[both]
        also = compare(pictures.thumbnails[:, 1 - kind], one, other)
        crops, frames = (apart, also) if kind == CROP else (also, apart)
        alike = (crops < NEARLY) & (frames < SAME)
        to_the_last = (crops < LAST_CROP) & (frames < LAST_FRAME)
        same.append(np.stack([one, other, to_the_last], axis=1)[alike])
    join_unordered(joined, pictures, np.unique(np.concatenate(same), axis=0))
    return np.array(joined.pairs, np.int64).reshape(-1, 2)


def join_unordered(joined: "Union", pictures: Pictures, same: np.ndarray) -> None:
    """Joins films by pictures that are the same in crop and frame, at whatever time. same (m, 3): both rows, and
    whether they look the same to the last."""
    matches, count = Matches(pictures.film, pictures.thumbnails[:, CROP], same[:, 0], same[:, 1]), pictures.numbers[1]
    for group in matches.groups():
        sure = group[same[group, 2] > 0]
        one, other = matches.one[sure], matches.other[sure]
        all_of_few = [len(rows) and len(np.unique(rows)) == count[rows[0]] < LEAST_PICTURES for rows in (one, other)]
        if any(all_of_few) or (pictures.is_image[one] & pictures.is_image[other]).any():
            joined.add(*matches.films(group))
        matches.join_if_many(joined, group)


def shifts(pictures: Pictures, one: np.ndarray, other: np.ndarray) -> Iterator[np.ndarray]:
    """Twice, the bin (m,) of the distance in time of pairs of rows, of images in place; NaN where only one is an image.
    The bins overlap by half, so that two distances that differ by less than STEP_S share one."""
    seconds, places = (pictures.time[other] - pictures.time[one]) / STEP_S, pictures.frame[other] - pictures.frame[one]
    apart = np.where(pictures.is_image[one] & pictures.is_image[other], places, seconds)
    apart *= np.where(pictures.film[one] > pictures.film[other], -1, 1)
    yield np.floor(apart / 2)
    yield np.floor(apart / 2 + 0.5)


def may_be_enough(pictures: Pictures, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(m,) bool: whether there are as many such pairs of rows as it takes to join their films."""
    number, count = pictures.numbers
    low, high = np.minimum(number[one], number[other]), np.maximum(number[one], number[other])
    pair = (low * (number.max(initial=0) + 1) + high).astype(np.uint64)
    images = pictures.is_image[one].astype(int) + pictures.is_image[other]
    enough = (images == 2) | (np.minimum(count[one], count[other]) < LEAST_PICTURES)
    enough |= (images == 1) & (count_equal(pair) >= LEAST_PICTURES)
    for shift in shifts(pictures, one, other):
        place = np.nan_to_num(shift).astype(np.int64).view(np.uint64)
        enough |= (images != 1) & (count_equal(pair * np.uint64(0x9E3779B97F4A7C15) + place) >= LEAST_PICTURES)
    return enough


def count_equal(key: np.ndarray) -> np.ndarray:
    """(m,): how often each key is there."""
    order = np.argsort(key)
    start = np.flatnonzero(np.diff(key[order], prepend=~key[order[:1]]) != 0)
    length = np.diff(np.append(start, len(key)))
    count = np.empty(len(key), np.int64)
    count[order] = np.repeat(length, length)
    return count


class Union:
    """Films joined so far, to spare the comparison of those that are already."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}
        self.pairs: list[tuple[int, int]] = []

    def root(self, film: int) -> int:
        while (above := self.parent.get(film, film)) != film:
            self.parent[film] = film = self.parent.get(above, above)
        return film

    def add(self, one: int, other: int) -> None:
        if (root := self.root(one)) != (top := self.root(other)):
            self.parent[max(root, top)] = min(root, top)
            self.pairs.append((one, other))


class Matches:
    """Pairs of rows (m,) of two films each that look alike, the row of the lower film first."""

    def __init__(self, film: np.ndarray, thumbnail: np.ndarray, one: np.ndarray, other: np.ndarray) -> None:
        swap = film[one] > film[other]
        self.film, self.thumbnail = film, thumbnail
        self.one, self.other = np.where(swap, other, one), np.where(swap, one, other)

    def films(self, group: np.ndarray) -> tuple[int, int]:
        return int(self.film[self.one[group[0]]]), int(self.film[self.other[group[0]]])

    def groups(self, key: np.ndarray | None = None, some: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """The places of `some` matches (m,) bool that have both films and the key in common, the most first."""
        places = np.arange(len(self.one)) if some is None else np.flatnonzero(some)
        keys = [self.film[self.one], self.film[self.other], *([] if key is None else [key])]
        order = places[np.lexsort([each[places] for each in keys])]
        new = np.any([np.diff(each[order]) != 0 for each in keys], axis=0)
        yield from sorted(np.split(order, np.flatnonzero(new) + 1) if len(order) else [], key=len, reverse=True)

    def join_if_many(self, joined: Union, group: np.ndarray) -> None:
        """Joins two films if enough of the rows that match are different pictures."""
        films, rows = self.films(group), [np.unique(self.one[group]), np.unique(self.other[group])]
        few = min(map(len, rows)) < LEAST_PICTURES or joined.root(films[0]) == joined.root(films[1])
        if not few and min(count_pictures(self.thumbnail, each) for each in rows) >= LEAST_PICTURES:
            joined.add(*films)


def count_pictures(thumbnail: np.ndarray, rows: np.ndarray) -> int:
    """How many of the rows differ from all others that are counted."""
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, MOST_COMPARED).astype(int))]
    one, other = np.triu_indices(len(rows), 1)
    apart = np.zeros((len(rows), len(rows)))
    apart[one, other] = apart[other, one] = compare(thumbnail, rows[one], rows[other])
    counted: list[int] = []
    for place in range(len(rows)):
        if (apart[place, counted] >= DIFFERENT).all():
            counted.append(place)
    return len(counted)


def find_candidates(pictures: Pictures, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (m,), (m,) of different films whose thumbnails may look the same: near in ten frequencies. Two rows with
    different labels are no candidates.

    A key is the cell of these in a grid. Rows with the same key in one of four shifted grids, two of mirror images, are
    compared, each with the next few in the order of one more frequency.
    """
    rows = np.flatnonzero(pictures.telling[:, kind])
    film, label = pictures.film[rows], pictures.label[rows]
    blocks = (pictures.thumbnails[rows[at : at + BLOCK_ROWS], kind] for at in range(0, len(rows), BLOCK_ROWS))
    upright = np.concatenate([np.zeros((0, len(FREQUENCIES)), np.int16), *map(spectrum, blocks)])
    rng, found = np.random.default_rng(7), [np.zeros(0, np.int64)]
    window = int(np.clip(WORK // max(len(rows), 1), *WINDOWS))
    edge = window // 4  # of one video's thumbnails with the same key, so many of the first and of the last are compared
    for number in range(NUM_KEYS):
        frequencies = mirror(upright) if number % 2 else upright
        key = make_keys(frequencies[:, :KEY_LENGTH], rng.integers(0, KEY_STEP, KEY_LENGTH), rng)
        order = np.lexsort((film, key))
        start = np.flatnonzero(np.r_[True, (np.diff(key[order]) != 0) | (np.diff(film[order]) != 0)][: len(order)])
        length = np.diff(np.r_[start, len(order)])
        place = np.arange(len(order)) - np.repeat(start, length)
        kept = order[(place < edge) | (place >= np.repeat(length, length) - edge)]
        kept = kept[np.lexsort((frequencies[kept, KEY_LENGTH], key[kept]))]
        for step in range(1, window + 1):
            one, other = kept[:-step], kept[step:]
            together = (key[one] == key[other]) & (film[one] != film[other])
            one, other = one[together], other[together]
            near = (np.abs(frequencies[one] - frequencies[other]) <= REACH).all(1)
            near &= (label[one] == label[other]) | (label[one] == 0) | (label[other] == 0)
            one, other = one[near], other[near]
            found.append(np.minimum(one, other) * len(film) + np.maximum(one, other))
    pairs = np.sort(np.concatenate(found))
    one, other = np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], max(len(film), 1))
    return rows[one], rows[other]


def make_keys(frequencies: np.ndarray, shift: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) uint64, equal for rows in one cell of the grid that begins at -shift."""
    factor = 2 * rng.integers(1, 2**62, len(shift), dtype=np.uint64) + 1
    key = np.empty(len(frequencies), np.uint64)
    for start in range(0, len(key), BLOCK_ROWS):
        cell = np.floor_divide(frequencies[start : start + BLOCK_ROWS] + shift, KEY_STEP)
        key[start : start + BLOCK_ROWS] = (cell.astype(np.int64).view(np.uint64) * factor).sum(1, dtype=np.uint64)
    return key
