"""show: a picture of the contents of a file."""

import numpy as np

from handtool.config import ShowConfig
from handtool.errors import HandtoolError
from handtool.hands.align import wrist_error
from handtool.render.canvas import encode_png
from handtool.render.choose import choose_anchors, choose_by_video, choose_hands, choose_lowest, choose_ranked
from handtool.render.curves import curve_sheet
from handtool.render.embedding_map import choose_thumbnails, draw_map, place_points
from handtool.render.pairs_sheet import pairs_sheet
from handtool.render.predictions_sheet import DrawnPoses, predictions_sheet
from handtool.render.scores import scores_sheet
from handtool.render.sheet import contact_sheet
from handtool.render.tiles import DrawnHands, hand_tiles
from handtool.store import (
    CROPS,
    CURVE,
    EMBEDDINGS,
    KEYPOINTS,
    LABELS,
    PAIRS,
    PREDICTIONS,
    VIDEOS,
    File,
    open_jpegs,
    read_attrs,
    read_column,
    read_metrics,
    video_names,
)

KINDS = {table.group: table for table in (PREDICTIONS, PAIRS, CURVE, EMBEDDINGS, KEYPOINTS, LABELS, CROPS)} | {
    "metrics": None
}
ORDERS = {"random": "chosen at random", "video": "video by video", "score": "lowest score first"}
MAX_POINTS = 20_000  # in the map of embeddings
PER_JOINT_OF = ("mpjpe_root", "pa_mpjpe")  # protocols whose errors are shown joint by joint
CROPS_INSTEAD = "handtool show {} --kind crops -o sheet.png"


def show(source: File, config: ShowConfig) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Errors: HandtoolError if the file has nothing of that kind."""
    kind = choose_kind(source, config.kind)
    match kind:
        case "pairs":
            return show_pairs(source, config)
        case "curve":
            return show_curve(source)
        case "metrics":
            return show_metrics(source)
        case "embeddings":
            return show_embeddings(source, config)
        case "predictions":
            return show_predictions(source, config)
        case _:
            return show_hands(source, config, kind)


def possible_kinds(source: File) -> list[str]:
    """The kinds that can be shown: those that the file itself holds, then those that it links to."""
    there = [kind for kind, table in KINDS.items() if source.has(kind) and (table is None or source.count(table))]
    return sorted(there, key=lambda kind: not source.owns(kind))


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


def read_drawn_hands(source: File, rows: np.ndarray, marks: str = "") -> DrawnHands:
    """Some rows, to be drawn. `marks`: the table (keypoints, labels) whose joints are drawn over the crops; "":
    none."""
    jpegs, names = open_jpegs(source), video_names(source)
    video, frame, side = (read_column(source, column, rows) for column in (CROPS.video, CROPS.frame, CROPS.side))
    points = valid = visible = None
    if marks == "keypoints":
        points, valid = (
            read_column(source, KEYPOINTS.xy, rows),
            np.repeat(read_column(source, KEYPOINTS.valid, rows)[:, None], 21, 1),
        )
    elif marks == "labels":
        points, valid = read_column(source, LABELS.keypoints, rows), read_column(source, LABELS.keypoints_valid, rows)
        visible = read_column(source, LABELS.visible, rows) if source.has(LABELS.visible) else None
    images, size = [jpegs[int(row)] for row in rows], int(read_attrs(source, CROPS)["size"])
    return DrawnHands(images, size, [names[v] for v in video], frame, side, points, valid, visible)


def show_hands(source: File, config: ShowConfig, kind: str) -> np.ndarray:
    """Crops, with the joints of labels or keypoints if `kind` is one of these."""
    columns, usable = config.columns or 7, usable_rows(source, kind)
    if not usable.any():
        raise HandtoolError(
            f"{source.path}: none of {len(usable)} hands has valid {kind}", hint=CROPS_INSTEAD.format(source.path)
        )
    score = read_scores(source, kind) if config.order == "score" else None
    rows = choose_rows(source, np.flatnonzero(usable), score, config, (config.rows or 5) * columns, columns)
    hands = read_drawn_hands(source, rows, "" if kind == "crops" else kind)
    tiles = hand_tiles(hands, config.tile)
    if score is not None:
        for tile, row in zip(tiles, rows, strict=False):
            tile.detail += f"  score {score[row]:.2f}"
    caption = f"{len(rows)} of {usable.sum():,} hands, {ORDERS[config.order]}"
    if not usable.all():
        caption += f"; {(~usable).sum():,} more have no {kind}"
    if hands.visible is not None:
        caption += "; open rings are hidden joints"
    return contact_sheet(tiles, columns, f"{source.path.name}: {kind}", caption)


def usable_rows(source: File, kind: str) -> np.ndarray:
    """(N,) bool"""
    if kind == "keypoints":
        return read_column(source, KEYPOINTS.valid)
    if kind == "labels":
        return (read_column(source, LABELS.keypoints_valid) != 0).any(1)
    return np.ones(source.count(CROPS), bool)


def read_scores(source: File, kind: str) -> np.ndarray:
    """(N,): scores of the keypoints if they are shown, else of the detector."""
    return read_column(source, KEYPOINTS.score).mean(1) if kind == "keypoints" else read_column(source, CROPS.score)


def choose_rows(
    source: File, rows: np.ndarray, score: np.ndarray | None, config: ShowConfig, count: int, columns: int
) -> np.ndarray:
    """At most `count` of the rows, in the order of config.order."""
    rng = np.random.default_rng(config.seed)
    match config.order:
        case "score":
            assert score is not None
            return choose_lowest(rows, score[rows], count)
        case "video":
            return choose_by_video(rows, read_column(source, CROPS.video)[rows], rng, count, columns)
        case _:
            return choose_hands(rows, rng, count)


def show_pairs(source: File, config: ShowConfig) -> np.ndarray:
    """Anchors with their positives: the nearest, the median, the farthest and some at random."""
    offset, video = read_column(source, PAIRS.anchor_offset), read_column(source, CROPS.video)
    counts = np.diff(offset)
    anchors = np.flatnonzero(counts)
    first, partner = (
        read_column(source, PAIRS.distance, offset[anchors]),
        read_column(source, PAIRS.positive, offset[anchors]),
    )
    ranks = min(config.columns or 6, int(counts.max()))
    pool = source.pool or source
    partner_video = video[partner] if pool is source else read_column(pool, CROPS.video)[partner] + source.count(VIDEOS)
    groups = choose_anchors(first, video[anchors], partner_video, np.random.default_rng(config.seed), config.rows or 8)
    marks = ["keypoints" if file.has(KEYPOINTS) else "" for file in (source, pool)]
    rows = []
    for name, places in groups:
        for anchor in anchors[places]:
            span = slice(int(offset[anchor]), int(min(offset[anchor + 1], offset[anchor] + ranks)))
            positive, distance, rank = (
                read_column(source, column, span) for column in (PAIRS.positive, PAIRS.distance, PAIRS.rank)
            )
            tiles = hand_tiles(read_drawn_hands(source, np.array([anchor]), marks[0]), config.tile, canonical=True)
            tiles += hand_tiles(read_drawn_hands(pool, positive, marks[1]), config.tile, canonical=True)
            rows.append((name, tiles, distance, rank))
    spread = f"rank 1 lies at {np.median(first):.3g} in the median ({first.min():.3g} to {first.max():.3g})"
    caption = f"{len(anchors):,} anchors, up to {counts.max()} ranks, left hands mirrored; {spread}"
    return pairs_sheet(rows, f"{source.path.name}: pairs", caption)


def show_embeddings(source: File, config: ShowConfig) -> np.ndarray:
    """A map of the first two dimensions, with one colour per video."""
    rows = np.flatnonzero(read_column(source, EMBEDDINGS.valid))
    if len(rows) == 0:
        raise HandtoolError(f"{source.path}: no hand has a valid embedding", hint=CROPS_INSTEAD.format(source.path))
    rng = np.random.default_rng(config.seed)
    if len(rows) > MAX_POINTS:
        rows = np.sort(rng.choice(rows, MAX_POINTS, replace=False))
    vectors = read_column(source, EMBEDDINGS.vector, rows)
    points = place_points(np.pad(vectors, ((0, 0), (0, 1)))[:, :2])  # adds a second dimension if there is only one
    chosen, videos = (
        choose_thumbnails(points, rng.permutation(len(rows)), config.tile // 3, 140),
        read_column(source, CROPS.video, rows),
    )
    tiles = hand_tiles(read_drawn_hands(source, rows[chosen]), config.tile // 3, canonical=True)
    explained = np.atleast_1d(read_attrs(source, EMBEDDINGS).get("explained_variance", []))
    share = explained / explained.sum() if explained.size > 1 and explained.sum() > 1 else explained
    axes = [
        f"dimension {i + 1}" + (f" ({100 * share[i]:.0f} % of the variance)" if i < len(share) else "")
        for i in range(2)
    ]
    caption = f"{len(rows):,} hands of {len(np.unique(videos))} videos, a colour each; left hands mirrored"
    thumbnails = {row: tile.image for row, tile in zip(chosen, tiles, strict=True)}
    return draw_map(points, videos, thumbnails, f"{source.path.name}: embeddings", caption, (axes[0], axes[1]))


def show_predictions(source: File, config: ShowConfig) -> np.ndarray:
    """Truth and prediction, in the picture and in 3D: the worst, the median and the best hands; random ones if there
    is no truth."""
    rows = np.flatnonzero(read_column(source, PREDICTIONS.valid))
    if len(rows) == 0:
        raise HandtoolError(f"{source.path}: no valid prediction", hint=CROPS_INSTEAD.format(source.path))
    columns = config.columns or 2
    count, error_mm = (config.rows or 2) * columns, wrist_errors_mm(source, rows)
    if np.isfinite(error_mm).any():
        groups = choose_ranked(error_mm, read_column(source, CROPS.video, rows), count)
        mean, median = np.nanmean(error_mm), np.nanmedian(error_mm)
        caption = (
            f"{np.isfinite(error_mm).sum():,} hands, wrist on wrist {mean:.1f} mm off in the mean, {median:.1f} "
            "mm in the median; truth in grey"
        )
    else:
        groups = [("", choose_hands(np.arange(len(rows)), np.random.default_rng(config.seed), 3 * count))]
        caption = f"{len(groups[0][1])} of {len(rows):,} hands, chosen at random; the truth is not known"
    chosen = np.concatenate([places for _, places in groups])
    hands, poses = read_drawn_hands(source, rows[chosen]), read_poses(source, rows[chosen], error_mm[chosen])
    counts = [(name, len(places)) for name, places in groups]
    return predictions_sheet(hands, poses, counts, columns, config.tile, f"{source.path.name}: predictions", caption)


def wrist_errors_mm(source: File, rows: np.ndarray) -> np.ndarray:
    """(n,) mm, relative to the wrist; NaN where the truth is unknown."""
    if not source.has(LABELS):
        return np.full(len(rows), np.nan)
    return 1000 * wrist_error(
        *(read_column(source, column, rows) for column in (PREDICTIONS.joints, LABELS.joints, LABELS.valid))
    )


def read_poses(source: File, rows: np.ndarray, error_mm: np.ndarray) -> DrawnPoses:
    points, joints = (read_column(source, column, rows) for column in (PREDICTIONS.keypoints, PREDICTIONS.joints))
    true_points, true_joints = (
        read_column(source, column, rows) if source.has(column) else None
        for column in (LABELS.keypoints, LABELS.joints)
    )
    return DrawnPoses(points, joints, true_points, true_joints, error_mm)


def show_curve(source: File) -> np.ndarray:
    columns = {column.name: read_column(source, column) for column in CURVE.columns if source.has(column)}
    step, seconds = columns["step"], columns["seconds"]
    caption = f"{len(step):,} steps" + (f", {np.nanmax(seconds):,.0f} s" if len(seconds) else "")
    return curve_sheet(columns, f"{source.path.name}: training loss", caption)


def show_metrics(source: File) -> np.ndarray:
    metrics = read_metrics(source)
    per_joint = {name: metrics.get("per_joint", {}).get(f"{name}_mm") for name in PER_JOINT_OF}
    caption = "; ".join(f"{name} {metrics[name]['mean_mm']:.1f} mm" for name in PER_JOINT_OF if name in metrics)
    return scores_sheet(
        metrics.get("pck", {}),
        {k: v for k, v in per_joint.items() if v is not None},
        f"{source.path.name}: scores",
        caption,
    )


def describe(source: File) -> dict:
    """The kinds that can be shown, and the commands for them; the report if no output is given."""
    kinds = {
        kind: source.count(table) if (table := KINDS[kind]) else len(source.h5[kind]) for kind in possible_kinds(source)
    }
    choices = {
        "to_see": kinds,
        "default": choose_kind(source, "auto"),
        "picture": f"handtool show {source.path} -o sheet.png",
    }
    return choices | ({"film": f"handtool show {source.path} --video -o overlay.mp4"} if CROPS.group in kinds else {})


def draw_png(source: File, config: ShowConfig) -> tuple[bytes, dict]:
    """The picture as PNG, and its report."""
    image = show(source, config)
    return encode_png(image), {
        "kind": choose_kind(source, config.kind),
        "width_px": image.shape[1],
        "height_px": image.shape[0],
    }
