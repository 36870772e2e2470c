"""cat: several files of hands joined: shards of one run in the order of a single run, other files in turn."""

import json
import logging
from typing import Any

import numpy as np

from handtool.accounting import Accounting
from handtool.config import MACHINE_SETTINGS, CatConfig, MergeConfig
from handtool.errors import HandtoolError
from handtool.hands.boxes import same_scale
from handtool.mining.hands import read_mining_input
from handtool.mining.merging import Part, merge_lists, read_settings, refuse_common_hands, refuse_other_anchors
from handtool.mining.pairs import find_more, measure_search, result_maker, write_mined
from handtool.progress import Progress, silent
from handtool.search.neighbors import Neighbors
from handtool.store import File, Sink, api_attrs, differ, join_apis, name_api, read_attrs, read_column
from handtool.store.rows import Chosen, copy_crops, copy_pairs, copy_rows, copy_videos, present_columns
from handtool.store.schema import CROPS, EMBEDDINGS, KEYPOINTS, LABELS, PAIRS, PREDICTIONS, VIDEOS, Table
from handtool.store.sink import PoolSink

log = logging.getLogger(__name__)
SHARD_SETTINGS = frozenset({"shard"})  # what may differ between the shards of one run
# Attributes that must agree when a table is joined; others describe one file and are left out.
JOINED_ATTRS = {
    CROPS: ("size", "box_scale"),
    KEYPOINTS: ("skeleton", "noise_px"),
    EMBEDDINGS: ("kind", "source", "normalization", "mean", "basis", "explained_variance", "encoder_uuid"),
    LABELS: (),
    PREDICTIONS: ("scale_source", "smoothing"),
    PAIRS: ("topk", "index"),
}
REMEDY = {
    EMBEDDINGS: "join the files before they are embedded, or give them one space: "
    "handtool embed {second} --basis {first}",
    CROPS: "extract them anew with the same --size and --box-scale",
    KEYPOINTS: "find them anew with the same --noise",
    PREDICTIONS: "predict with the same --bone and --smooth",
    PAIRS: "join the files before they are mined",
}


def cat(sources: list[File], sink: Sink, config: CatConfig, progress: Progress = silent) -> dict:
    """Writes all rows of all sources, links resolved; with `config.link` the images stay in their files.

    The rows of a single source or of the shards of one run keep their source_row; for other rows source_row is their
    row in the source. Missing shards are reported. Raises HandtoolError if tables cannot be joined.
    """
    for source in sources:
        source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
        if source.pool:
            message = f"{source.path} was mined in a pool of other hands, whose rows cannot be joined to it"
            hint = "join the embedded files, then mine: handtool cat anchors.h5 pool.h5 -o all.h5"
            raise HandtoolError(message, hint=hint)
    tables = find_tables(sources)
    attrs = {table: join_attrs(sources, table) for table in tables}
    file, video_row, ordinals = order_videos(sources)
    chosen, video = order_rows(sources, file, video_row)
    one_run = len({run_of(source) for source in sources}) == 1 and len(np.unique(ordinals)) == len(ordinals)
    copy_videos(sink, sources, file, video_row, None if one_run else np.arange(len(file)))
    shards = find_shards(sources)
    untouched = len(sources) == 1 or (one_run and shards)  # rows of a single run that were in no other file
    source_row = chosen.read(CROPS.source_row) if untouched else chosen.row
    copy_crops(sink, chosen, video, source_row, attrs[CROPS], config.link, progress)
    for table in tables:
        if table not in (CROPS, PAIRS):
            copy_rows(sink, chosen, table, attrs[table], progress)
    pairs = copy_pairs(sink, chosen, attrs[PAIRS], progress) if PAIRS in tables else 0
    left_out = sorted({name for source in sources for name in ("weights", "metrics", "curve") if source.has(name)})
    report = {"accounting": [Accounting("hands", done=len(video)).as_report()], "files": len(sources)}
    report |= {"videos": len(file), "pairs": pairs, "tables": [table.group for table in (VIDEOS, *tables)]}
    missing = [f"{number}/{of}" for of, there in shards.items() for number in range(1, of + 1) if number not in there]
    if missing:
        log.warning("shards that are not among the files: %s", ", ".join(missing))
        report["missing_shards"] = missing
    return report | ({"left_out": left_out} if left_out else {})


def merge_pairs(sources: list[File], sink: Sink, config: MergeConfig, progress: Progress = silent) -> dict:
    """Writes /pairs of anchors that were mined in every part of a pool, `mine anchors.h5 --in part-i.h5`: the k best of
    all parts.

    If the anchors' file is what `cat` made of the parts, positives are rows of it. Else the tables of the parts become
    /pool, one part after the other; the images stay where they are. Raises HandtoolError for other anchors, other
    settings, hands in two parts, or embeddings in different spaces.
    """
    for source in sources:
        source.need(PAIRS, hint="handtool mine anchors.h5 --in part.h5 -o pairs.h5")
        if source.pool is None:
            raise HandtoolError(
                f"{source.path} was not mined in a part of a pool", hint="handtool mine ANCHORS --in PART -o pairs.h5"
            )
    refuse_other_anchors(sources)
    settings, anchors = read_settings(sources), sources[0]
    pools = [source.pool.owner("embeddings") for source in sources if source.pool]
    refuse_common_hands(pools)
    joined = find_rows_in(anchors, pools)
    hands = read_mining_input(anchors, [] if joined else pools, settings)
    starts = hands.num_anchors + np.cumsum([0, *(pool.count(CROPS) for pool in pools)])
    rows = joined or [np.arange(start, end) for start, end in zip(starts, starts[1:])]
    parts, new = (
        [Part(*part) for part in zip(sources, pools, rows)],
        result_maker(sink, hands.num_anchors, settings.topk),
    )
    shape = hands.num_anchors, settings.topk
    found = Neighbors(new(shape, np.int64), new(shape, np.float32), **add_up(sources))
    again = merge_lists(hands, parts, settings.topk, found.positive, found.distance, progress)
    if len(again):
        log.info("%d hands are searched again: the whole pool forbids pairs that a part allows", len(again))
        found.positive[again], found.distance[again] = find_more(hands, settings, again, settings.topk)
    alone = found.positive[:, 0] < 0 if settings.max_distance is None else None
    uuid, figures = anchors.owner("embeddings").uuid if joined else "", measure_search(hands, found, settings)
    nearest = found.positive, found.distance
    report = write_mined(sink, anchors.path, uuid, hands, nearest, alone, figures, settings)
    sink.inherit(anchors)
    if not joined:
        write_pool(sink, pools, progress)
    return report | {"parts": len(parts)}


def add_up(sources: list[File]) -> dict:
    """What the searches of all parts tell together, as fields of Neighbors."""
    attrs, reports = [read_attrs(source, PAIRS) for source in sources], [source.report for source in sources]
    return {
        "rejected": float(np.mean([own.get("rejected_share", np.nan) for own in attrs])),
        "asked_again": sum(report.get("anchors_asked_again", 0) for report in reports),
        "scanned": sum(report.get("anchors_scanned", 0) for report in reports),
        "repeatable": all(own.get("repeatable", True) for own in attrs),
    }


def find_rows_in(anchors: File, pools: list[File]) -> list[np.ndarray] | None:
    """For each of the files, the rows of its hands in the file of the anchors, if that is what `cat` made of these;
    else None."""
    steps = {step["uuid"]: step["parents"].split() for step in anchors.provenance}
    parents = steps.get(anchors.owner("crops").uuid, [])
    crops = [find_crops(steps, parent, {pool.owner("crops").uuid for pool in pools}) for parent in parents]
    place = [crops.index(own) if (own := pool.owner("crops").uuid) in crops else -1 for pool in pools]
    if -1 not in place and len(set(place)) < len(parents):
        missing = len(parents) - len(set(place))
        log.warning("of the %d files of which %s was joined, %d are no part", len(parents), anchors.path, missing)
    if sorted(place) != list(range(len(parents))):
        return None
    order = np.argsort(place)
    ordered = [pools[n] for n in order]
    file, video_row, _ = order_videos(ordered)
    rows = order_rows(ordered, file, video_row)[0].new_rows()
    crc = read_column(anchors, CROPS.jpeg_crc32)
    if sum(map(len, rows)) != len(crc) or not all(
        np.array_equal(crc[own], read_column(pool, CROPS.jpeg_crc32)) for own, pool in zip(rows, ordered)
    ):
        return None
    return [rows[n] for n in np.argsort(order)]


def find_crops(steps: dict[str, list[str]], uuid: str, known: set[str]) -> str | None:
    """Which of the known files holds the crops of a file. steps: the files of which each was made, the one with its
    hands first."""
    while uuid in steps and uuid not in known:
        uuid = steps[uuid][0] if steps[uuid] else ""
    return uuid if uuid in known else None


def write_pool(sink: Sink, pools: list[File], progress: Progress) -> None:
    """Writes /pool: the tables of the files, one after the other, with their images left where they are."""
    pool, hands, videos = PoolSink(sink), [p.count(CROPS) for p in pools], [p.count(VIDEOS) for p in pools]
    numbers, first = np.arange(len(pools)), np.cumsum([0, *videos])
    chosen = Chosen(pools, np.repeat(numbers, hands), np.concatenate([np.arange(count) for count in hands]))
    video = np.concatenate([read_column(p, CROPS.video) + start for p, start in zip(pools, first)])
    rows = np.concatenate([np.arange(count) for count in videos])
    copy_videos(pool, pools, np.repeat(numbers, videos), rows, np.arange(first[-1]))
    for table in find_tables(pools):
        attrs = join_attrs(pools, table)
        if table is CROPS:
            copy_crops(pool, chosen, video, chosen.row, attrs, link=True, progress=progress)
        elif table is not PAIRS:
            copy_rows(pool, chosen, table, attrs, progress)
    pool.close()


def find_tables(sources: list[File]) -> list[Table]:
    """The tables to join. If some files lack one, it is filled with the values in the schema; without such values it is
    an error."""
    tables = []
    for table in JOINED_ATTRS:
        have = [source for source in sources if source.has(table)]
        lack = [source for source in sources if not source.has(table)]
        required = [column for column in table.columns if not column.optional]
        if have and lack and any(column.fill is None for column in required):
            raise HandtoolError(
                f"{have[0].path} has /{table.group} and {lack[0].path} has not",
                hint="bring all files to the same stage before they are joined",
            )
        if have:
            tables.append(table)
    return tables


def join_attrs(sources: list[File], table: Table) -> dict:
    """The attributes of the joined table. Raises HandtoolError with the remedy if they contradict each other."""
    have = [source for source in sources if source.has(table)]
    first, *others = have
    attrs = read_attrs(first, table)
    # a shard in which each image is one hand enlarged no box; other shards of the run did
    of_one_run = table is CROPS and len({run_of(source) for source in have}) == 1
    compared = [name for name in JOINED_ATTRS[table] if not (of_one_run and name == "box_scale")]
    for other in others:
        theirs = read_attrs(other, table)
        differing = [name for name in compared if not same(name, attrs.get(name), theirs.get(name))]
        if differing:
            what = f"{' and '.join(differing)} {describe(attrs, other, differing, table)}"
            message = f"/{table.group} of {first.path} and {other.path} do not go together: {what}"
            raise HandtoolError(message, hint=REMEDY.get(table, "").format(first=first.path, second=other.path) or None)
    apis = join_mediapipe(have, table)
    for column in present_columns(have, table) if table is EMBEDDINGS else []:
        shapes = {read_column(source, column, slice(0, 0)).shape[1:] for source in have}
        if len(shapes) > 1:
            raise HandtoolError(
                f"/{column.path} has different widths: {sorted(shapes)}",
                hint=REMEDY[EMBEDDINGS].format(first=first.path, second=have[1].path),
            )
    if len(sources) == 1:
        return {name: value for name, value in attrs.items() if name != "jpeg_files"}
    joined = {name: attrs[name] for name in JOINED_ATTRS[table] if name in attrs} | apis
    if table is CROPS:
        joined["box_scale"] = max(read_attrs(source, table)["box_scale"] for source in have)
        if len(givers := {read_attrs(source, table).get("landmarks_source", "detector") for source in have}) > 1:
            joined["landmarks_source"] = " + ".join(sorted(set(" + ".join(givers).split(" + "))))
        elif givers != {"detector"}:
            joined["landmarks_source"] = givers.pop()
    if table is KEYPOINTS:
        for name in ("model", "joints_source"):
            texts = [str(read_attrs(source, table)[name]) for source in have if name in read_attrs(source, table)]
            if parts := {part for text in texts for part in text.split(" + ")}:
                joined[name] = " + ".join(sorted(parts))
    return joined


def join_mediapipe(have: list[File], table: Table) -> dict:
    """Which of MediaPipe's APIs found the points of the joined table. Raises HandtoolError for keypoints of two; crops
    with landmarks of two are joined, since keypoints can be found on them anew."""
    attrs = [read_attrs(source, table) for source in have]
    known = [n for n, own in enumerate(attrs) if api_attrs(own)]
    for n in known:
        first, other = attrs[known[0]], attrs[n]
        if not differ(first, other):
            continue
        said = f"by MediaPipe's {name_api(first)} in {have[known[0]].path}, by its {name_api(other)} in {have[n].path}"
        if table is CROPS:
            log.warning("landmarks were found %s: find keypoints with --estimator mediapipe", said)
        else:
            again = f"handtool keypoints {have[n].path} --estimator mediapipe"
            raise HandtoolError(
                f"/{table.group} do not go together: keypoints were found {said}",
                hint=f"find both by one API: {again} (or --estimator FILE.task)",
            )
    for n, own in enumerate(attrs):
        if known and n not in known and {"mediapipe", "detector"} & set(str(own.get("model")).split(" + ")):
            log.warning("%s does not say which of MediaPipe's APIs found its keypoints", have[n].path)
    return join_apis(attrs)


def same(name: str, one: Any, other: Any) -> bool:
    if name == "box_scale" and one is not None and other is not None:
        return same_scale(one, other)
    return np.array_equal(np.asarray(one), np.asarray(other)) if one is not None and other is not None else one is other


def describe(attrs: dict, other: File, names: list[str], table: Table) -> str:
    theirs = read_attrs(other, table)
    values: dict[str, Any] = {name: (attrs.get(name), theirs.get(name)) for name in names}
    listed = ", ".join(f"{name}: {a} and {b}" for name, (a, b) in values.items() if np.ndim(a) == np.ndim(b) == 0)
    return f"differ ({listed})" if listed else "differ"


def run_of(file: File) -> str:
    """Equal for the shards of one run: program, settings and input list at the beginning of the file's history."""
    if not file.provenance:
        return file.uuid
    first = file.provenance[0]
    settings = {key: value for key, value in first["config"].items() if key not in MACHINE_SETTINGS | SHARD_SETTINGS}
    inputs = [item["uuid"] or [item["path"], item["size"], item["stamp"]] for item in first["inputs"]]
    return json.dumps([first["program"], settings, inputs], sort_keys=True)


def find_shards(sources: list[File]) -> dict[int, set[int]]:
    """Number of shards -> which of them are in the files; {} if no run was divided (`extract --shard 2/8`)."""
    shards: dict[int, set[int]] = {}
    for source in sources:
        for entry in source.provenance:
            number, _, of = str(entry["config"].get("shard") or "").partition("/")
            if of:
                shards.setdefault(int(of), set()).add(int(number))
    return shards


def order_videos(sources: list[File]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(file, row, ordinal there) of each video of the result. Shards of one run (no ordinal twice) merge by ordinal."""
    ordinals = [read_column(source, VIDEOS.ordinal) for source in sources]
    runs: dict[str, list[int]] = {}
    for n, source in enumerate(sources):
        runs.setdefault(run_of(source), []).append(n)
    ordered = []
    for shards in runs.values():
        parts = [(np.full(len(ordinals[n]), n), np.arange(len(ordinals[n])), ordinals[n]) for n in shards]
        file, row, ordinal = (np.concatenate(column) for column in zip(*parts))
        if len(np.unique(ordinal)) < len(ordinal):
            names = " and ".join(str(sources[n].path) for n in shards)
            log.warning("%s are of one run and have videos in common, which come twice", names)
        elif len(shards) > 1:
            order = np.argsort(ordinal, kind="stable")
            file, row, ordinal = file[order], row[order], ordinal[order]
        ordered.append((file, row, ordinal))
    file, row, ordinal = (np.concatenate(column).astype(np.int64) for column in zip(*ordered))
    return file, row, ordinal


def order_rows(sources: list[File], file: np.ndarray, video_row: np.ndarray) -> tuple[Chosen, np.ndarray]:
    """The hands in the order of the videos, and their videos (N,). Hands of one video, and of one file whose videos
    stay together, keep their order."""
    parts = []
    for n, source in enumerate(sources):
        old = read_column(source, CROPS.video).astype(np.int64)
        new_video = np.full(source.count(VIDEOS), -1, np.int64)
        here = np.flatnonzero(file == n)
        new_video[video_row[here]] = here
        together = len(here) and here[-1] - here[0] + 1 == len(here)
        place = np.full(len(old), here[0]) if together else new_video[old]
        parts.append((np.full(len(old), n), np.arange(len(old)), new_video[old], place))
    which, row, video, place = (np.concatenate(columns) for columns in zip(*parts))
    order = np.argsort(place, kind="stable")
    return Chosen(sources, which[order], row[order]), video[order]
