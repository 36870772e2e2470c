"""handtool embed: every hand as a few numbers."""

from typing import Literal

from handtool.cli.effects import COMMON, always, only
from handtool.cli.options import MACHINE, Device, Force, Moved, Output, Source, Workers, option
from handtool.cli.runner import make_config, run_stage
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
    basis: option(str | None, "--basis FILE", "Use the axes of this embedded file instead of new ones.") = None,
    dim: option(
        int | None,
        "--dim N",
        "Principal axes kept; all numbers (42 of keypoints, 63 of joints): no PCA.",
        min=1,
        max=2048,
        unset="14; joints 63; encoder 128",
    ) = EmbedConfig.dim,
    normalization: option(
        Literal["crop", "wrist-scale", "similarity"] | None,
        "--normalization",
        "crop: keep place and size in the crop; wrist-scale: wrist at 0, size 1; similarity: also turned upright.",
        unset="crop; joints wrist-scale",
    ) = EmbedConfig.normalization,
    origin: option(
        Literal["keypoints", "joints"],
        "--from",
        "What describes a hand: its 2D keypoints, or the 3D joints of its label.",
    ) = EmbedConfig.source,
    encoder: option(str | None, "--encoder FILE", "Describe a hand by the features of this encoder.h5 instead.") = None,
    batch_size: option(
        int, "--batch-size N", "Crops at once through the encoder.", MACHINE, min=1
    ) = EmbedConfig.batch_size,
    device: Device = EmbedConfig.device,
    workers: Workers = EmbedConfig.workers,
    output: Output = "-",
    moved: Moved = None,
    force: Force = False,
) -> None:
    """Turn the keypoints of each hand, seen as a right hand, into a short vector (PCA).

    Example: handtool embed keypoints.h5 -o embeddings.h5
    """
    from handtool.stages.embed import embed as stage

    config = make_config(EmbedConfig, locals(), source=origin)
    run_stage(stage, [source], output, config, force=force, extra={"basis": basis, "encoder": encoder})
