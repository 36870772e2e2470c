"""Divides whole groups of hands at random, as near to the given shares as possible: for `split` and `--val-share`."""

import numpy as np

EXACT = 48  # number of groups among which the nearest sum is searched exactly; further groups are taken in random order
DRAWS = 64  # attempts, of which the best is kept: with three parts or more, one part's choice limits the next


def draw_parts(hands: np.ndarray, shares: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """hands (u,) >= 1: size of each group, u >= number of shares. Returns (u,) a random part each; no part is empty."""
    asked = np.array(shares) / np.sum(shares) * hands.sum()
    best, least = np.zeros(0, np.int64), np.inf
    for draw in range(DRAWS if len(shares) > 2 or len(hands) > EXACT else 1):
        part = _draw(hands, asked, rng.random(len(asked)) if draw % 2 else asked, rng)
        off = np.abs(np.bincount(part, hands, len(asked)) - asked).max()
        if off < least:
            best, least = part, off
        if least < 1:
            break
    return best


def _draw(hands: np.ndarray, asked: np.ndarray, turn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws the parts in the order of `turn` (parts,); the last one gets the rest. asked: hands of each part."""
    part = np.full(len(hands), -1)
    *first, last = np.argsort(turn)
    left = rng.permutation(len(hands))
    for number, later in zip(first, range(len(first), 0, -1)):
        open_to_it = left[: len(left) - later + 1]  # the others are reserved for later parts
        taken = take_nearest(hands, open_to_it, asked[number])
        part[taken] = number
        left = left[part[left] < 0]
    part[left] = last
    return part


def take_nearest(hands: np.ndarray, order: np.ndarray, wanted: float) -> np.ndarray:
    """The groups of `order`, two or more, whose total of hands is nearest to `wanted`; at least one, and not all.

    Of many groups, takes the first that fit; the last `EXACT` fill the gap.
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
    """The places of the sizes whose sum is nearest to `wanted` >= 0; if two are as near, the smaller sum. A set of
    sums is an integer with one bit per sum."""
    most = max(int(2 * wanted), min(sizes)) + 1  # a larger sum is not nearer than 0 or the smallest size
    reach = [1]  # bit s of reach[i]: some of the first i sizes have the sum s
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
    """hands (u,) -> part numbers (u,): consecutive groups, sizes nearest to the shares, no part empty."""
    before = np.concatenate([[0], np.cumsum(hands)])
    wanted = np.cumsum(shares)[:-1] / np.sum(shares) * before[-1]
    edges = [0]
    for number, target in enumerate(wanted):
        nearest = int(np.abs(before - target).argmin())
        edges.append(min(max(nearest, edges[-1] + 1), len(hands) - (len(wanted) - number)))
    return np.searchsorted(edges, np.arange(len(hands)), side="right") - 1
