"""Copies of a recording are recognised by their pictures, and different recordings are never taken for one."""

from dataclasses import replace

import numpy as np
import pytest

from handtool.hands.copies import CROP, NEARLY, Pictures, count_pictures, find_candidates, find_copies
from handtool.hands.thumbnails import compare, is_telling

SIZE, WINDOW = 80, slice(8, 72)  # px of what there is to see, and what of it is cut out


def smooth(rng, count, cells=4):
    """(count, SIZE, SIZE): random pictures without fine detail, grey values about 0."""
    place = np.linspace(0, cells - 1.001, SIZE)
    low, share = place.astype(int), place % 1
    values = rng.normal(size=(count, cells, cells))
    values = values[:, low] * (1 - share)[:, None] + values[:, low + 1] * share[:, None]
    return values[:, :, low] * (1 - share) + values[:, :, low + 1] * share


def make_film(rng, count=20, motion=0.8):
    """(count, 2, SIZE, SIZE) grey values of crops and frames: a place, and what moves in it from one to the next."""
    ground, moving = smooth(rng, 2), smooth(rng, 2 * count).reshape(count, 2, SIZE, SIZE)
    return 120 + 30 * (ground + motion * moving)


def shrink(images, rng=None, noise=0.2):
    """Thumbnails as they are stored, after what a coder leaves of them."""
    means = images[..., WINDOW, WINDOW].reshape(*images.shape[:-2], 8, 8, 8, 8).mean((-3, -1))
    means = means if rng is None else means + rng.normal(0, noise, means.shape)
    return np.clip(means, 1, 255).round().astype(np.uint8)


def gather(*films, times=None, bytes_of=None):
    """films: thumbnails (n, 2, 8, 8) of each; a frame every half second, no two crops of the same bytes."""
    film = np.repeat(np.arange(len(films)), [len(each) for each in films])
    frame = np.concatenate([np.arange(len(each)) for each in films])
    times = frame / 2 if times is None else np.concatenate(times)
    digest = np.arange(1, len(film) + 1).astype(np.uint64) if bytes_of is None else np.array(bytes_of, np.uint64)
    return Pictures(film, digest, np.concatenate(films), times, frame, np.zeros(len(film), np.uint64))


def joined(pictures):
    return find_copies(pictures).tolist()


def move(images, share):
    """The pictures, of which boxes a share of their side farther to the right and lower would have been cut."""
    return np.roll(images, -round(share * 64), axis=(-1, -2))


CHANGES = {
    "the same": lambda images: images,
    "darker, with less contrast": lambda images: 0.8 * images + 5,
    "mirrored": lambda images: images[..., ::-1],
    "boxes a little beside": lambda images: move(images, 0.02),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("part", [slice(None), slice(5, 17), slice(12, None)])
@pytest.mark.parametrize("timed", [True, False])
def test_a_changed_part_of_a_film_is_a_copy_of_it(change, part, timed):
    rng = np.random.default_rng(3)
    film, other = make_film(rng), make_film(rng)
    copy = shrink(CHANGES[change](film[part]), rng)
    pictures = gather(shrink(film, rng), shrink(other, rng), copy)
    pictures = pictures if timed else replace(pictures, time=np.full(len(pictures.film), np.nan))
    assert joined(pictures) == [[0, 2]]


def test_overlapping_clips_are_copies_and_so_are_frames_given_as_images():
    rng = np.random.default_rng(4)
    film = make_film(rng, count=30)
    first, last = shrink(film[:20], rng), shrink(film[10:], rng)
    assert joined(gather(first, last)) == [[0, 1]]
    images = gather(first, shrink(film[:20:3], rng), times=[np.arange(20) / 2, np.full(7, np.nan)])
    assert joined(images) == [[0, 1]]


def test_copies_among_hundreds_of_films_are_found_and_nothing_else():
    rng = np.random.default_rng(5)
    films = [shrink(make_film(rng, count=12), rng) for _ in range(400)]
    source = rng.choice(400, 30, replace=False)
    copies = [films[one][3:11] * 0.9 + rng.normal(0, 0.4, (8, 2, 8, 8)) for one in source]
    copies = [np.clip(copy, 1, 255).astype(np.uint8) for copy in copies]
    expected = sorted([int(one), 400 + place] for place, one in enumerate(source))
    assert joined(gather(*films, *copies)) == expected


def test_other_takes_in_the_same_place_are_no_copies():
    rng = np.random.default_rng(6)
    ground = smooth(rng, 2)
    takes = [120 + 30 * (ground + 0.5 * smooth(rng, 40).reshape(20, 2, SIZE, SIZE)) for _ in range(8)]
    assert joined(gather(*(shrink(take, rng) for take in takes))) == []


@pytest.mark.parametrize("differing", [1, 2, 3])
def test_a_resting_hand_says_nothing_until_three_pictures_differ(differing):
    rng = np.random.default_rng(7)
    seen = np.repeat(make_film(rng, count=differing), 12 // differing, axis=0)
    pictures = gather(shrink(seen, rng), shrink(seen, rng))
    assert joined(pictures) == ([[0, 1]] if differing == 3 else [])
    assert count_pictures(pictures.thumbnails[:, CROP], np.arange(12)) == differing


def test_three_nearly_equal_pictures_at_other_distances_in_time_are_chance():
    rng = np.random.default_rng(8)
    film = make_film(rng, count=30)
    nearly = film + 4 * smooth(rng, 60, cells=8).reshape(film.shape)
    apart = compare(shrink(film)[:, CROP], np.arange(30), np.arange(30))
    assert (apart < 1).all()
    both = np.concatenate([shrink(film), shrink(nearly)])
    apart = compare(both[:, CROP], np.arange(30), np.arange(30, 60))
    chosen = np.flatnonzero((apart > 2) & (apart < NEARLY))[:7]
    assert len(chosen) == 7
    new = shrink(make_film(rng, count=30))
    times = np.arange(30) / 2
    take = new.copy()
    take[chosen] = shrink(nearly)[chosen]
    assert joined(gather(shrink(film), take, times=[times, times])) == [[0, 1]]
    scattered = new.copy()
    scattered[chosen[::-1]] = shrink(nearly)[chosen]
    assert joined(gather(shrink(film), scattered, times=[times, times])) == []


def test_a_photo_that_is_in_two_folders_joins_them_and_one_frame_of_two_films_does_not():
    rng = np.random.default_rng(9)
    one, other = shrink(make_film(rng)), shrink(make_film(rng))
    other[4] = one[7] + (rng.random((2, 8, 8)) < 0.2)
    films = gather(one, other)
    assert joined(films) == []
    assert joined(replace(films, time=np.full(40, np.nan))) == [[0, 1]]


def test_a_film_of_one_or_two_hands_is_a_copy_if_all_of_them_are_the_same():
    rng = np.random.default_rng(10)
    film, other = make_film(rng), make_film(rng)
    clip = shrink(film[5:7], rng)
    assert joined(gather(shrink(film, rng), clip)) == [[0, 1]]
    clip[1] = shrink(other)[0]
    assert joined(gather(shrink(film, rng), clip)) == []


def test_crops_of_the_same_bytes_are_copies_whether_or_not_there_are_thumbnails():
    rng = np.random.default_rng(11)
    one, other = shrink(make_film(rng, count=6)), shrink(make_film(rng, count=6))
    other[2] = one[3]
    digest = [1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 10, 11]
    assert joined(gather(one, other, bytes_of=digest)) == [[0, 1]]
    other[2] = 255 - one[3]
    assert joined(gather(one, other, bytes_of=digest)) == [], "the digests are equal by chance"
    none = np.zeros_like(one)
    assert joined(gather(none, none, bytes_of=digest)) == [], "one may be chance"
    digest[9] = 5
    assert joined(gather(none, none, bytes_of=digest)) == [[0, 1]]
    assert joined(gather(none, none[:1], bytes_of=[1, 2, 3, 4, 5, 6, 4])) == [[0, 1]], "all that it has"


def test_different_labels_are_different_hands_however_alike_they_look():
    rng = np.random.default_rng(12)
    film = make_film(rng, count=10)
    pictures = gather(shrink(film, rng), shrink(film, rng))
    labels = np.arange(1, 21).astype(np.uint64)
    assert joined(replace(pictures, label=labels)) == []
    assert joined(replace(pictures, label=np.r_[labels[:10], labels[:10]])) == [[0, 1]]
    assert joined(replace(pictures, label=np.where(labels > 10, 0, labels).astype(np.uint64))) == [[0, 1]]


def test_a_picture_with_nothing_in_it_says_nothing():
    plain = np.full((3, 8, 8), 100, np.uint8)
    plain[1, :2, :2] = 200
    plain[2] += np.arange(8, dtype=np.uint8)
    assert is_telling(plain).tolist() == [False, False, False]
    corner = np.repeat(np.repeat(plain[1:2], 2, axis=0)[None], 5, axis=0)
    assert joined(gather(corner, corner)) == []


def test_no_hands_have_no_copies():
    assert joined(gather(np.zeros((0, 2, 8, 8), np.uint8))) == []


def test_few_pairs_that_look_alike_are_missed_by_the_keys():
    """The slow truth: every row against every other."""
    rng = np.random.default_rng(13)
    films = [shrink(make_film(rng, count=10), rng) for _ in range(20)]
    films += [shrink(move(make_film(np.random.default_rng(50), count=10), shift), rng) for shift in (0.0, 0.0, 0.016)]
    pictures = gather(*films)
    one, other = np.triu_indices(len(pictures.film), 1)
    apart = compare(pictures.thumbnails[:, CROP], one, other)
    near = (apart < NEARLY) & (pictures.film[one] != pictures.film[other])
    truth = set(zip(one[near], other[near]))
    found = set(zip(*find_candidates(pictures, CROP)))
    assert len(truth) >= 25 and len(truth & found) >= 0.9 * len(truth)
    assert len(found) < 0.05 * len(one)


def test_the_noise_of_dull_pictures_is_not_taken_for_a_difference():
    rng = np.random.default_rng(14)
    dull, other = (120 + 0.3 * (make_film(rng) - 120) for _ in range(2))
    pictures = gather(shrink(dull, rng), shrink(dull[4:16] + 0.4, rng), shrink(other, rng))
    assert pictures.thumbnails.std((2, 3)).max() < 16 and joined(pictures) == [[0, 1]]
