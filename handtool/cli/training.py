"""What pretrain and finetune have in common on the command line: options, and how a training runs."""

from collections.abc import Callable
from types import ModuleType
from typing import Literal

import typer

from handtool.cli import state
from handtool.cli.options import MACHINE, option
from handtool.cli.runner import run_stage
from handtool.config import ARCHS, TrainingConfig

OPTIMISATION = "Optimisation"
Gpus = option(int | None, "--gpus N", "GPUs of this machine; 0: the CPU.", min=0, unset="one if there is one")
Steps = option(int | None, "--steps N", "Steps, instead of epochs.", min=1)
ARCH_HELP = f"Encoder: {', '.join(ARCHS)}, or timm:NAME, any backbone of the timm package (ViT, ConvNeXt, ...)."
Arch = option(str, "--arch NAME", ARCH_HELP)
Init = option(str, "--init imagenet|scratch|FILE", "Weights that the encoder starts from.")
InputSize = option(int, "--input-size PX", "Side of the network's input, 32 at least.", min=32)
DryRun = option(bool, "--dry-run", "Print shapes, steps, learning rate and memory; train nothing.")
Accumulate = option(int, "--accumulate N", "Forward passes a step; each has its own loss.", OPTIMISATION, min=1)
Optimizer = option(
    Literal["adam", "adamw", "lars-adam"],
    "--optimizer",
    "lars-adam is the one of the published pre-training.",
    OPTIMISATION,
)
TrainingPrecision = option(
    Literal["auto", "bf16", "fp16", "fp32"], "--precision", "auto: bf16 on CUDA, fp32 on the CPU.", MACHINE
)
Compile = option(
    bool, "--compile", "Compile the network first: takes minutes, then steps are faster; last digits differ.", MACHINE
)
CheckpointActivations = option(
    bool, "--checkpoint-activations", "Compute activations again instead of keeping them: less memory, slower.", MACHINE
)
Processes = option(int, "--processes N", "Processes on the CPU (with --gpus 0).", MACHINE, min=1)
CheckpointEvery = option(
    int, "--checkpoint-every STEPS", "Save a checkpoint this often; 0: every five minutes.", MACHINE, min=0
)
Tensorboard = option(str | None, "--tensorboard DIR", "Also write the curve there, for TensorBoard.", MACHINE)


def run_training(
    stage: ModuleType,
    train: Callable,
    source: str,
    output: str,
    config: TrainingConfig,
    weights: str,
    *,
    dry_run: bool,
    force: bool,
    restart: bool,
    more: dict[str, str | None] | None = None,
) -> dict:
    """Run a stage's `train` on all ranks, or its dry run. weights: the keyword that takes the file named by --init.
    more: further files by keyword."""
    extra = {weights: None if config.init in ("imagenet", "scratch") else config.init, **(more or {})}
    if (code := stage.run_other_rank(source, config, state.moved or [], dry_run)) is not None:
        raise typer.Exit(code)
    if dry_run:
        return run_stage(stage.dry_run, [source], None, config, report_only=True, extra=extra)
    whole = {"force": force, "restart": restart, "extra": extra, "plan": stage.plan}
    return run_stage(train, [source], output, config, **whole, lead=lambda: stage.lead(source, config))
