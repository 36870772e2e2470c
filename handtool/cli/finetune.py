"""handtool finetune: a pose model from labelled hands."""

from typing import Annotated, Literal

import typer

from handtool.cli.doors import produce
from handtool.cli.options import (
    BatchSize,
    Force,
    Gpus,
    InputSize,
    Json,
    Moved,
    NamedOutput,
    Quiet,
    Restart,
    Seed,
    Source,
    Verbose,
    Workers,
)  # fmt: skip
from handtool.config import FinetuneConfig
from handtool.errors import WrongCommand

MODEL, DATA, TRAINING = "Model", "Data", "Training"


def finetune(
    source: Source = "-",
    output: NamedOutput = "pose.h5",
    encoder: Annotated[str | None, typer.Option("--encoder", metavar="FILE", help="What pretrain made (the same as --init FILE).", show_default=False, rich_help_panel=MODEL)] = None,
    init: Annotated[str, typer.Option(metavar="imagenet|scratch|FILE", help="Weights to start from.", rich_help_panel=MODEL)] = FinetuneConfig.init,
    arch: Annotated[
        Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] | None,
        typer.Option(help="Encoder.", show_default="the encoder file's, else resnet50", rich_help_panel=MODEL),
    ] = FinetuneConfig.arch,
    head: Annotated[Literal["regression"], typer.Option(help="What turns features into a pose: PeCLR's 2.5D regression.", rich_help_panel=MODEL)] = FinetuneConfig.head,
    freeze: Annotated[bool, typer.Option("--freeze", help="Train the head alone.", rich_help_panel=MODEL)] = FinetuneConfig.freeze,
    input_size: InputSize = FinetuneConfig.input_size,
    label_fraction: Annotated[float, typer.Option(min=1e-6, max=1.0, help="Share of the labelled hands to learn from.", rich_help_panel=DATA)] = FinetuneConfig.label_fraction,
    label_choice: Annotated[Literal["random", "head"], typer.Option(help="Which ones: drawn by --seed, or the first.", rich_help_panel=DATA)] = FinetuneConfig.label_choice,
    val_share: Annotated[float, typer.Option(min=0.0, max=0.9, help="Share held out; the weights that do best on it are kept.", rich_help_panel=DATA)] = FinetuneConfig.val_share,
    val_by: Annotated[Literal["video", "subject", "row"], typer.Option(help="What --val-share never tears apart.", rich_help_panel=DATA)] = FinetuneConfig.val_by,
    rotation_deg: Annotated[float, typer.Option("--rotation", min=0.0, max=180.0, metavar="DEG", help="Augmentation turns hands by up to this.", rich_help_panel=DATA)] = FinetuneConfig.rotation_deg,
    shift: Annotated[float, typer.Option(min=0.0, max=0.5, metavar="SHARE", help="Augmentation moves hands by up to this share of the crop.", rich_help_panel=DATA)] = FinetuneConfig.shift,
    zoom: Annotated[float, typer.Option(min=0.0, max=0.5, metavar="SHARE", help="Augmentation changes the size of hands by up to this share.", rich_help_panel=DATA)] = FinetuneConfig.zoom,
    colour: Annotated[float, typer.Option(min=0.0, max=0.9, metavar="SHARE", help="Augmentation changes brightness, contrast, saturation by up to this share.", rich_help_panel=DATA)] = FinetuneConfig.colour,
    batch_size: BatchSize = FinetuneConfig.batch_size,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the hands.", rich_help_panel=TRAINING)] = FinetuneConfig.epochs,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, instead of epochs.", rich_help_panel=TRAINING)] = FinetuneConfig.steps,
    patience: Annotated[int, typer.Option(min=0, metavar="EPOCHS", help="End after so many without a better validation error; 0: never.", rich_help_panel=TRAINING)] = FinetuneConfig.patience,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Peak learning rate.", rich_help_panel=TRAINING)] = FinetuneConfig.learning_rate,
    precision: Annotated[Literal["auto", "bf16", "fp32"], typer.Option(help="auto: bf16 on CUDA, fp32 on the CPU.", rich_help_panel=TRAINING)] = FinetuneConfig.precision,
    seed: Seed = FinetuneConfig.seed,
    gpus: Gpus = FinetuneConfig.gpus,
    workers: Workers = FinetuneConfig.workers,
    moved: Moved = None,
    force: Force = False, restart: Restart = False, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False,
) -> None:
    """Train a pose model on labelled hands, on top of an encoder.

    Example: handtool finetune train.h5 --encoder encoder.h5 -o pose.h5
    """
    from handtool.stages import finetune as stage

    if encoder and init != FinetuneConfig.init:
        raise WrongCommand("--encoder and --init both say where the encoder starts", hint="leave one of them out")
    config = FinetuneConfig(
        head=head, arch=arch, init=encoder or init, input_size=input_size, batch_size=batch_size, epochs=epochs, steps=steps, learning_rate=learning_rate,
        freeze=freeze, rotation_deg=rotation_deg, shift=shift, zoom=zoom, colour=colour, label_fraction=label_fraction, label_choice=label_choice, val_share=val_share,
        val_by=val_by, patience=patience, precision=precision, seed=seed, gpus=gpus, workers=workers,
    )  # fmt: skip
    produce(stage.finetune, [source], output, config, force=force, as_json=as_json, resumable=True, restart=restart,
            extra={"encoder": None if config.init in ("imagenet", "scratch") else config.init}, check=lambda: stage.check_machine(config))
