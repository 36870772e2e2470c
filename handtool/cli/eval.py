"""handtool eval: how far predicted hands are from the truth."""

from enum import StrEnum
from functools import partial
from typing import Annotated, Literal

import typer

from handtool.cli.doors import run_stage
from handtool.cli.options import Device, Force, Json, Moved, Quiet, ReportOutput, Seed, Sources, Verbose, Workers
from handtool.cli.printing import accounting_line
from handtool.config import EvalConfig

SCALES = {
    "truth": "each hand's own, from its labels",
    "mean": "the mean of the training hands",
    "given": "as given by --bone",
}


class Part(StrEnum):
    finger = "finger"
    video = "video"


def eval(
    sources: Sources = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="FILE",
            help="Predict with this pose model; nothing: as the file has it.",
            show_default=False,
        ),
    ] = None,
    output: ReportOutput = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol", metavar="NAME", help="Only this one of the table (repeatable).", show_default="all that apply"
        ),
    ] = None,
    per: Annotated[
        list[Part] | None,
        typer.Option(
            "--per",
            help="Also print the means by finger or by video (repeatable; --json and -o have both).",
            show_default="neither",
        ),
    ] = None,
    resamples: Annotated[
        int,
        typer.Option(
            "--resamples",
            min=0,
            help="Draws of the videos (of the hands, where there is one video) for the 95 % intervals; 0: none.",
        ),
    ] = EvalConfig.resamples,
    seed: Seed = EvalConfig.seed,
    bone: Annotated[
        str,
        typer.Option(
            "--bone", metavar="auto|truth|mean|MM", help="With --model: length of bone 9-10, which sets the scale."
        ),
    ] = EvalConfig.bone,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="With --model: hands at once.")
    ] = EvalConfig.batch_size,
    precision: Annotated[
        Literal["auto", "bf16", "fp32"], typer.Option(help="With --model; auto: bf16 on CUDA, fp32 on the CPU.")
    ] = EvalConfig.precision,
    device: Device = EvalConfig.device,
    workers: Workers = EvalConfig.workers,
    moved: Moved = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score predicted hands against their labels: MPJPE, PA-MPJPE, PCK, AUC, each under its protocol.

    Several results on the same hands are compared with the first: handtool eval a.h5 b.h5

    Example: handtool eval test.h5 --model pose.h5 -o result.h5
    """
    from handtool.stages import eval as stage

    config = EvalConfig(tuple(protocol or ()), resamples, seed, bone, batch_size, precision, device, workers)
    run_stage(
        stage.evaluate,
        sources or ["-"],
        output,
        config,
        force=force,
        as_json=as_json,
        extra={"model": model},
        report_only=True,
        check=(lambda: stage.check_machine(config)) if model else None,
        table=partial(lay_out_scores, per=[part.value for part in per or ()]),
    )


def lay_out_scores(report: dict, per: list[str]) -> list[str]:
    """For each source: what was scored, one line per protocol, and what has to be known to read it. Then each against the first."""
    lines = []
    for counted, result in zip(report["accounting"], report["results"], strict=True):
        lines += ["", f"{result['source']}, predictions: {result['predictions']}"] if len(report["results"]) > 1 else []
        lines += [accounting_line(counted), scale_line(result), *table_lines(result["protocols"])]
        for part in per:
            lines += part_lines(part, result.get(f"per_{part}_mm"))
        if result["failed_rows"]:
            lines.append(f"failed hands, the first rows: {', '.join(map(str, result['failed_rows']))}")
        lines += [f"warning: {text}" for text in result["warnings"]]
    return lines + (difference_lines(report) if "differences" in report else [])


def scale_line(result: dict) -> str:
    source = result["scale_source"]
    return f"scale of the predictions: {SCALES.get(source, source)}; bone 9-10 is {number(result['mean_scale_mm'], 1)} mm in the mean"


def table_lines(protocols: dict[str, dict]) -> list[str]:
    rows = [("protocol", "hands", "missing", "mean mm", "95 %", "median mm", "area or share", "alignment")]
    for name, figures in protocols.items():
        counts = (f"{figures['hands']:,}", f"{figures['left_out'] + figures['failed']:,}")
        mean, median = number(figures["mean_mm"], 2), number(figures.get("median_mm"), 2)
        between = interval(figures.get("mean_low_mm"), figures.get("mean_high_mm"))
        rows.append((name, *counts, mean, between, median, shares(figures), figures["alignment"]))
        if "mean_without_reflection_mm" in figures:
            rows.append(
                (
                    "",
                    "",
                    "",
                    number(figures["mean_without_reflection_mm"], 2),
                    "",
                    "",
                    "",
                    "the same without reflection",
                )
            )
    resampled = next((figures["interval"] for figures in protocols.values() if "interval" in figures), None)
    return (
        columns(rows, "<>>>>><<")
        + ([f"interval of the mean: {resampled}"] if resampled else [])
        + left_out_lines(protocols)
    )


def columns(rows: list[tuple[str, ...]], aligns: str) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:{how}{width}}" for cell, how, width in zip(row, aligns, widths, strict=True)).rstrip()
        for row in rows
    ]


def part_lines(part: str, means: dict[str, dict] | None) -> list[str]:
    """One line per finger or video, a column per protocol."""
    if means is None:
        return [f"per {part}: all hands are of one"]
    names = list(dict.fromkeys(name for of in means.values() for name in of))
    rows = [(f"mean mm per {part}", *means)] + [
        (name, *(number(of.get(name), 2) for of in means.values())) for name in names
    ]
    return columns(rows, "<" + ">" * len(means))


def difference_lines(report: dict) -> list[str]:
    """Each result against the first, over the hands that all of them predicted."""
    rows = [("protocol", "hands", "mean mm", "difference mm", "95 %", "%", "result", "alignment")]
    for each in report["differences"]:
        figures = (f"{each['hands']:,}", number(each["mean_mm"], 2), number(each["difference_mm"], 2, "+"))
        between = interval(each["difference_low_mm"], each["difference_high_mm"], "+")
        rows.append(
            (
                each["protocol"],
                *figures,
                between,
                number(each["difference_percent"], 1, "+"),
                each["source"],
                each["alignment"],
            )
        )
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
