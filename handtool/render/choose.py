"""The choice of hands for a page."""

import numpy as np

MOST_LOOKED_AT = 20_000  # candidates, in the search for ones of different videos


def choose_hands(rows: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """At most `count` of the rows, drawn at random, in their own order."""
    return np.sort(rng.choice(rows, min(count, len(rows)), replace=False))


def choose_by_video(
    rows: np.ndarray, video: np.ndarray, rng: np.random.Generator, count: int, columns: int
) -> np.ndarray:
    """rows and video (n,): random videos, and of each one line of the page (`columns` hands), evenly over its time."""
    videos = np.unique(video)
    picked = rng.choice(videos, min(-(-count // columns), len(videos)), replace=False)
    each = [rows[video == v] for v in np.sort(picked)]
    return np.concatenate([r[np.linspace(0, len(r) - 1, min(columns, len(r))).astype(int)] for r in each])[:count]


def choose_lowest(rows: np.ndarray, score: np.ndarray, count: int) -> np.ndarray:
    """rows and score (n,): the rows with the lowest scores, lowest first."""
    return rows[np.argsort(score, kind="stable")][:count]


def choose_spread(candidates: np.ndarray, keys: list[np.ndarray], count: int, used: set) -> np.ndarray:
    """The first `count` candidates that share no key with one another or with `used`, to which theirs are added. If
    there are too few, the first of the others follow. keys: (n,) int each, indexed by candidate."""
    chosen: list[int] = []
    left: list[int] = []
    for place in candidates[:MOST_LOOKED_AT].tolist():
        own = {(i, int(key[place])) for i, key in enumerate(keys)}
        if len(chosen) == count:
            break
        if own & used:
            left.append(place)
        else:
            used |= own
            chosen.append(place)
    return np.array((chosen + left)[:count], int)


def choose_anchors(
    first_distance: np.ndarray, video: np.ndarray, partner_video: np.ndarray, rng: np.random.Generator, rows: int
) -> list[tuple[str, np.ndarray]]:
    """first_distance (n,): distance of the rank-1 positive of n anchors; video, partner_video (n,): of the anchor and
    of that positive.

    Returns (name, places among the n): best, median, worst and random anchors, `rows` in all, none twice. If there are
    enough, no two anchors are of one video and no two pairs are of the same two videos (two hands are often each
    other's positive).
    """
    order = np.argsort(first_distance, kind="stable")
    share = max(1, rows // 4)
    keys = [
        video,
        np.minimum(video, partner_video) * (video.max(initial=0) + partner_video.max(initial=0) + 1)
        + np.maximum(video, partner_video),
    ]
    from_middle = order[np.argsort(np.abs(np.arange(len(order)) - len(order) // 2), kind="stable")]
    groups = [
        ("best", order, share),
        ("median", from_middle, share),
        ("worst", order[::-1], share),
        ("random", rng.permutation(order), rows),
    ]
    chosen: list[tuple[str, np.ndarray]] = []
    used: set = set()
    for name, candidates, count in groups:
        before = np.concatenate([places for _, places in chosen]) if chosen else order[:0]
        fresh = candidates[~np.isin(candidates, before)]
        chosen.append((name, choose_spread(fresh, keys, min(count, rows - len(before)), used)))
    return [(name, places) for name, places in chosen if len(places)]


def choose_ranked(error: np.ndarray, video: np.ndarray, count: int) -> list[tuple[str, np.ndarray]]:
    """error (n,), NaN unknown; video (n,) -> ("worst", places), ("median", places), ("best", places): `count` each and
    of different videos, if there are enough."""
    known = np.flatnonzero(np.isfinite(error))
    order = known[np.argsort(error[known], kind="stable")]
    from_middle = order[np.argsort(np.abs(np.arange(len(order)) - len(order) // 2), kind="stable")]
    groups = (("worst", order[::-1]), ("median", from_middle), ("best", order))
    return [(name, choose_spread(candidates, [video], count, set())) for name, candidates in groups]
