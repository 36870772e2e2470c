"""handtool embed: every hand as a few numbers."""

from enum import StrEnum
from typing import Annotated

import typer

from handtool.cli.doors import run_stage
from handtool.cli.options import Device, Force, Json, Moved, Output, Quiet, Source, Verbose, Workers
from handtool.config import EmbedConfig


class NormalizationName(StrEnum):
    crop = "crop"
    wrist_scale = "wrist-scale"
    similarity = "similarity"


class SourceName(StrEnum):
    keypoints = "keypoints"
    joints = "joints"


def embed(
    source: Source = "-",
    output: Output = "-",
    origin: Annotated[
        SourceName,
        typer.Option("--from", help="What describes a hand: its 2D keypoints, or the 3D joints of its label."),
    ] = SourceName(EmbedConfig.source),
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="FILE",
            help="Describe a hand by the features of this encoder.h5 instead.",
            show_default=False,
        ),
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(
            "--dim",
            min=1,
            max=2048,
            help="Principal axes kept; all numbers (42 of keypoints, 63 of joints): no PCA.",
            show_default="14; joints 63; encoder 128",
        ),
    ] = EmbedConfig.dim,
    normalization: Annotated[
        NormalizationName | None,
        typer.Option(
            "--normalization",
            help="crop: place and size in the crop kept; wrist-scale: wrist at 0, size 1; similarity: turned upright too.",
            show_default="crop; joints wrist-scale",
        ),
    ] = EmbedConfig.normalization,
    basis: Annotated[
        str | None,
        typer.Option(
            "--basis",
            metavar="FILE",
            help="Use the axes of this embedded file instead of new ones.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Crops at once through the encoder.")
    ] = EmbedConfig.batch_size,
    device: Device = EmbedConfig.device,
    workers: Workers = EmbedConfig.workers,
    moved: Moved = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Turn the keypoints of each hand, seen as a right hand, into a short vector (PCA).

    Example: handtool embed keypoints.h5 -o embeddings.h5
    """
    from handtool.stages.embed import embed as stage

    chosen = normalization.value if normalization else None
    config = EmbedConfig(origin.value, dim, chosen, batch_size=batch_size, device=device, workers=workers)
    run_stage(stage, [source], output, config, force=force, as_json=as_json, extra={"basis": basis, "encoder": encoder})
