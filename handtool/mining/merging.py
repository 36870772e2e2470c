"""The pairs of a pool that was mined in parts, merged: the k best of all parts for each anchor.

Distances are computed anew in float64, since the stored ones are rounded and many are equal; the order is that of a
search of the whole pool: by distance, then row. Which hands belong together is found for the whole pool, since a copy
of a recording in one part may join hands of two others. A pair that this forbids is dropped; where the list of its part
may then lack one of the k best, the anchor is searched again.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import NoReturn

import numpy as np

from handtool.config import MineConfig
from handtool.errors import DamagedFile, HandtoolError
from handtool.mining.hands import MiningInput
from handtool.mining.pairs import RULES
from handtool.progress import Progress
from handtool.search.exact import best_of
from handtool.store import File, read_attrs, read_column
from handtool.store.origin import digest_rows
from handtool.store.schema import CROPS, PAIRS, VIDEOS

GRAPH = ("m", "ef_construction", "ef")
BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class Part:
    """One part: its pairs, the file with its hands, and the row of each of these hands in a MiningInput."""

    pairs: File
    hands: File
    rows: np.ndarray  # (p,) int64


def merge_lists(
    hands: MiningInput, parts: list[Part], topk: int, positive: np.ndarray, distance: np.ndarray, progress: Progress
) -> np.ndarray:
    """Writes the `topk` nearest of all parts, and their Euclidean distances, into positive and distance (m, topk).
    Returns the anchors whose list may lack one of the nearest, (l,)."""
    offsets = [read_column(part.pairs, PAIRS.anchor_offset) for part in parts]
    lacking = [np.zeros(0, np.int64)]
    for start in range(0, hands.num_anchors, BLOCK_ROWS):
        anchors = np.arange(start, min(start + BLOCK_ROWS, hands.num_anchors))
        rows = np.concatenate([read_list(part, at, anchors, topk) for part, at in zip(parts, offsets)], axis=1)
        there = rows >= 0
        fits = there & hands.exclusion.allows(anchors[:, None], rows)
        best, squared = best_of(hands.vectors, anchors, np.where(fits, rows, -1), topk)
        positive[anchors], distance[anchors] = best, np.sqrt(squared)
        if not (fits == there).all():
            lacking.append(anchors[lacks_some(hands.vectors, anchors, rows, fits, squared[:, -1], topk)])
        progress("merge pairs", anchors[-1] + 1, hands.num_anchors)
    return np.concatenate(lacking)


def read_list(part: Part, offset: np.ndarray, anchors: np.ndarray, topk: int) -> np.ndarray:
    """(b, topk): the positives of some anchors, which follow each other, as rows of the MiningInput; -1: fewer."""
    first, count = offset[anchors], np.diff(offset[anchors[0] : anchors[-1] + 2])
    if (count > topk).any() or (count < 0).any():
        raise DamagedFile(f"{part.pairs.path}: /pairs has more than {topk} positives of one hand")
    found = part.rows[read_column(part.pairs, PAIRS.positive, slice(int(first[0]), int(first[0] + count.sum())))]
    rows = np.full((len(anchors), topk), -1, np.int64)
    rows[np.arange(topk) < count[:, None]] = found
    return rows


def lacks_some(
    vectors: np.ndarray, anchors: np.ndarray, rows: np.ndarray, fits: np.ndarray, last: np.ndarray, topk: int
) -> np.ndarray:
    """(b,) bool: whether a part whose list was full, and has lost pairs, may have a nearer hand than the last one of
    the merged list, at the squared distance `last` (b,)."""
    lacks = np.zeros(len(anchors), bool)
    for start in range(0, rows.shape[1], topk):
        own, kept = rows[:, start : start + topk], fits[:, start : start + topk]
        lost = np.flatnonzero((own[:, -1] >= 0) & ~kept.all(axis=1))
        reach = best_of(vectors, anchors[lost], own[lost], topk)[1][:, -1]
        lacks[lost] |= ~(last[lost] < reach)
    return lacks


def read_settings(parts: list[File]) -> MineConfig:
    """The settings with which all parts were mined. Raises HandtoolError if they differ."""
    first, *others = [settings_of(part) for part in parts]
    for part, other in zip(parts[1:], others):
        told = [name for name in first if name not in GRAPH or None not in (first[name], other[name])]
        differing = [name for name in told if first[name] != other[name]]
        if differing:
            values = ", ".join(f"{name} {first[name]} and {other[name]}" for name in differing)
            raise HandtoolError(
                f"{parts[0].path} and {part.path} were mined with different settings: {values}",
                hint="mine the parts with the same options",
            )
    if first["max_in_degree"] is not None:
        raise HandtoolError(
            f"{parts[0].path} was mined with --max-in-degree: which pairs that leaves depends on the other parts",
            hint=f"mine the parts without it; or all at once: handtool mine ANCHORS --in POOL --parts {len(parts)}",
        )
    return MineConfig(**{name: value for name, value in first.items() if value is not None})


def settings_of(part: File) -> dict:
    """The fields of a MineConfig that decide the result: the rules as /pairs has them, those of the graph from the
    history; None: the pairs were merged, and it has none."""
    attrs = read_attrs(part, PAIRS)
    history: dict[str, dict] = {step["uuid"]: step["config"] for step in part.provenance}
    made = history.get(part.owner("pairs").uuid, {})
    found = {name: made.get(name) for name in GRAPH}
    found |= {key: attrs.get(name, getattr(MineConfig, key)) for name, key in RULES.items()}
    found |= {name: attrs.get(name) for name in ("topk", "index")}
    known = found["metric"] in ("euclidean", "cosine") and found["exclude"] in ("video", "subject", "track", "none")
    if not known or found["index"] not in ("hnsw", "exact", "scan") or not isinstance(found["topk"], int):
        raise DamagedFile(f"{part.path}: /pairs does not say how it was mined")
    return found


def refuse_other_anchors(pairs: list[File]) -> None:
    """Raises HandtoolError if the parts were not mined for the same anchors."""
    first = pairs[0]
    for other in pairs[1:]:
        if any(first.owner(name).uuid != other.owner(name).uuid for name in ("crops", "embeddings")):
            one, two = (file.owner("embeddings").path for file in (first, other))
            raise HandtoolError(
                f"{first.path} and {other.path} have different anchors: {one} and {two}",
                hint=f"mine the same anchors in every part: handtool mine {one} --in PART -o {other.path}",
            )


def refuse_common_hands(parts: list[File]) -> None:
    """Raises HandtoolError if a hand is in two parts: the same crop of the same frame of the same video."""
    seen: dict[str, File] = {}
    for part in parts:
        if (twin := seen.setdefault(part.owner("crops").uuid, part)) is not part:
            refuse_common(twin, part, part.count(CROPS))
    keys = [hand_keys(part) for part in parts]
    key, part_of = np.concatenate(keys), np.repeat(np.arange(len(parts)), [len(own) for own in keys])
    order = np.argsort(key, kind="stable")
    twice = (key[order][1:] == key[order][:-1]) & (part_of[order][1:] != part_of[order][:-1])
    if twice.any():
        at = int(np.argmax(twice))
        one, other = part_of[order[at]], part_of[order[at + 1]]
        count = int((twice & (part_of[order][:-1] == one) & (part_of[order][1:] == other)).sum())
        refuse_common(parts[one], parts[other], count)


def refuse_common(one: File, other: File, count: int) -> NoReturn:
    raise HandtoolError(
        f"{one.path} and {other.path} have {count:,} hands in common; they would count twice",
        hint="mine every hand of the pool in one part only",
    )


def hand_keys(part: File) -> np.ndarray:
    """(n,) uint64, equal for the same crop of the same frame of the same video."""
    texts = zip(read_column(part, VIDEOS.name), read_column(part, VIDEOS.path))
    names = [np.frombuffer(blake2b(repr(text).encode(), digest_size=8).digest(), np.uint32) for text in texts]
    size = np.diff(read_column(part, CROPS.jpeg_offset))
    words = [
        np.reshape(names, (-1, 2))[read_column(part, CROPS.video)],
        read_column(part, CROPS.frame)[:, None].view(np.uint32),
        np.ascontiguousarray(read_column(part, CROPS.box), np.float32).view(np.uint32),
        np.stack([size, read_column(part, CROPS.jpeg_crc32)], axis=1).astype(np.uint32),
    ]
    return digest_rows(np.concatenate(words, axis=1, dtype=np.uint32).view(np.float32))
