"""Options that do nothing where they are given are refused: one rule for all commands.

Every command has a table EFFECTS. It says of each option that it always has an effect, or by which other options it has
one. An option counts as given when it stands on the command line, whatever its value: a default that is spelled out is
refused too, an environment variable never is. What only the contents of a source can tell (a folder of images has no
--fps) and how many GPUs a machine has are the stage's to judge. `pretrain --dry-run` describes the command line that it
is added to, so it makes no other option idle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import typer

from handtool.errors import WrongCommand

Values = SimpleNamespace  # what each option of the command was set to, as text or number, by the name of its parameter


@dataclass(frozen=True, eq=False, repr=False)
class Only:
    """An option that has an effect only `when` the values say so; `why` completes "--x does nothing …"."""

    when: Callable[[Values], object]
    why: str
    add: str | None = None


Effects = dict[str, Only | None]  # by the name of the parameter; None: always


def always(*names: str) -> Effects:
    return dict.fromkeys(names)


def only(names: str, when: Callable[[Values], object], why: str, add: str | None = None) -> Effects:
    """The same condition for each of the names, which spaces separate."""
    return dict.fromkeys(names.split(), Only(when, why, add))


def writes_file(values: Values) -> bool:
    """Whether a result goes to a named file or folder, and not only to standard output."""
    given = vars(values)
    return given.get("output") not in (None, "-") or bool(given.get("outputs") or given.get("videos"))


def on_cluster(uses_gpu: Callable[[Values], object]) -> Effects:
    """--gpus-per-worker has an effect on workers of a cluster that use a GPU."""
    why = "without --engine ray and something that its workers do on a GPU"
    return only("gpus_per_worker", lambda v: v.engine == "ray" and v.device != "cpu" and uses_gpu(v), why)


COMMON = (
    always("output", "moved", "as_json", "quiet")
    | only("verbose", lambda v: not v.quiet, "with --quiet, which leaves errors alone")
    | only("force", writes_file, "without a file to write: only files are overwritten", "-o FILE")
    | only("restart", writes_file, "without a file to write: only for files is unfinished work kept", "-o FILE")
)


def refuse_idle(context: typer.Context, effects: Effects) -> None:
    """WrongCommand for the first option on the command line that does nothing beside the others."""
    values, source_of = Values(**context.params), context.get_parameter_source
    for parameter in context.command.params:
        condition = effects.get(parameter.name)
        if condition and source_of(parameter.name).name == "COMMANDLINE" and not condition.when(values):
            option = max(parameter.opts, key=len)
            hint = f"leave {option} out" + (f", or add {condition.add}" if condition.add else "")
            raise WrongCommand(f"{option} does nothing {condition.why}", hint=hint)
