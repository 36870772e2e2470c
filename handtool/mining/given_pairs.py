"""Pairs that a file lists, by the names of the hands, in place of a search."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from handtool.accounting import Accounting
from handtool.config import MineConfig
from handtool.errors import HandtoolError
from handtool.store import LABELS, PAIRS, File, Sink, open_table, read_column

GIVEN = "given"  # the attribute `index` of /pairs
NOT_HERE, ITSELF = "the positive is none of these hands", "a hand as its own positive"
FAR, NEAR, BEYOND = "farther than --max-distance", "nearer than --min-distance", "beyond --topk"
TWICE, AMBIGUOUS = "a positive that is listed twice", "the positive has the name of several hands"
SEVERAL = -1
BLOCK_ROWS = 65_536

Given = Iterable[tuple[str, list[str], list[float]]]  # hand, its positives, nearest first, and their distances


def write_given(source: File, sink: Sink, given: Given, path: str, config: MineConfig) -> dict:
    """Writes /pairs of the hands of `source`, by labels/sample_key; ranks count the positives that are here. path: of
    the file that lists them. Raises HandtoolError if no pair is left."""
    source.need(LABELS, hint="handtool extract SET -o crops.h5: the hands need the names by which the file calls them")
    row_of = name_hands(source)
    count, dropped, unknown = len(read_column(source, LABELS.sample_id)), Counter[str](), 0
    found: dict[int, tuple[list[int], list[float]]] = {}
    for hand, positives, distances in given:
        if (row := row_of.get(hand, SEVERAL)) == SEVERAL:
            unknown += 1
        elif kept := choose(row, positives, distances, row_of, config, dropped):
            found[row] = kept
    if not found:
        told = ", ".join(dropped) or "none of its hands is here"
        raise HandtoolError(
            f"{path} gives no hand of {source.path} a positive ({told})", hint="the json of these hands?"
        )
    counts = np.array([len(found[row][0]) if row in found else 0 for row in range(count)])
    attrs = {"topk": int(counts.max()), "index": GIVEN, "pool_uuid": source.owner("crops").uuid}
    write_found(sink, found, counts, attrs)
    hands, pairs = Accounting("hands", done=len(found)), Accounting("pairs", done=int(counts.sum()))
    hands.skip("no positive among these hands", count - len(found))
    for reason, number in dropped.items():
        pairs.skip(reason, number)
    apart = np.concatenate([np.array(each) for _, each in found.values()])
    report = {"accounting": [hands.as_report(), pairs.as_report()], "pairs": pairs.done, "index": GIVEN}
    report |= {"hands_of_the_file_that_are_not_here_or_not_distinct": unknown}
    return report | {"median_distance": float(np.median(apart)), "topk": attrs["topk"]}


def write_found(sink: Sink, found: dict[int, tuple[list[int], list[float]]], counts: np.ndarray, attrs: dict) -> None:
    """found: rows and distances of the positives of an anchor, nearest first. counts: (N,) of all hands."""
    with open_table(sink, PAIRS, attrs) as table:
        for start in range(0, len(counts), BLOCK_ROWS):
            rows = [row for row in range(start, min(start + BLOCK_ROWS, len(counts))) if row in found]
            flat = [(row, *pair, rank) for row in rows for rank, pair in enumerate(zip(*found[row]), 1)]
            if flat:
                columns = map(np.array, zip(*flat, strict=True))
                table.append(dict(zip(("anchor", "positive", "distance", "rank"), columns, strict=True)))
        table.append({"anchor_offset": np.concatenate([[0], np.cumsum(counts)])})


def name_hands(source: File) -> dict[str, int]:
    """Row by name; SEVERAL for a name that several hands have, such as that of their picture."""
    row_of: dict[str, int] = {}
    for row, name in enumerate(read_column(source, LABELS.sample_key).tolist()):
        if name:
            row_of[name] = SEVERAL if name in row_of else row
    return row_of


def choose(
    row: int, positives: list[str], distances: list[float], row_of: dict[str, int], config: MineConfig, dropped: Counter
) -> tuple[list[int], list[float]] | None:
    """The positives of a hand that are here, as rows, and their distances; None where there is none."""
    kept: dict[int, float] = {}
    for name, distance in zip(positives, distances, strict=True):
        other = row_of.get(name, SEVERAL)
        if other == SEVERAL:
            dropped[AMBIGUOUS if name in row_of else NOT_HERE] += 1
        elif other == row:
            dropped[ITSELF] += 1
        elif other in kept:
            dropped[TWICE] += 1
        elif config.max_distance is not None and not distance <= config.max_distance:
            dropped[FAR] += 1
        elif distance < config.min_distance:
            dropped[NEAR] += 1
        elif len(kept) == config.topk:
            dropped[BEYOND] += 1
        else:
            kept[other] = distance
    return (list(kept), list(kept.values())) if kept else None
