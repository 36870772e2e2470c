"""Options of pretrain and finetune."""

from typing import Literal

from handtool.cli.options import MACHINE, option
from handtool.config import ARCHS

OPTIMISATION = "Optimisation"
Gpus = option(int | None, "--gpus N", "GPUs of this machine; 0: the CPU.", min=0, unset="one if there is one")
Steps = option(int | None, "--steps N", "Steps, instead of epochs.", min=1)
Arch = option(Literal[ARCHS], "--arch NAME", f"Encoder: {', '.join(ARCHS[:-1])} or {ARCHS[-1]}.")
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
Processes = option(int, "--processes N", "Processes on the CPU (with --gpus 0).", MACHINE, min=1)
CheckpointEvery = option(
    int, "--checkpoint-every STEPS", "Save a checkpoint this often; 0: every five minutes.", MACHINE, min=0
)
Tensorboard = option(str | None, "--tensorboard DIR", "Also write the curve there, for TensorBoard.", MACHINE)
