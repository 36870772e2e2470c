"""handtool show: a picture of what a file holds."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from handtool.cli import state
from handtool.cli.inputs import open_sources
from handtool.cli.options import Force, Json, Moved, Quiet, ReportOutput, Seed, Source, Verbose
from handtool.cli.outputs import refuse_own_input, write_other
from handtool.cli.printing import print_report
from handtool.config import ShowConfig


class Kind(StrEnum):
    auto = "auto"
    crops = "crops"
    labels = "labels"
    keypoints = "keypoints"
    embeddings = "embeddings"
    pairs = "pairs"
    predictions = "predictions"
    curve = "curve"


class Order(StrEnum):
    random = "random"
    video = "video"
    score = "score"


def show(
    source: Source = "-",
    output: ReportOutput = None,
    kind: Annotated[Kind, typer.Option("--kind", help="What to look at; auto: what the file itself holds.")] = Kind(ShowConfig.kind),
    order: Annotated[Order, typer.Option("--order", help="Of the hands: at random, a video a row, lowest score first.")] = Order(
        ShowConfig.order
    ),
    rows: Annotated[int, typer.Option("--rows", min=0, max=200, help="Of tiles; 0: what suits the kind.")] = ShowConfig.rows,
    columns: Annotated[
        int, typer.Option("--columns", min=0, max=50, help="Of tiles, or ranks of pairs; 0: what suits the kind.")
    ] = ShowConfig.columns,
    tile: Annotated[int, typer.Option("--tile", min=48, max=1024, help="Side of a tile, px.")] = ShowConfig.tile,
    seed: Seed = ShowConfig.seed,
    moved: Moved = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw crops, overlays, pairs, maps, predictions or the training curve as a PNG; without -o, say what there is to see.

    Example: handtool show pairs.h5 -o sheet.png
    """
    from handtool.stages.show import describe, draw_png

    config = ShowConfig(kind.value, order.value, rows, columns, tile, seed)
    with open_sources([source]) as (file,):
        if output is None:
            return print_report(describe(file), as_json, None)
        refuse_own_input(Path(output), [file])
        png, report = draw_png(file, config)
    state.streaming = output == "-"
    report["picture"] = write_other(output, png, force)
    print_report(report, as_json, None)
