"""What a pre-training really does: the choices that the configuration leaves to the data and the machine."""

from dataclasses import dataclass

import torch

from handtool.config import METHODS, PretrainConfig
from handtool.errors import HandtoolError
from handtool.nn.files.data import Schedule
from handtool.nn.training.distributed import Place
from handtool.nn.training.optimiser import square_root_rate

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Plan:
    schedule: Schedule
    accumulate: int  # forward passes a step
    steps: int
    warmup_steps: int
    peak_rate: float
    precision: str
    weights: str
    inverse: str
    processes: int
    notes: tuple[str, ...]  # to be said once

    @property
    def pairs_per_step(self) -> int:
        return self.schedule.batch_size * self.accumulate

    @property
    def half(self) -> torch.dtype | None:
        """What autocast lowers to; None: nothing."""
        return HALF.get(self.precision)

    def as_config(self) -> dict:
        """Under the names of PretrainConfig, whose values these replace."""
        return {
            "batch_size": self.schedule.batch_size,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "learning_rate": self.peak_rate,
            "precision": self.precision,
            "weights": self.weights,
            "inverse": self.inverse,
            "processes": self.processes,
        }


def make_plan(num_items: int, config: PretrainConfig, place: Place) -> Plan:
    """The plan for so many pairs. Raises HandtoolError where a process would get less than the two pairs that batch norm needs."""
    per_process = config.batch_size_cuda if place.device == "cuda" else config.batch_size_cpu
    asked = config.batch_size or per_process * place.processes
    share = min(asked, num_items) // place.processes
    if share < 2:
        raise HandtoolError(
            f"{num_items} pairs, {asked} a step, on {place.processes} processes: batch norm needs 2 pairs on each",
            hint="a larger --batch-size, fewer --processes or --gpus, or more hands",
        )
    batch = share * place.processes
    schedule = Schedule(num_items, batch, config.seed)
    steps = config.steps or max(1, config.epochs * schedule.steps_per_epoch // config.accumulate)
    peak = (
        config.learning_rate
        if config.learning_rate is not None
        else square_root_rate(config.base_rate, share * config.accumulate)
    )
    precision = ("bf16" if place.device == "cuda" else "fp32") if config.precision == "auto" else config.precision
    passes = f" in {config.accumulate} passes" if config.accumulate > 1 else ""
    notes = [
        f"{config.method} on {place.device}, {place.processes} process{'es' if place.processes > 1 else ''}: {num_items} pairs, "
        f"{batch * config.accumulate} a step{passes}, {batch if config.negatives == 'global' else share} in each loss, {steps} steps, "
        f"learning rate {peak:.3g}, {precision}"
    ]
    if precision == "fp16" and place.device == "cpu":
        notes.append("fp16 on the CPU is for comparisons: where the processor has no fp16 of its own, seconds a step")
    if batch < asked:
        notes.insert(
            0,
            f"batch size lowered from {asked} to {batch}: there are {num_items} pairs, for {place.processes} process(es)",
        )
    return Plan(
        schedule,
        config.accumulate,
        steps,
        round(config.warmup * steps),
        peak,
        precision,
        config.weights or METHODS[config.method].weights,
        config.inverse or METHODS[config.method].inverse,
        place.processes,
        tuple(notes),
    )
