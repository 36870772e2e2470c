"""What a fine-tuning really does: the choices that the configuration leaves to the head, the data and the machine."""

from dataclasses import dataclass

from handtool.config import HEAD_PRESETS, FinetuneConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.nn.files.data import Schedule
from handtool.nn.training.distributed import Place
from handtool.nn.views.augmentation import AugmentRanges


@dataclass(frozen=True)
class FinetunePlan:
    schedule: Schedule
    steps: int
    warmup_steps: int
    precision: str
    ranges: AugmentRanges
    epochs: int

    @property
    def batch_size(self) -> int:
        """Hands a step, over all processes."""
        return self.schedule.batch_size

    def as_config(self) -> dict:
        """Under the names of FinetuneConfig, whose values these replace."""
        return {
            "batch_size": self.batch_size,
            "steps": self.steps,
            "epochs": self.epochs,
            "precision": self.precision,
            "rotation_deg": self.ranges.angle_deg,
            "blur_px": self.ranges.blur,
        }


def make_plan(num_hands: int, config: FinetuneConfig, place: Place) -> FinetunePlan:
    """The plan for so many hands. Raises HandtoolError where a process would get less than the two hands that batch norm needs."""
    if config.loss != FinetuneConfig.loss and config.head != "heatmap":
        raise WrongCommand(f"--loss {config.loss} is a choice of the heat-map head", hint="--head heatmap")
    preset = HEAD_PRESETS[config.head]
    per_process = config.batch_size_cuda if place.device == "cuda" else config.batch_size_cpu
    asked = config.batch_size or per_process * place.processes
    share = min(asked, num_hands) // place.processes
    if share < 2:
        raise HandtoolError(
            f"{num_hands} hands, {asked} a step, on {place.processes} process{'es' if place.processes > 1 else ''}: batch norm needs 2 on each",
            hint="a larger --batch-size, or fewer --processes or --gpus",
        )
    schedule = Schedule(num_hands, share * place.processes, config.seed)
    epochs = config.epochs or preset.epochs
    steps = config.steps or epochs * schedule.steps_per_epoch
    precision = ("bf16" if place.device == "cuda" else "fp32") if config.precision == "auto" else config.precision
    ranges = AugmentRanges(
        chosen(config.rotation_deg, preset.rotation_deg),
        config.zoom,
        config.shift,
        config.colour,
        hue=0.3 * config.colour,
        blur=chosen(config.blur_px, preset.blur_px),
        mirror=config.mirror,
    )
    return FinetunePlan(schedule, steps, round(config.warmup * steps), precision, ranges, epochs)


def chosen(asked: float | None, otherwise: float) -> float:
    return otherwise if asked is None else asked
