"""handtool mine: the most similar hands in other videos."""

from enum import StrEnum
from typing import Annotated

import typer

from handtool.cli.doors import produce
from handtool.cli.options import Force, Json, Moved, Output, Quiet, Seed, Source, Threads, Verbose
from handtool.config import MineConfig


class IndexName(StrEnum):
    hnsw = "hnsw"
    exact = "exact"


def mine(
    source: Source = "-",
    output: Output = "-",
    topk: Annotated[int, typer.Option("--topk", min=1, max=1000, help="Positives stored per hand.")] = MineConfig.topk,
    index: Annotated[
        IndexName, typer.Option("--index", help="hnsw: approximate, fast; exact: every hand against every other.")
    ] = IndexName(MineConfig.index),
    m: Annotated[int, typer.Option("--m", min=2, max=256, help="hnsw: links of a hand in the graph.")] = MineConfig.m,
    ef_construction: Annotated[
        int, typer.Option("--ef-construction", min=2, help="hnsw: candidates looked at while the graph is built.")
    ] = MineConfig.ef_construction,
    ef: Annotated[int, typer.Option("--ef", min=1, help="hnsw: candidates looked at for each hand.")] = MineConfig.ef,
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

    config = MineConfig(topk, index.value, m, ef_construction, ef, threads, seed)
    produce(stage, [source], output, config, force=force, as_json=as_json)
