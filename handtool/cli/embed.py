"""handtool embed: every hand as a few numbers."""

from enum import StrEnum
from typing import Annotated

import typer

from handtool.cli.doors import produce
from handtool.cli.options import Force, Json, Moved, Output, Quiet, Source, Verbose
from handtool.config import EmbedConfig


class NormalizationName(StrEnum):
    crop = "crop"
    wrist_scale = "wrist-scale"
    similarity = "similarity"


def embed(
    source: Source = "-",
    output: Output = "-",
    dim: Annotated[int, typer.Option("--dim", min=1, max=42, help="Principal axes kept.")] = EmbedConfig.dim,
    normalization: Annotated[
        NormalizationName,
        typer.Option(
            "--normalization",
            help="crop: place and size in the crop kept; wrist-scale: wrist at 0, size 1; similarity: turned upright too.",
        ),
    ] = NormalizationName(EmbedConfig.normalization),
    basis: Annotated[
        str | None,
        typer.Option("--basis", metavar="FILE", help="Use the axes of this embedded file instead of new ones.", show_default=False),
    ] = None,
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

    produce(stage, [source], output, EmbedConfig(dim, normalization.value), force=force, as_json=as_json, extra={"basis": basis})
