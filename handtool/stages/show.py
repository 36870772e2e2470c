"""show: a picture of what a file holds."""

import numpy as np

from handtool.config import ShowConfig
from handtool.errors import HandtoolError
from handtool.hands.align import relative_to
from handtool.hands.camera import mirror_points
from handtool.render.atlas import choose_thumbnails, draw_map, place_points
from handtool.render.choose import choose_anchors, choose_by_video, choose_hands, choose_lowest, choose_ranked
from handtool.render.paper import decode, encode_png
from handtool.render.plots import plot_curve
from handtool.render.ranks import pairs_sheet
from handtool.render.sheet import Tile, contact_sheet, labelled_rows
from handtool.render.skeleton import draw_skeleton, scale_points
from handtool.render.versus import versus_tiles
from handtool.store import (
    CROPS,
    CURVE,
    EMBEDDINGS,
    KEYPOINTS,
    LABELS,
    LEFT,
    PAIRS,
    PREDICTIONS,
    RIGHT,
    File,
    open_jpegs,
    read_attrs,
    read_column,
    video_names,
)  # fmt: skip

TABLE_OF_KIND = {table.group: table for table in (PREDICTIONS, PAIRS, CURVE, EMBEDDINGS, KEYPOINTS, LABELS, CROPS)}
MAX_POINTS = 20_000  # of a map
CROPS_INSTEAD = "handtool show {} --kind crops -o sheet.png"


def show(source: File, config: ShowConfig) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Errors: HandtoolError where the file has nothing of that kind."""
    kind = choose_kind(source, config.kind)
    match kind:
        case "pairs":
            return show_pairs(source, config)
        case "curve":
            return show_curve(source)
        case "embeddings":
            return show_embeddings(source, config)
        case "predictions":
            return show_predictions(source, config)
        case _:
            return show_hands(source, config, kind)


def possible_kinds(source: File) -> list[str]:
    """What there is to see, the most telling first: what the file itself holds, then what it links to."""
    there = [kind for kind, table in TABLE_OF_KIND.items() if source.has(table) and source.count(table)]
    return sorted(there, key=lambda kind: not source.owns(TABLE_OF_KIND[kind].group))


def choose_kind(source: File, kind: str) -> str:
    kinds = possible_kinds(source)
    if not kinds:
        raise HandtoolError(f"{source.path} holds nothing to look at", hint=f"handtool info {source.path}")
    if kind == "auto":
        return kinds[0]
    if kind not in kinds:
        hint = f"handtool show {source.path} --kind {kinds[0]} -o sheet.png"
        raise HandtoolError(f"{source.path} has no {kind} to show, it has {', '.join(kinds)}", hint)
    return kind


def choose_rows(source: File, usable: np.ndarray, config: ShowConfig, count: int, columns: int) -> np.ndarray:
    """At most `count` of the usable rows (N,) bool, in the order asked for."""
    rows, rng = np.flatnonzero(usable), np.random.default_rng(config.seed)
    match config.order:
        case "score":
            return choose_lowest(rows, read_column(source, CROPS.score)[rows], count)
        case "video":
            return choose_by_video(rows, read_column(source, CROPS.video)[rows], rng, count, columns)
        case _:
            return choose_hands(rows, rng, count)


def make_tiles(source: File, rows: np.ndarray, side: int, points=None, valid=None, visible=None, canonical: bool = False) -> list[Tile]:
    """The crops of some rows, with bones over them where points (n, 21, 2) px of the crop are given, valid and visible (n, 21).

    `canonical`: left hands mirrored, so that every hand is a right one, as they are compared.
    """
    size = int(read_attrs(source, CROPS)["size"])
    jpegs, names = open_jpegs(source), video_names(source)
    videos, frames, sides = (read_column(source, column, rows) for column in (CROPS.video, CROPS.frame, CROPS.side))
    tiles = []
    for i, row in enumerate(rows):
        image, mirrored = decode(jpegs[int(row)], side), canonical and sides[i] == LEFT
        if mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
        if points is not None:
            xy = mirror_points(points[i], size) if mirrored else points[i]
            known, seen = (None if flags is None else flags[i] for flags in (valid, visible))
            draw_skeleton(image, scale_points(xy, size, side), known, seen)
        letter = {LEFT: "  L, mirrored" if mirrored else "  L", RIGHT: "  R"}.get(int(sides[i]), "")
        tiles.append(Tile(image, names[int(videos[i])], f"frame {frames[i]}{letter}"))
    return tiles


def show_hands(source: File, config: ShowConfig, kind: str) -> np.ndarray:
    """Crops, bare or with what is known or was found of their joints."""
    rows_asked, columns = config.rows or 5, config.columns or 7
    usable, total = usable_rows(source, kind), source.count(CROPS)
    if not usable.any():
        raise HandtoolError(f"{source.path}: none of {total} hands has valid {kind}", hint=CROPS_INSTEAD.format(source.path))
    rows = choose_rows(source, usable, config, rows_asked * columns, columns)
    points = valid = visible = None
    if kind == "keypoints":
        points = read_column(source, KEYPOINTS.xy, rows)
    elif kind == "labels":
        points, valid = read_column(source, LABELS.keypoints, rows), read_column(source, LABELS.keypoints_valid, rows)
        visible = read_column(source, LABELS.visible, rows) if source.has(LABELS.visible) else None
    tiles = make_tiles(source, rows, config.tile, points, valid, visible)
    if config.order == "score":
        for tile, score in zip(tiles, read_column(source, CROPS.score, rows), strict=True):
            tile.detail += f"  score {score:.2f}"
    how = {"random": "chosen at random", "video": "video by video", "score": "lowest score first"}[config.order]
    told = ", open rings are hidden joints" if visible is not None else ""
    return contact_sheet(tiles, columns, f"{source.path.name}: {kind}", f"{len(rows)} of {usable.sum():,} hands, {how}{told}")


def usable_rows(source: File, kind: str) -> np.ndarray:
    """(N,) bool"""
    if kind == "keypoints":
        return read_column(source, KEYPOINTS.valid)
    if kind == "labels":
        return read_column(source, LABELS.keypoints_valid).any(1)
    return np.ones(source.count(CROPS), bool)


def show_pairs(source: File, config: ShowConfig) -> np.ndarray:
    """Anchors with their positives: the nearest, the median, the farthest and some at random."""
    offset = read_column(source, PAIRS.anchor_offset)
    counts = np.diff(offset)
    anchors = np.flatnonzero(counts)
    first = read_column(source, PAIRS.distance, offset[anchors])
    ranks = min(config.columns or 6, int(counts.max()))
    groups = choose_anchors(first, np.random.default_rng(config.seed), config.rows or 8)
    picked = [(name, [pair_tiles(source, int(anchors[place]), offset, ranks, config.tile) for place in places]) for name, places in groups]
    spread = f"rank 1 lies at {np.median(first):.3g} in the median ({first.min():.3g} to {first.max():.3g})"
    told = f"{len(anchors):,} anchors, up to {counts.max()} ranks, left hands mirrored; {spread}"
    return pairs_sheet(picked, f"{source.path.name}: pairs", told)


def pair_tiles(source: File, anchor: int, offset: np.ndarray, ranks: int, side: int) -> list[Tile]:
    """The anchor and its positives, with their keypoints if the file has them."""
    span = slice(int(offset[anchor]), int(min(offset[anchor + 1], offset[anchor] + ranks)))
    rows, distances, rank = (read_column(source, column, span) for column in (PAIRS.positive, PAIRS.distance, PAIRS.rank))
    hands = np.concatenate([[anchor], rows])
    tiles = make_tiles(source, hands, side, *keypoints_of(source, hands), canonical=True)
    for tile, d, r in zip(tiles[1:], distances, rank, strict=True):
        tile.detail = f"rank {r}  distance {d:.3g}"
    return tiles


def keypoints_of(source: File, rows: np.ndarray) -> tuple:
    """points (n, 21, 2) and valid (n, 21) of the keypoints table, or nothing."""
    if not source.has(KEYPOINTS):
        return None, None
    return read_column(source, KEYPOINTS.xy, rows), np.repeat(read_column(source, KEYPOINTS.valid, rows)[:, None], 21, 1)


def show_embeddings(source: File, config: ShowConfig) -> np.ndarray:
    """The first two dimensions, each hand in its video's colour."""
    rows = np.flatnonzero(read_column(source, EMBEDDINGS.valid))
    if len(rows) == 0:
        raise HandtoolError(f"{source.path}: no hand has a valid embedding", hint=CROPS_INSTEAD.format(source.path))
    rng = np.random.default_rng(config.seed)
    if len(rows) > MAX_POINTS:
        rows = np.sort(rng.choice(rows, MAX_POINTS, replace=False))
    vectors = read_column(source, EMBEDDINGS.vector, rows)
    if vectors.shape[1] < 2:
        vectors = np.pad(vectors, ((0, 0), (0, 1)))
    points = place_points(vectors[:, :2])
    chosen = choose_thumbnails(points, rng.permutation(len(rows)), config.tile // 3, 140)
    tiles = make_tiles(source, rows[chosen], config.tile // 3)
    explained = np.atleast_1d(read_attrs(source, EMBEDDINGS).get("explained_variance", []))
    share = explained / explained.sum() if explained.size > 1 and explained.sum() > 1 else explained
    axes = [f"dimension {i + 1}" + (f" ({100 * share[i]:.0f} % of the variance)" if i < len(share) else "") for i in range(2)]
    videos = read_column(source, CROPS.video, rows)
    told = f"{len(rows):,} hands of {len(np.unique(videos))} videos, a colour each"
    thumbnails = {row: tile.image for row, tile in zip(chosen, tiles, strict=True)}
    return draw_map(points, videos, thumbnails, f"{source.path.name}: embeddings", told, (axes[0], axes[1]))


def show_predictions(source: File, config: ShowConfig) -> np.ndarray:
    """Truth against prediction, in the picture and in space: the worst, the median and the best hands, or any where there is no truth."""
    rows = np.flatnonzero(read_column(source, PREDICTIONS.valid))
    if len(rows) == 0:
        raise HandtoolError(f"{source.path}: no valid prediction", hint=CROPS_INSTEAD.format(source.path))
    columns, count = config.columns or 3, config.rows or 4
    error_mm = errors_of(source, rows)
    if error_mm is None:
        error_mm = np.full(len(rows), np.nan)
        chosen = choose_hands(np.arange(len(rows)), np.random.default_rng(config.seed), count * columns)
        groups, told = [("", chosen)], f"{len(chosen)} of {len(rows):,} hands, chosen at random; the truth is not known"
    else:
        groups = [(f"{name}, by mean error relative to the wrist", places) for name, places in choose_ranked(error_mm, columns)]
        mean, median = np.nanmean(error_mm), np.nanmedian(error_mm)
        told = f"{np.isfinite(error_mm).sum():,} hands, {mean:.1f} mm in the mean, {median:.1f} mm in the median; truth in grey"
    sheet = []
    for name, places in groups:
        tiles = prediction_tiles(source, rows[places], error_mm[places], config.tile)
        width = 2 * columns
        sheet += [(name if start == 0 else "", tiles[start : start + width]) for start in range(0, len(tiles), width)]
    return labelled_rows(sheet, f"{source.path.name}: predictions", told)


def errors_of(source: File, rows: np.ndarray) -> np.ndarray | None:
    """(n,) mm, mean over the valid joints after laying the wrists together; NaN where the truth is not known. None without labels."""
    if not source.has(LABELS):
        return None
    predicted, truth = (read_column(source, column, rows).astype(float) for column in (PREDICTIONS.joints, LABELS.joints))
    valid = read_column(source, LABELS.valid, rows)
    error = np.linalg.norm(relative_to(predicted) - relative_to(truth), axis=-1)
    counted = valid & valid[:, :1]
    if not counted.any():
        return None
    total = np.where(counted, error, 0).sum(1)
    return np.where(counted.any(1), 1000 * total / np.maximum(counted.sum(1), 1), np.nan)


def prediction_tiles(source: File, rows: np.ndarray, error_mm: np.ndarray, side: int) -> list[Tile]:
    """Two tiles a hand."""
    size = int(read_attrs(source, CROPS)["size"])
    points, joints = read_column(source, PREDICTIONS.keypoints, rows), read_column(source, PREDICTIONS.joints, rows)
    labelled = source.has(LABELS)
    truth = read_column(source, LABELS.joints, rows) if labelled else [None] * len(rows)
    flat = read_column(source, LABELS.keypoints, rows) if labelled else [None] * len(rows)
    tiles = []
    for i, tile in enumerate(make_tiles(source, rows, side)):
        true_points = None if flat[i] is None else scale_points(flat[i], size, side)
        tiles += versus_tiles(tile, scale_points(points[i], size, side), joints[i], true_points, truth[i], float(error_mm[i]))
    return tiles


def show_curve(source: File) -> np.ndarray:
    step, loss = read_column(source, CURVE.step), read_column(source, CURVE.loss)
    seconds = read_column(source, CURVE.seconds)
    told = f"{len(step):,} steps, {float(np.nanmax(seconds)):,.0f} s" if len(seconds) else f"{len(step):,} steps"
    return plot_curve(step, loss, f"{source.path.name}: training loss", told)


def describe(source: File) -> dict:
    """What there is to see, for who gave no output."""
    kinds = {kind: source.count(TABLE_OF_KIND[kind]) for kind in possible_kinds(source)}
    return {"to_see": kinds, "default": choose_kind(source, "auto"), "picture": f"handtool show {source.path} -o sheet.png"}


def draw_png(source: File, config: ShowConfig) -> tuple[bytes, dict]:
    """The picture as PNG, and its report."""
    image = show(source, config)
    return encode_png(image), {"kind": choose_kind(source, config.kind), "width_px": image.shape[1], "height_px": image.shape[0]}
