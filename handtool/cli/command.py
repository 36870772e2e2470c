"""A typer command with plain help, which refuses options that do nothing where they are given."""

import functools
import importlib
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from handtool.cli import state
from handtool.cli.effects import refuse_idle
from handtool.cli.options import EVERYWHERE, OUTPUT
from handtool.cli.runner import run_to_code
from handtool.names import printable

if TYPE_CHECKING:
    from typer.core import TyperOption

FORMER_NAMES = {"--crops"}  # understood, but not shown


def with_common_options(function: Callable) -> Callable:
    """The function of a command, with the options that every command has; cli/state.py keeps their values."""

    @functools.wraps(function)
    def command(**values: Any) -> Any:
        return function(**{name: value for name, value in values.items() if name not in EVERYWHERE})

    own, last = inspect.signature(function), inspect.Parameter.KEYWORD_ONLY
    common = [inspect.Parameter(name, last, default=False, annotation=kind) for name, kind in EVERYWHERE.items()]
    command.__signature__ = own.replace(parameters=[*own.parameters.values(), *common])
    return command


class Command(TyperCommand):
    def invoke(self, context: typer.Context) -> None:
        state.command = self.name
        effects = importlib.import_module(f"handtool.cli.{self.name}").EFFECTS
        if code := run_to_code(functools.partial(refuse_idle, context, effects)):
            raise typer.Exit(code)
        super().invoke(context)

    def parse_args(self, context: typer.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(context, args)
        except Exception as error:  # click's, which typer may have vendored
            if isinstance(message := getattr(error, "message", None), str):
                error.message = printable(message)
            raise

    def get_help_option(self, context: typer.Context) -> "TyperOption":
        option = super().get_help_option(context)
        option.rich_help_panel = OUTPUT
        return option

    def format_help(self, context: typer.Context, formatter: object) -> None:
        """Choices are shown as a|b, types and ranges not at all: where a limit matters, the help text says it."""
        from typer import rich_utils

        rich_utils.RANGE_STRING = ""
        self.help = re.sub(r"(?<!\n)\n(?!\n|Example)", " ", inspect.cleandoc(self.help))
        for parameter in self.params:
            parameter.opts = [name for name in parameter.opts if name not in FORMER_NAMES]
            if parameter.param_type_name == "argument":
                parameter.type.get_metavar = lambda **_: ""  # else <str> beside its name
            elif parameter.metavar is None and hasattr(parameter.type, "choices"):
                parameter.metavar = "|".join(map(str, parameter.type.choices))
        super().format_help(context, formatter)
