"""handtool mine: the most similar hands in other videos."""

from enum import StrEnum
from typing import Annotated

import typer

from handtool.cli.doors import run_stage
from handtool.cli.options import Device, Force, Json, Moved, Output, Quiet, Seed, Source, Threads, Verbose
from handtool.config import MineConfig


class IndexName(StrEnum):
    hnsw = "hnsw"
    exact = "exact"


class MetricName(StrEnum):
    euclidean = "euclidean"
    cosine = "cosine"


class ExcludeName(StrEnum):
    video = "video"
    track = "track"
    none = "none"


def mine(
    source: Source = "-",
    output: Output = "-",
    topk: Annotated[int, typer.Option("--topk", min=1, max=1000, help="Positives stored per hand.")] = MineConfig.topk,
    pool: Annotated[
        str | None,
        typer.Option(
            "--in", metavar="FILE", help="Look for the positives in this embedded file instead.", show_default=False
        ),
    ] = None,
    metric: Annotated[
        MetricName, typer.Option("--metric", help="Distance between embeddings; cosine: 1 - cos.")
    ] = MetricName(MineConfig.metric),
    exclude: Annotated[
        ExcludeName,
        typer.Option("--exclude", help="No pair within one video, within one track, or none but a hand with itself."),
    ] = ExcludeName(MineConfig.exclude),
    min_gap: Annotated[
        float,
        typer.Option(
            "--min-gap",
            min=0.0,
            metavar="SECONDS",
            help="Between two hands of one video, with --exclude track or none.",
        ),
    ] = MineConfig.min_gap,
    max_distance: Annotated[
        float | None,
        typer.Option("--max-distance", min=0.0, help="Leave out pairs that are farther apart.", show_default=False),
    ] = MineConfig.max_distance,
    same_side: Annotated[
        bool, typer.Option("--same-side", help="Pair left hands with left hands, right with right only.")
    ] = MineConfig.same_side,
    max_in_degree: Annotated[
        int | None,
        typer.Option(
            "--max-in-degree", min=1, help="Anchors that one hand may be the positive of.", show_default=False
        ),
    ] = MineConfig.max_in_degree,
    index: Annotated[
        IndexName, typer.Option("--index", help="hnsw: approximate, fast; exact: every hand against every other.")
    ] = IndexName(MineConfig.index),
    m: Annotated[int, typer.Option("--m", min=2, max=256, help="hnsw: links of a hand in the graph.")] = MineConfig.m,
    ef_construction: Annotated[
        int, typer.Option("--ef-construction", min=2, help="hnsw: candidates looked at while the graph is built.")
    ] = MineConfig.ef_construction,
    ef: Annotated[int, typer.Option("--ef", min=1, help="hnsw: candidates looked at for each hand.")] = MineConfig.ef,
    device: Device = MineConfig.device,
    threads: Threads = MineConfig.threads,
    seed: Seed = MineConfig.seed,
    moved: Moved = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find, for every hand, the k most similar hands in other videos.

    Example: handtool mine embeddings.h5 --topk 5 -o pairs.h5
    """
    from handtool.stages.mine import mine as stage

    rules = metric.value, exclude.value, min_gap, max_distance, same_side, max_in_degree
    config = MineConfig(topk, *rules, index.value, m, ef_construction, ef, device, threads, seed)
    run_stage(stage, [source], output, config, force=force, as_json=as_json, extra={"pool": pool})
