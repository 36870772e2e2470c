"""Whole groups of hands dealt out in shares, as near to the shares asked as whole groups permit: what `split` and `--val-share` draw."""

import numpy as np

EXACT = 48  # groups from which the nearest sum is found exactly, after larger numbers of them were taken as they come
DRAWS = 64  # where one need not be the best: of three parts or more, what one takes the next lacks


def draw_parts(hands: np.ndarray, shares: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """hands (u,) >= 1, of each group; u >= number of shares. Returns (u,) the part of each group, drawn at random; no part is empty."""
    asked = np.array(shares) / np.sum(shares) * hands.sum()
    best, least = None, np.inf
    for draw in range(DRAWS if len(shares) > 2 or len(hands) > EXACT else 1):
        part = _draw(hands, asked, rng.random(len(asked)) if draw % 2 else asked, rng)
        off = np.abs(np.bincount(part, hands, len(asked)) - asked).max()
        if off < least:
            best, least = part, off
        if least < 1:
            break
    return best


def _draw(hands: np.ndarray, asked: np.ndarray, turn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One part after the other, the one with the smallest `turn` (parts,) first; the last one gets the rest. asked: hands of each part."""
    part = np.full(len(hands), -1)
    *first, last = np.argsort(turn)
    left = rng.permutation(len(hands))
    for number, later in zip(first, range(len(first), 0, -1)):
        taken = take_nearest(
            hands, left[: len(left) - later + 1], asked[number]
        )  # the others are for the parts that come later
        part[taken] = number
        left = left[part[left] < 0]
    part[left] = last
    return part


def take_nearest(hands: np.ndarray, order: np.ndarray, wanted: float) -> np.ndarray:
    """Of the groups `order`, two or more, those whose hands come nearest to `wanted` together; never none, never all.

    Of many groups, the first that fit are taken; the last `EXACT` fill the gap.
    """
    many, few = order[:-EXACT], order[-EXACT:]
    taken, gap = [], wanted
    while len(many := many[hands[many] <= gap]):
        count = np.searchsorted(np.cumsum(hands[many]), gap, side="right")
        taken.append(many[:count])
        gap -= hands[many[:count]].sum()
        many = many[count:]
    num_taken = sum(map(len, taken))
    fill = nearest_sum(
        hands[few].tolist(), gap, may_be_none=num_taken > 0, may_be_all=num_taken + len(few) < len(order)
    )
    return np.concatenate([*taken, few[fill]])


def nearest_sum(sizes: list[int], wanted: float, may_be_none: bool = True, may_be_all: bool = True) -> list[int]:
    """The places of those sizes whose sum is nearest to `wanted` >= 0; of two as near, the smaller sum. Sums are bits of whole numbers."""
    most = max(int(2 * wanted), min(sizes)) + 1  # a larger sum is no nearer than none, or than the smallest
    reach = [1]  # bit s of reach[i]: the first i sizes have a choice with the sum s
    for size in sizes:
        reach.append((reach[-1] | reach[-1] << size) & ((1 << most + 1) - 1))
    sums, middle = reach[-1], int(wanted)
    if not may_be_none:
        sums &= ~1
    if not may_be_all:
        sums &= ~(1 << sum(sizes))
    below, above = sums & ((1 << middle + 1) - 1), sums >> middle + 1
    found = [below.bit_length() - 1] if below else []
    found += [middle + (above & -above).bit_length()] if above else []
    rest, places = min(found, key=lambda total: (abs(total - wanted), total)), []
    for place in range(len(sizes) - 1, -1, -1):
        if not reach[place] >> rest & 1:
            places.append(place)
            rest -= sizes[place]
    return places


def cut_in_order(hands: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Parts of consecutive groups whose numbers of hands come nearest to the shares, none empty. hands (u,) -> (u,) part numbers."""
    before = np.concatenate([[0], np.cumsum(hands)])
    wanted = np.cumsum(shares)[:-1] / np.sum(shares) * before[-1]
    edges = [0]
    for number, target in enumerate(wanted):
        nearest = int(np.abs(before - target).argmin())
        edges.append(min(max(nearest, edges[-1] + 1), len(hands) - (len(wanted) - number)))
    return np.searchsorted(edges, np.arange(len(hands)), side="right") - 1
