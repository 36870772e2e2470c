"""handtool eval: how far predicted hands are from the truth."""

from typing import Annotated, Literal

import typer

from handtool.cli.doors import produce
from handtool.cli.options import Device, Force, Json, Moved, Quiet, ReportOutput, Sources, Verbose, Workers
from handtool.cli.printing import accounting_line
from handtool.config import EvalConfig

SCALES = {"truth": "each hand's own, from its labels", "mean": "the mean of the training hands", "given": "as given by --bone"}


def eval(
    sources: Sources = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="FILE", help="Predict with this pose model; nothing: as the file has it.", show_default=False),
    ] = None,
    output: ReportOutput = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option("--protocol", metavar="NAME", help="Only this one of the table (repeatable).", show_default="all that apply"),
    ] = None,
    bone: Annotated[
        str, typer.Option("--bone", metavar="auto|truth|mean|MM", help="With --model: length of bone 9-10, which sets the scale.")
    ] = EvalConfig.bone,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="With --model: hands at once.")] = EvalConfig.batch_size,
    precision: Annotated[
        Literal["auto", "bf16", "fp32"], typer.Option(help="With --model; auto: bf16 on CUDA, fp32 on the CPU.")
    ] = EvalConfig.precision,
    device: Device = EvalConfig.device,
    workers: Workers = EvalConfig.workers,
    moved: Moved = None,
    force: Force = False, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False,
) -> None:
    """Score predicted hands against their labels: MPJPE, PA-MPJPE, PCK, AUC, each under its protocol.

    Example: handtool eval test.h5 --model pose.h5 -o result.h5
    """
    from handtool.stages import eval as stage

    config = EvalConfig(tuple(protocol or ()), bone, batch_size, precision, device, workers)
    produce(
        stage.evaluate, sources or ["-"], output, config, force=force, as_json=as_json, extra={"model": model}, report_only=True,
        check=(lambda: stage.check_machine(config)) if model else None, table=lay_out_scores,
    )  # fmt: skip


def lay_out_scores(report: dict) -> list[str]:
    """For each source: what was scored, one line per protocol, and what has to be known to read it."""
    lines = []
    for counted, result in zip(report["accounting"], report["results"], strict=True):
        lines += ["", f"{result['source']}, predictions: {result['predictions']}"] if len(report["results"]) > 1 else []
        lines += [accounting_line(counted), scale_line(result), *table_lines(result["protocols"])]
        if result["failed_rows"]:
            lines.append(f"failed hands, the first rows: {', '.join(map(str, result['failed_rows']))}")
        lines += [f"warning: {text}" for text in result["warnings"]]
    return lines


def scale_line(result: dict) -> str:
    source = result["scale_source"]
    return f"scale of the predictions: {SCALES.get(source, source)}; bone 9-10 is {number(result['mean_scale_mm'], 1)} mm in the mean"


def table_lines(protocols: dict[str, dict]) -> list[str]:
    rows = [("protocol", "hands", "mean mm", "median mm", "area or share", "alignment")]
    for name, figures in protocols.items():
        median = number(figures.get("median_mm"), 2) if "median_mm" in figures else "-"
        rows.append((name, str(figures["hands"]), number(figures["mean_mm"], 2), median, shares(figures), figures["alignment"]))
        if "mean_without_reflection_mm" in figures:
            rows.append(("", "", number(figures["mean_without_reflection_mm"], 2), "", "", "the same without reflection"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    aligns = ("<", ">", ">", ">", "<", "<")
    lines = ["  ".join(f"{cell:{how}{width}}" for cell, how, width in zip(row, aligns, widths, strict=True)).rstrip() for row in rows]
    return lines + left_out_lines(protocols)


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


def number(value: float | None, digits: int) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"
