"""The settings of a training once data and machine are known: batch size, steps, learning rate, precision,
processes."""

import logging
from dataclasses import dataclass

import torch

from handtool.config import TrainingConfig
from handtool.errors import HandtoolError
from handtool.nn.files.data import Schedule
from handtool.nn.training.distributed import Place
from handtool.nn.training.optimiser import square_root_rate

log = logging.getLogger(__name__)
POOL_SEED = 1 << 32  # so that the pool is drawn in another order than the labelled hands
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Plan:
    schedule: Schedule
    item: str  # what a batch consists of: "pairs" or "hands"
    asked: int  # the batch size asked for, before it was limited to the items there are
    accumulate: int  # forward passes per step
    steps: int
    warmup_steps: int
    peak_rate: float
    precision: str
    device: str
    processes: int
    pool: Schedule | None = None  # of the unlabelled items that each pass sees beside those of the schedule

    @property
    def batch_size(self) -> int:
        """Items of a forward pass, over all processes."""
        return self.schedule.batch_size + (self.pool.batch_size if self.pool else 0)

    @property
    def share(self) -> int:
        """Items of a forward pass on each process."""
        return self.batch_size // self.processes

    @property
    def items_per_step(self) -> int:
        return self.batch_size * self.accumulate

    @property
    def half(self) -> torch.dtype | None:
        """The type that autocast uses; None: no autocast."""
        return HALF.get(self.precision)

    def ends_epoch(self, step: int) -> bool:
        """Whether all items have been seen once more after this step, or it is the last."""
        passes, per_epoch = self.accumulate, self.schedule.steps_per_epoch
        return (step + 1) * passes // per_epoch > step * passes // per_epoch or step + 1 == self.steps

    def as_config(self) -> dict:
        """The values that influence the result, by the names of TrainingConfig, whose values they replace."""
        return {
            "batch_size": self.batch_size,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "learning_rate": self.peak_rate,
            "precision": self.precision,
            "device": self.device,
            "processes": self.processes,
        }

    def as_report(self) -> dict:
        """For the report of a dry run."""
        return {
            "device": self.device,
            "processes": self.processes,
            "precision": self.precision,
            f"{self.item}_per_step": self.items_per_step,
            "steps_per_epoch": self.schedule.steps_per_epoch // self.accumulate,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "learning_rate": self.peak_rate,
        }

    def log_summary(self, what: str, seen_by_loss: int = 0) -> None:
        """Log the plan, and what the user may not expect. `what` is trained; a loss compares `seen_by_loss` items."""
        num, on = self.schedule.num_items, f"{self.processes} process{'es' if self.processes > 1 else ''}"
        there = f"{num} {self.item}" + (f" and {self.pool.num_items} of the pool" if self.pool else "")
        if self.batch_size < self.asked:
            log.info(f"batch size lowered from {self.asked} to {self.batch_size}: there are {there}, for {on}")
        passes = f" in {self.accumulate} passes" if self.accumulate > 1 else ""
        seen = f", {seen_by_loss} in each loss" if seen_by_loss else ""
        log.info(
            f"{what} on {self.device}, {on}: {there}, {self.items_per_step} a step{passes}{seen}, "
            f"{self.steps} steps, learning rate {self.peak_rate:.3g}, {self.precision}"
        )
        if self.precision == "fp16" and self.device == "cpu":
            log.info("fp16 on the CPU is for comparisons: where the processor has no fp16 of its own, seconds a step")


def divide_batch(asked: int, num_items: int, num_pool: int, pool_share: float, processes: int) -> tuple[int, int]:
    """Items of the schedule and of the pool in a pass of one process, of `asked` over all: the pool has `pool_share` of
    them, and what is left where there are too few items; but at least one item is no pool's."""
    whole = asked // processes
    of_pool = min(max(1, round(pool_share * whole)), whole - 1) if num_pool else 0
    share = min(whole - of_pool, num_items // processes)
    return share, min(whole - share, num_pool // processes)


def make_plan(
    num_items: int, item: str, config: TrainingConfig, place: Place, num_pool: int = 0, pool_share: float = 0.0
) -> Plan:
    """The plan for `num_items` pairs or hands, and `num_pool` unlabelled ones, `pool_share` of each batch. Raises
    HandtoolError if a process would get fewer than the two that batch norm needs."""
    per_process = config.batch_size_cuda if place.device == "cuda" else config.batch_size_cpu
    asked = config.batch_size or per_process * place.processes
    share, of_pool = divide_batch(asked, num_items, num_pool, pool_share, place.processes)
    if share < 1 or share + of_pool < 2:
        raise HandtoolError(
            f"{num_items} {item}, {asked} a step, on {place.processes} process{'es' if place.processes > 1 else ''}: "
            "batch norm needs 2 on each",
            hint="a larger --batch-size, fewer --processes or --gpus, or more hands",
        )
    schedule = Schedule(num_items, share * place.processes, config.seed)
    assert config.steps or config.epochs
    steps = config.steps or max(1, (config.epochs or 0) * schedule.steps_per_epoch // config.accumulate)
    rate = config.learning_rate
    pool = Schedule(num_pool, of_pool * place.processes, config.seed + POOL_SEED) if of_pool else None
    return Plan(
        schedule,
        item,
        asked,
        config.accumulate,
        steps,
        warmup_steps=round(config.warmup * steps),
        peak_rate=square_root_rate(config.base_rate, (share + of_pool) * config.accumulate) if rate is None else rate,
        precision=("bf16" if place.device == "cuda" else "fp32") if config.precision == "auto" else config.precision,
        device=place.device,
        processes=place.processes,
        pool=pool,
    )
