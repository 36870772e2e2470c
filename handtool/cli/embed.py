"""handtool embed: every hand as a few numbers."""

from typing import Annotated, Literal

from handtool.cli.effects import COMMON, always, only
from handtool.cli.options import MACHINE, Device, Force, Json, Moved, Output, Quiet, Source, Verbose, Workers, option
from handtool.cli.runner import run_stage
from handtool.config import EmbedConfig

EFFECTS = (
    COMMON
    | always("basis", "encoder")
    | only("dim", lambda v: not v.basis, "with --basis: the axes are those of that file")
    | only(
        "origin normalization",
        lambda v: not v.basis and not v.encoder,
        "with --encoder or --basis: these say how a hand is described",
    )
    | only("batch_size device workers", lambda v: v.encoder, "without --encoder", "--encoder encoder.h5")
)


def embed(
    source: Source = "-",
    basis: Annotated[
        str | None, option("--basis FILE", "Use the axes of this embedded file instead of new ones.")
    ] = None,
    dim: Annotated[
        int | None,
        option(
            "--dim N",
            "Principal axes kept; all numbers (42 of keypoints, 63 of joints): no PCA.",
            min=1,
            max=2048,
            show_default="14; joints 63; encoder 128",
        ),
    ] = EmbedConfig.dim,
    normalization: Annotated[
        Literal["crop", "wrist-scale", "similarity"] | None,
        option(
            "--normalization",
            "crop: keep place and size in the crop; wrist-scale: wrist at 0, size 1; similarity: also turned upright.",
            show_default="crop; joints wrist-scale",
        ),
    ] = EmbedConfig.normalization,
    origin: Annotated[
        Literal["keypoints", "joints"],
        option("--from", "What describes a hand: its 2D keypoints, or the 3D joints of its label."),
    ] = EmbedConfig.source,
    encoder: Annotated[
        str | None, option("--encoder FILE", "Describe a hand by the features of this encoder.h5 instead.")
    ] = None,
    batch_size: Annotated[
        int, option("--batch-size N", "Crops at once through the encoder.", MACHINE, min=1)
    ] = EmbedConfig.batch_size,
    device: Device = EmbedConfig.device,
    workers: Workers = EmbedConfig.workers,
    output: Output = "-",
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

    config = EmbedConfig(origin, dim, normalization, batch_size=batch_size, device=device, workers=workers)
    run_stage(stage, [source], output, config, force=force, as_json=as_json, extra={"basis": basis, "encoder": encoder})
