"""What `eval` prints: the two usual protocols and two sentences, or every figure with --all."""

from handtool.cli.printing import accounting_line

SCALES = {
    "truth": "each hand's own, from its labels",
    "mean": "the mean of the training hands",
    "given": "as given by --bone",
    "estimator": "the estimator's own",
}
USUAL = {  # protocols that most papers report, and what their alignment means
    "pa_mpjpe": "after the best scaling, rotation and shift",
    "mpjpe_root": "with wrist on wrist",
}


def lay_out_scores(report: dict, per: list[str], everything: bool, asked: bool) -> list[str]:
    """For each source what was scored and a line per protocol, then each source against the first, then sentences.

    everything: all protocols and figures. asked: the user named the protocols.
    """
    several = len(report["results"]) > 1
    there = list(report["results"][0]["protocols"])
    usual = [name for name in USUAL if name in there]
    shown = usual + [name for name in there if name not in usual] if everything or asked or not usual else usual
    lines = []
    for counted, result in zip(report["accounting"], report["results"], strict=True):
        lines += ["", f"{result['source']}, predictions: {result['predictions']}"] if several else []
        protocols = {name: result["protocols"][name] for name in shown if name in result["protocols"]}
        lines.append(accounting_line(counted))
        lines += [scale_line(result), *table_lines(protocols)] if everything else short_lines(protocols)
        for part in per:
            lines += part_lines(part, result.get(f"per_{part}_mm"), shown)
        if everything and result["failed_rows"]:
            lines.append(f"failed hands, the first rows: {', '.join(map(str, result['failed_rows']))}")
        lines += [f"warning: {text}" for text in result["warnings"]]
    if several and "differences" in report:
        lines += difference_lines(report, shown) + ["", *difference_sentences(report, shown)]
    elif several:
        lines += ["", *(f"{result['source']}: {error_sentence(result, shown)}" for result in report["results"])]
    else:
        [result], [counted] = report["results"], report["accounting"]
        lines += ["", error_sentence(result, shown), scored_sentence(result, counted, shown)]
    return lines


def error_sentence(result: dict, shown: list[str]) -> str:
    errors = []
    for name in [name for name in shown if name in USUAL] or shown[:1]:
        if name in result["protocols"]:
            mean = number(result["protocols"][name]["mean_mm"], 2)
            errors.append(f"{mean} mm {USUAL[name]} ({name})" if name in USUAL else f"{mean} mm under {name}")
    return f"The mean error is {' and '.join(errors)}."


def scored_sentence(result: dict, counted: dict, shown: list[str]) -> str:
    scale = SCALES.get(result["scale_source"], result["scale_source"])
    more = len(result["protocols"]) - len(shown)
    told = f"; --all shows {more} more protocol{'s' * (more != 1)}" if more else ""
    scored = f"{counted['done']:,} of {counted['in']:,} hands are scored"
    return f"{scored}, and the scale of the predictions is {scale}{told}."


def difference_sentences(report: dict, shown: list[str]) -> list[str]:
    """One for each further result, under the first protocol shown."""
    lines = []
    for each in report["differences"]:
        if each["protocol"] == next(iter(shown)):
            apart, low, high = (each[f"difference_{name}"] for name in ("mm", "low_mm", "high_mm"))
            way = "more" if apart > 0 else "less"
            told = f"{each['source']} has {number(abs(apart), 2)} mm {way} error than {report['against']}"
            told += f" under {each['protocol']}"
            if number(low, 2) != "-":
                sure = low > 0 or high < 0
                told += "; the 95 % interval excludes 0" if sure else "; the 95 % interval includes 0: it may be chance"
            lines.append(told + ".")
    return lines


def short_lines(protocols: dict[str, dict]) -> list[str]:
    rows = [("protocol", "mean mm", "95 %", "AUC 0-50 mm", "alignment")]
    for name, figures in protocols.items():
        between = interval(figures.get("mean_low_mm"), figures.get("mean_high_mm"))
        area = number(figures.get("auc_0_50mm"), 4)
        rows.append((name, number(figures["mean_mm"], 2), between, area, figures["alignment"]))
    return columns(rows, "<>>><")


def scale_line(result: dict) -> str:
    source = result["scale_source"]
    mean = number(result["mean_scale_mm"], 1)
    return f"scale of the predictions: {SCALES.get(source, source)}; bone 9-10 is {mean} mm in the mean"


def table_lines(protocols: dict[str, dict]) -> list[str]:
    rows = [("protocol", "hands", "missing", "mean mm", "95 %", "median mm", "area or share", "alignment")]
    for name, figures in protocols.items():
        counts = (f"{figures['hands']:,}", f"{figures['left_out'] + figures['failed']:,}")
        mean, median = number(figures["mean_mm"], 2), number(figures.get("median_mm"), 2)
        between = interval(figures.get("mean_low_mm"), figures.get("mean_high_mm"))
        rows.append((name, *counts, mean, between, median, shares(figures), figures["alignment"]))
        if "mean_without_reflection_mm" in figures:
            mean = number(figures["mean_without_reflection_mm"], 2)
            rows.append((*[""] * 3, mean, *[""] * 3, "the same without reflection"))
    resampled = next((figures["interval"] for figures in protocols.values() if "interval" in figures), None)
    drawn = [f"interval of the mean: {resampled}"] if resampled else []
    return [*columns(rows, "<>>>>><<"), *drawn, *left_out_lines(protocols)]


def columns(rows: list[tuple[str, ...]], aligns: str) -> list[str]:
    ways = [f"{how}{max(map(len, column))}" for how, column in zip(aligns, zip(*rows), strict=True)]
    return ["  ".join(map(format, row, ways)).rstrip() for row in rows]


def part_lines(part: str, means: dict[str, dict] | None, shown: list[str]) -> list[str]:
    """One line per finger or video, a column per protocol."""
    if means is None:
        return [f"per {part}: all hands are of one"]
    means = {name: means[name] for name in shown if name in means}
    names = list(dict.fromkeys(name for of in means.values() for name in of))
    rows = [(name, *(number(of.get(name), 2) for of in means.values())) for name in names]
    return columns([(f"mean mm per {part}", *means), *rows], "<" + ">" * len(means))


def difference_lines(report: dict, shown: list[str]) -> list[str]:
    """Each result against the first, over the hands that all of them predicted."""
    rows = [("protocol", "hands", "mean mm", "difference mm", "95 %", "%", "result", "alignment")]
    for each in (each for each in report["differences"] if each["protocol"] in shown):
        figures = (f"{each['hands']:,}", number(each["mean_mm"], 2), number(each["difference_mm"], 2, "+"))
        between = interval(each["difference_low_mm"], each["difference_high_mm"], "+")
        percent = number(each["difference_percent"], 1, "+")
        rows.append((each["protocol"], *figures, between, percent, each["source"], each["alignment"]))
    return ["", f"against {report['against']}, the same hands drawn for both:", *columns(rows, "<>>>>><<")]


def left_out_lines(protocols: dict[str, dict]) -> list[str]:
    """Why some hands are in no average: one line per reason, with the protocols that it concerns."""
    concerned = {}
    for name, figures in protocols.items():
        failed = {"prediction not finite": figures["failed"]} if figures["failed"] else {}
        for reason, count in (figures["left_out_because"] | failed).items():
            concerned.setdefault(f"{count:,} hands, {reason}", []).append(name)
    return [f"left out: {what} ({', '.join(names)})" for what, names in concerned.items()]


def shares(figures: dict) -> str:
    """`auc_0_50mm` 0.52 as "AUC 0-50 mm 0.5200", `f_5mm` as "F 5 mm 0.2663"."""
    parts = []
    for key, value in figures.items():
        kind, *limits = key.removesuffix("mm").split("_")
        if kind in ("auc", "f"):
            parts.append(f"{kind.upper()} {'-'.join(limits)} mm {number(value, 4)}")
    return ", ".join(parts)


def interval(low: float | None, high: float | None, sign: str = "") -> str:
    return "-" if number(low, 2) == "-" else f"{number(low, 2, sign)}..{number(high, 2, sign)}"


def number(value: float | None, digits: int, sign: str = "") -> str:
    return "-" if value is None or value != value else f"{value:{sign}.{digits}f}"
