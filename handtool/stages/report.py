"""report: one page on one or several files, from videos to numbers."""

from collections.abc import Callable
from html import escape

import numpy as np

from handtool import __version__
from handtool.config import ReportConfig
from handtool.render.page import as_text, figure, page, picture, shell, table
from handtool.render.paper import encode_jpeg
from handtool.render.scores import pck_curves
from handtool.render.svg import curve_chart, funnel_chart, histogram_chart, shares_chart
from handtool.store import (
    CURVE,
    EMBEDDINGS,
    KEYPOINTS,
    LABELS,
    METRIC_ARRAYS,
    PAIRS,
    PREDICTIONS,
    TABLES,
    File,
    read_column,
    read_metrics,
    rebuild_commands,
)  # fmt: skip

NOT_FIGURES = ("alignment", "average", "scale_source", "interval")
MAIN_FIGURES = ("hands", "mean_mm", "mean_low_mm", "mean_high_mm", "median_mm", "auc_0_50mm")
Draw = Callable[[File, str], np.ndarray]


def report(sources: list[File], config: ReportConfig, draw: Draw) -> tuple[str, dict]:
    """The page as HTML, and what is on it. `draw(file, kind)` makes a picture (RGB uint8) of what a file holds."""
    chain = join_chains(sources)
    pictures, left_out = draw_pictures(sources, config, draw)
    sections = [
        ("Files", files_section(sources)),
        ("From start to end", funnel_chart_of(chain)),
        ("Pairs", "".join(map(pairs_section, own(sources, PAIRS.group)))),
        ("Training", "".join(map(curve_section, own(sources, CURVE.group)))),
        ("Results", "".join(map(metrics_section, own(sources, "metrics")))),
        ("Pictures", pictures),
        ("How it was made", provenance_section(chain)),
    ]
    sections = [(title, html) for title, html in sections if html]
    lead = f"{len(sources)} file{'s' * (len(sources) != 1)}, {len(chain)} step{'s' * (len(chain) != 1)}. Written by handtool {__version__}."
    html = page("handtool: " + ", ".join(source.path.name for source in sources), lead, sections)
    return html, {"sections": [title for title, _ in sections], "pictures_left_out": left_out, "bytes": len(html.encode())}


def own(sources: list[File], group: str) -> list[File]:
    """The files that hold a group themselves; where none does, the first that links to it."""
    holders = [source for source in sources if source.owns(group)]
    return holders or [source for source in sources if source.has(group)][:1]


def join_chains(sources: list[File]) -> list[dict]:
    """The steps of all files, each once, in the order in which they were done."""
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


def funnel_chart_of(chain: list[dict]) -> str:
    """What went in and what came out of each step, with the reasons for the rest."""
    steps = []
    for entry in chain:
        verb = entry["program"].split()[-1]
        for item in entry.get("report", {}).get("accounting", []):
            lost = {**item["skipped"], **item["failed"]}
            rest = ", ".join(f"{reason}: {count:,}" for reason, count in lost.items())
            steps.append((f"{verb}: {item['what']}", int(item["done"]), f"not done: {rest}" if rest else ""))
        if "pairs" in entry.get("report", {}):
            steps.append((f"{verb}: pairs", int(entry["report"]["pairs"]), ""))
    if not steps:
        return ""
    caption = "What each step gave, and what became of the rest. Bar length is the square root of the count."
    return figure(funnel_chart(steps, "Counts after each step"), caption)


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


def metrics_section(source: File) -> str:
    """A table with a row a protocol, and PCK curves."""
    metrics = read_metrics(source)
    protocols = {name: values for name, values in metrics.items() if name not in METRIC_ARRAYS and isinstance(values, dict)}
    rows = [metrics_row(name, values) for name, values in protocols.items()]
    scale = next((str(v["scale_source"]) for v in protocols.values() if "scale_source" in v), "unknown")
    html = f"<h3>{escape(source.path.name)}</h3>"
    html += table(["protocol", "alignment", "average", *(key.replace("_", " ") for key in MAIN_FIGURES), "further"], rows)
    html += f'<p class="faint">Scale of the predicted hands: {escape(scale)}.</p>'
    curves = pck_curves(metrics.get("pck", {}))
    return html + (
        figure(shares_chart(curves, "error, mm", "PCK"), "Share of joints whose error is at most so large (PCK).") if curves else ""
    )


def metrics_row(name: str, values: dict) -> list[object]:
    """The main figures in columns, what else is known and not zero in words."""
    further = {key.replace("_", " "): number(v) for key, v in values.items() if key not in MAIN_FIGURES + NOT_FIGURES}
    words = ", ".join(f"{key} {as_text(v)}" for key, v in further.items() if v not in (None, 0))
    return [
        name,
        str(values.get("alignment", "")),
        str(values.get("average", "")),
        *(number(values.get(key)) for key in MAIN_FIGURES),
        words,
    ]


def number(value: object) -> object:
    """A figure as Python has it; None where there is none."""
    if value is None or isinstance(value, str):
        return value
    value = np.asarray(value).item() if np.ndim(value) == 0 else str(np.asarray(value).tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def draw_pictures(sources: list[File], config: ReportConfig, draw: Draw) -> tuple[str, int]:
    """A picture of each thing to see that a file holds itself, until the page is full. Returns HTML and how many were left out."""
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
                figure(picture(jpeg, image.shape[1], image.shape[0], f"{kind} of {source.path.name}"), f"{source.path.name}: {kind}.")
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
            str(entry["seed"]),
            entry["host"],
        ]
        for n, entry in enumerate(chain, 1)
    ]
    steps = table(["step", "program", "version", "started (UTC)", "seconds", "seed", "machine"], rows)
    return steps + "<h3>The commands that make it again</h3>" + shell(rebuild_commands(chain))
