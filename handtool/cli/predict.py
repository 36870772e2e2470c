"""handtool predict: a 3D pose for every crop."""

from typing import Annotated, Literal

import typer

from handtool.cli.doors import produce
from handtool.cli.options import Device, Force, Json, Moved, Output, Quiet, Source, Verbose, Workers
from handtool.config import PredictConfig


def predict(
    source: Source = "-",
    model: Annotated[str, typer.Option("--model", metavar="FILE", help="A pose model, made by finetune.", show_default=False)] = ...,
    output: Output = "-",
    bone: Annotated[
        str, typer.Option("--bone", metavar="auto|truth|mean|MM", help="Length of the middle finger's first bone, which sets the scale: the label's, the training mean, or in mm.")
    ] = PredictConfig.bone,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Hands at once.")] = PredictConfig.batch_size,
    precision: Annotated[Literal["auto", "bf16", "fp32"], typer.Option(help="auto: bf16 on CUDA, fp32 on the CPU.")] = PredictConfig.precision,
    device: Device = PredictConfig.device,
    workers: Workers = PredictConfig.workers,
    moved: Moved = None,
    force: Force = False, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False,
) -> None:
    """Predict a 3D pose and 2D keypoints for every crop.

    Example: handtool predict crops.h5 --model pose.h5 -o predictions.h5
    """
    from handtool.stages.predict import check_machine
    from handtool.stages.predict import predict as stage

    config = PredictConfig(bone, batch_size, precision, device, workers)
    produce(stage, [source], output, config, force=force, as_json=as_json, extra={"model": model}, check=lambda: check_machine(config))
