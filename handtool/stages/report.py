"""report: one HTML page about one or several files."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from handtool import __version__
from handtool.config import ReportConfig
from handtool.errors import HandtoolError
from handtool.hands.crop_maps import CropMaps
from handtool.hands.skeleton import JOINTS
from handtool.names import escape
from handtool.render.canvas import encode_jpeg
from handtool.render.motion_section import Motion, Poses, Sightings, motion_section
from handtool.render.page import as_text, figure, page, picture, shell, table
from handtool.render.scores import pck_curves
from handtool.render.svg import curve_chart, funnel_chart, hand_chart, histogram_chart, intervals_chart, shares_chart
from handtool.sources.reopen import interval_of, sampling_of, tick_of
from handtool.store import (
    CROPS,
    CURVE,
    EMBEDDINGS,
    FOUND,
    KEYPOINTS,
    LABELS,
    METRIC_ARRAYS,
    PAIRS,
    PREDICTIONS,
    TABLES,
    VIDEOS,
    File,
    read_attrs,
    read_column,
    read_geometry,
    read_metrics,
    rebuild_commands,
    video_names,
)

NOT_FIGURES = (
    "alignment",
    "average",
    "scale_source",
    "interval",
    "mean_low_mm",
    "mean_high_mm",
    "videos_drawn",
    "hands_drawn",
)
MAIN_FIGURES = ("hands", "mean_mm", "median_mm", "auc_0_50mm")
COMPARED = ("pa_mpjpe", "mpjpe_root")  # the main protocols: of the comparison and of the errors by joint, and first
Draw = Callable[[File, str], np.ndarray]
Compare = Callable[[list[File], tuple[str, ...], int], list[dict]]


def report(sources: list[File], config: ReportConfig, draw: Draw, compare: Compare) -> tuple[str, dict]:
    """The page as HTML, and what is on it. `draw(file, kind)` makes a picture (RGB uint8) of a table of a file;
    `compare(files, protocols, seed)` gives the differences of results from the first, protocol by protocol in eval's
    order, or raises HandtoolError if they cannot be compared."""
    chain = join_chains(sources)
    pictures, left_out = draw_pictures(sources, config, draw)
    sections = [
        ("Files", files_section(sources)),
        ("From start to end", funnel_chart_of(chain, sources)),
        ("Pairs", "".join(map(pairs_section, files_with(sources, PAIRS.group)))),
        ("Training", "".join(map(curve_section, files_with(sources, CURVE.group)))),
        ("Comparison", comparison_section([source for source in sources if source.owns("metrics")], config, compare)),
        ("Results", "".join(map(metrics_section, files_with(sources, "metrics")))),
        ("Motion", motion_of(sources)),
        ("Pictures", pictures),
        ("How it was made", provenance_section(chain)),
    ]
    sections = [(title, html) for title, html in sections if html]
    lead = (
        f"{len(sources)} file{'s' * (len(sources) != 1)}, {len(chain)} step{'s' * (len(chain) != 1)}. Written by "
        f"handtool {__version__}."
    )
    names = [source.path.name for source in sources]
    rest = len(names) - 2
    html = page("handtool: " + ", ".join(names if rest < 2 else [*names[:2], f"and {rest} more"]), lead, sections)
    return html, {
        "sections": [title for title, _ in sections],
        "pictures_left_out": left_out,
        "bytes": len(html.encode()),
    }


def files_with(sources: list[File], group: str) -> list[File]:
    """The files that hold a group themselves; if none does, the first that links to it."""
    holders = [source for source in sources if source.owns(group)]
    return holders or [source for source in sources if source.has(group)][:1]


def join_chains(sources: list[File]) -> list[dict]:
    """The steps of all files, each once, in the order of their start."""
    steps: dict[str, dict] = {}
    for source in sources:
        for entry in source.provenance:
            steps.setdefault(entry["uuid"], entry)
    return sorted(steps.values(), key=lambda entry: entry["started"])


def files_section(sources: list[File]) -> str:
    rows = []
    for source in sources:
        counts = [f"{name} {source.count(TABLES[name]):,}" for name in source.tables]
        counts += [name for name in ("weights", "metrics") if source.owns(name)]
        rows.append([source.path.name, made_by(source), ", ".join(counts), source.uuid[:8]])
    return table(["file", "made by", "what it holds", "uuid"], rows)


def made_by(source: File) -> str:
    return source.provenance[-1]["program"] if source.provenance else "unknown"


def funnel_chart_of(chain: list[dict], sources: list[File]) -> str:
    """The counts of each step: done, and not done with the reasons; a bar for each file that was made so."""
    names, steps = output_names(chain, sources), dict[str, dict[tuple[int, str], list[str]]]()
    for entry in chain:
        verb = entry["program"].split()[-1]
        counts = [
            (f"{verb}: {item['what']}", int(item["done"]), {**item["skipped"], **item["failed"]})
            for item in entry.get("report", {}).get("accounting", [])
        ]
        if "pairs" in entry.get("report", {}):
            counts.append((f"{verb}: pairs", int(entry["report"]["pairs"]), {}))
        for what, count, lost in counts:
            rest = ", ".join(f"{reason}: {number:,}" for reason, number in lost.items())
            bars = steps.setdefault(what, {})
            bars.setdefault((count, f"not done: {rest}" if rest else ""), []).append(names.get(entry["uuid"], ""))
    if not steps:
        return ""
    shown = [
        (what, [(", ".join(filter(None, made)), count, rest) for (count, rest), made in bars.items()])
        for what, bars in steps.items()
    ]
    caption = (
        "What each step gave, file by file, and what became of the rest. Bar length is the square root of the count."
    )
    return figure(funnel_chart(shown, "Counts after each step"), caption)


def output_names(chain: list[dict], sources: list[File]) -> dict[str, str]:
    """uuid of what a step made -> the name of its file: as it is here, as another step read it, or as the command wrote
    it."""
    names = {}
    for entry in chain:
        words = shlex.split(entry.get("command", ""))
        written = [after for word, after in zip(words, words[1:]) if word in ("-o", "--output")]
        names[entry["uuid"]] = Path(written[0]).name if len(written) == 1 and written[0] != "-" else ""
    read = [item for entry in chain for item in entry["inputs"] if item.get("uuid") and item["path"] != "-"]
    names |= {item["uuid"]: Path(item["path"]).name for item in read}
    return names | {source.uuid: source.path.name for source in sources}


def pairs_section(source: File) -> str:
    """Distances of rank 1, and how often each hand was chosen."""
    distance, rank = read_column(source, PAIRS.distance), read_column(source, PAIRS.rank)
    in_degree = np.bincount(read_column(source, PAIRS.positive), minlength=1)
    near = histogram_chart(distance[rank == 1], "distance", "anchors", "Distances of the nearest positives")
    chosen = histogram_chart(in_degree, "anchors that chose the hand", "hands", "In-degree")
    name = source.path.name
    return figure(near, f"{name}: distance of the nearest hand that was mined.") + figure(
        chosen, f"{name}: how often a hand is a positive; {in_degree.max():,} times at most."
    )


def curve_section(source: File) -> str:
    chart = curve_chart(read_column(source, CURVE.step), read_column(source, CURVE.loss), "Training loss")
    return figure(chart, f"{source.path.name}: loss of each step, and its running mean.")


def comparison_section(results: list[File], config: ReportConfig, compare: Compare) -> str:
    """Several results: means with their intervals, PCK, and the difference of each from the first, hand by hand."""
    names, known = distinct_names(results), [read_metrics(result) for result in results]
    protocols = tuple(
        name for name in COMPARED if all(np.isfinite(nan_of_none(each.get(name, {}).get("mean_mm"))) for each in known)
    )
    if len(known) < 2 or not protocols:
        return ""
    html = ""
    for protocol in protocols:
        means = [
            tuple(nan_of_none(each[protocol].get(key)) for key in ("mean_mm", "mean_low_mm", "mean_high_mm"))
            for each in known
        ]
        intervals = [(name, *mean) for name, mean in zip(names, means, strict=True)]
        html += figure(
            intervals_chart(intervals, f"{protocol}, mm", f"{protocol} of each result"),
            f"{protocol}: the mean, and its 95 % interval.",
        )
        found = [pck_curves(each.get("pck", {})).get(protocol) for each in known]
        curves = {name: curve for name, curve in zip(names, found, strict=True) if curve}
        if len(curves) == len(names):
            caption = f"{protocol}: share of joints whose error is at most so large (PCK)."
            html += figure(shares_chart(curves, "error, mm", f"PCK under {protocol}"), caption)
    rows: list[list[object]] = [
        [name, *(cell for protocol in protocols for cell in side_by_side(each[protocol]))]
        for name, each in zip(names, known, strict=True)
    ]
    html += table(
        ["result", *(head for protocol in protocols for head in (f"{protocol}, mm", "95 %", "AUC 0-50 mm"))], rows
    )
    try:
        differences = compare(results, protocols, config.seed)
    except HandtoolError as error:
        return html + f'<p class="faint">Not compared hand by hand: {escape(str(error))}.</p>'
    rows.clear()
    for protocol in protocols:
        for name, each in zip(names[1:], (each for each in differences if each["protocol"] == protocol), strict=True):
            interval = between(each["difference_low_mm"], each["difference_high_mm"], "+")
            differs = (round(float(each[f"difference_{unit}"]), 3) + 0.0 for unit in ("mm", "percent"))  # + 0: no -0
            rows.append([protocol, name, each["hands"], next(differs), interval, next(differs)])
    html += f"<h3>Against {escape(names[0])}</h3>" + table(
        ["protocol", "result", "hands", "difference, mm", "95 %", "%"], rows
    )
    return (
        html
        + '<p class="faint">The hands that all predicted; the same videos (of one video: hands) are drawn for both, '
        "for the interval of the difference.</p>"
    )


def distinct_names(sources: list[File]) -> list[str]:
    """Names of files; with their folder if several have the same name, and a number if that is the same too."""
    times = Counter(source.path.stem for source in sources)
    names = [
        source.path.stem if times[source.path.stem] == 1 else str(source.path.with_suffix("")) for source in sources
    ]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})" for i, name in enumerate(names)
    ]


def side_by_side(values: dict) -> list[object]:
    return [
        number(values.get("mean_mm")),
        between(values.get("mean_low_mm"), values.get("mean_high_mm")),
        number(values.get("auc_0_50mm")),
    ]


def between(low: float | None, high: float | None, sign: str = "") -> str | None:
    low, high = nan_of_none(low), nan_of_none(high)
    return f"{low:{sign}.2f}\u00a0to\u00a0{high:{sign}.2f}" if np.isfinite([low, high]).all() else None


def nan_of_none(value: Any) -> float:
    return float("nan") if value is None else float(value)


def metrics_section(source: File) -> str:
    """Tables with a row per protocol, the main ones first, PCK curves, and the errors of the joints on a drawn hand."""
    metrics = read_metrics(source)
    protocols = {
        name: values for name, values in metrics.items() if name not in METRIC_ARRAYS and isinstance(values, dict)
    }
    first = [metrics_row(name, protocols[name]) for name in COMPARED if name in protocols]
    rest = [metrics_row(name, values) for name, values in protocols.items() if name not in COMPARED]
    columns = ["protocol", "mean, mm", "95 %", "median, mm", "AUC 0-50 mm", "hands", "alignment", "average", "further"]
    html = f"<h3>{escape(source.path.name)}</h3>" + (table(columns, first) if first else "")
    html += ("<h4>Other protocols</h4>" if first and rest else "") + (table(columns, rest) if rest else "")
    notes = [f"Scale of the predicted hands: {first_known(protocols, 'scale_source') or 'unknown'}."]
    notes += [f"Interval of the mean: {interval}." for interval in [first_known(protocols, "interval")] if interval]
    html += f'<p class="faint">{escape(" ".join(notes))}</p>'
    if curves := pck_curves(metrics.get("pck", {})):
        curves = {name: curves[name] for name in (*COMPARED, *curves) if name in curves}
        html += figure(
            shares_chart(curves, "error, mm", "PCK"), "Share of joints whose error is at most so large (PCK)."
        )
    for name in COMPARED:
        errors_mm = np.asarray(metrics.get("per_joint", {}).get(f"{name}_mm", ()), float)
        if len(errors_mm) == len(JOINTS) and np.isfinite(errors_mm).any():
            caption = f"{name}: mean error of each joint, mm: the area of its point."
            html += figure(hand_chart(errors_mm, f"Mean error of each joint, {name}"), caption)
    return html


def first_known(protocols: dict[str, dict], key: str) -> str:
    return next((str(values[key]) for values in protocols.values() if key in values), "")


def metrics_row(name: str, values: dict) -> list[object]:
    """The main figures in columns; others that are known and not zero as text in the last."""
    further = {key.replace("_", " "): number(v) for key, v in values.items() if key not in MAIN_FIGURES + NOT_FIGURES}
    words = ", ".join(f"{key} {as_text(v)}" for key, v in further.items() if v not in (None, 0))
    hands, mean, median, auc = (number(values.get(key)) for key in MAIN_FIGURES)
    interval = between(values.get("mean_low_mm"), values.get("mean_high_mm"))
    alignment, average = (str(values.get(key, "")) for key in ("alignment", "average"))
    return [name, mean, interval, median, auc, hands, alignment, average, words]


def number(value: Any) -> object:
    """The value as a Python number or text; None if it is missing or not finite."""
    if value is None or isinstance(value, str):
        return value
    value = np.asarray(value).item() if np.ndim(value) == 0 else str(np.asarray(value).tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def motion_of(sources: list[File]) -> str:
    """Each file with predictions of tracks, and of the others one for each set of crops."""
    html, told = "", set[str]()
    for source in sorted(sources, key=lambda source: not source.owns(PREDICTIONS.group)):
        if source.has(CROPS) and (source.owns(PREDICTIONS.group) or source.owner(CROPS.group).uuid not in told):
            motion = read_motion(source)
            html += motion_section(motion, source.path.name, covered=source.owner(CROPS.group).uuid not in told)
            told.add(source.owner(CROPS.group).uuid)
    return html


def read_motion(source: File) -> Motion:
    """The tracks of a file, and of predictions how to read the poses of some rows."""
    tracks = [(v, *each) for v, sightings in read_sightings(source) for each in sightings.tracks()]
    motion = Motion(video_names(source), tracks)
    if source.has(PREDICTIONS):
        counted = [entry.get("report", {}).get("still_hands") for entry in source.provenance]
        motion.counted = next(filter(None, reversed(counted)), None)
        motion.smoothing = read_attrs(source, PREDICTIONS).get("smoothing")
        motion.read_poses = lambda rows: read_poses(source, rows)
    return motion


def read_sightings(source: File) -> Iterator[tuple[int, Sightings]]:
    """Each video that has tracks, and its hands."""
    video, track, time, frame, side = (
        read_column(source, column) for column in (CROPS.video, CROPS.track, CROPS.time, CROPS.frame, CROPS.side)
    )
    again = read_column(source, CROPS.found) != FOUND if source.has(CROPS.found) else np.zeros(len(video), bool)
    sampling, fps = sampling_of(source.owner(CROPS.group).provenance), read_column(source, VIDEOS.fps)
    timed = np.flatnonzero(np.isfinite(time))
    timed = timed[np.argsort(video[timed], kind="stable")]
    for rows in np.split(timed, np.flatnonzero(np.diff(video[timed])) + 1):
        if not (track[rows] >= 0).any():
            continue
        v = video[rows[0]]
        if sampling and fps[v] > 0:
            interval, tick = interval_of(sampling, float(fps[v])), tick_of(sampling, fps[v], frame[rows], time[rows])
        else:
            interval = float(np.quantile(np.diff(np.unique(time[rows])), 0.1))  # frames without a hand: larger steps
            tick = np.round((time[rows] - time[rows].min()) / interval).astype(int)
        yield int(v), Sightings(rows, track[rows], time[rows], tick, side[rows], again[rows], interval)


def read_poses(source: File, rows: np.ndarray) -> Poses:
    joints, keypoints, valid, absolute = (
        read_column(source, PREDICTIONS.by_name[name], rows) for name in ("joints", "keypoints", "valid", "absolute")
    )
    crops = CropMaps(**read_geometry(source, rows))
    joints = np.where(valid[:, None, None], joints, np.nan).astype(np.float64)
    assumed = read_column(source, CROPS.camera_assumed, rows) if source.has(CROPS.camera_assumed) else absolute & False
    return Poses(joints, crops.to_frame(keypoints), valid, absolute, assumed)


def draw_pictures(sources: list[File], config: ReportConfig, draw: Draw) -> tuple[str, int]:
    """A picture of each table that a file holds itself, until the page is full. Returns HTML and the number of
    pictures left out."""
    html, size, left_out = [], 0, 0
    for source in sources:
        for shown in (LABELS, KEYPOINTS, EMBEDDINGS, PAIRS, PREDICTIONS):
            kind = shown.group
            if not source.owns(kind) or not source.count(shown):
                continue
            image = draw(source, kind)
            jpeg = encode_jpeg(image, 84)
            if size + 4 * len(jpeg) / 3 > config.max_bytes:
                left_out += 1
                continue
            size += 4 * len(jpeg) // 3
            html.append(
                figure(
                    picture(jpeg, image.shape[1], image.shape[0], f"{kind} of {source.path.name}"),
                    f"{source.path.name}: {kind}.",
                )
            )
    if left_out:
        html.append(f'<p class="faint">{left_out} pictures were left out, since the page would be too large.</p>')
    return "".join(html), left_out


def provenance_section(chain: list[dict]) -> str:
    rows = [
        [
            n,
            entry["program"],
            entry["version"],
            entry["started"].replace("T", " ")[:19],
            float(entry["seconds"]),
            str(entry["seed"]) if entry["seed"] >= 0 else None,
            entry["host"],
        ]
        for n, entry in enumerate(chain, 1)
    ]
    steps = table(["step", "program", "version", "started (UTC)", "seconds", "seed", "machine"], rows)
    return steps + "<h3>The commands that make it again</h3>" + shell(rebuild_commands(chain))
