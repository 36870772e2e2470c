"""handtool info: what is in a file, and how it was made."""

from handtool.cli.effects import COMMON, always
from handtool.cli.inputs import open_sources
from handtool.cli.options import Moved, Source, option
from handtool.cli.printing import print_report, say, value_lines
from handtool.names import printable_shell

EFFECTS = COMMON | always("commands")


def info(
    source: Source = "-",
    commands: option(bool, "--commands", "Print only the shell lines that rebuild the file.") = False,
    moved: Moved = None,
) -> None:
    """Show the tables of a file, where they lie, and the steps that made it.

    Example: handtool info pairs.h5 --commands
    """
    from handtool.stages import info as stage

    with open_sources([source]) as (file,):
        if commands:
            print_report(
                {"commands": stage.commands(file)},
                None,
                table=lambda report: list(map(printable_shell, report["commands"])),
            )
        else:
            report = stage.info(file)
            print_report(report, None, table=lay_out_info)
            for link in report.get("missing", []):
                say(link["what"], link["hint"])


def lay_out_info(report: dict) -> list[str]:
    lines = [f"{report['path']}  {report['uuid']}", f"made by {report['made_by']}", ""]
    lines += [f"{'table':<12} {'rows':>12}  lies in"]
    for name, table in report["tables"].items():
        rows = "?" if table["rows"] is None else f"{table['rows']:,}"
        lines.append(f"{name:<12} {rows:>12}  {table['lies_in']}")
        lines += [f"{'':<14}{key}: {', '.join(value_lines(value))}"[:200] for key, value in table["attrs"].items()]
    for key in ("weights", "protocols", "hands_per_video"):
        if key in report:
            lines += ["", *(f"{key.replace('_', ' ')}  {line}" for line in value_lines(report[key]))]
    return [*lines, "", *lay_out_commands(report)]


def lay_out_commands(report: dict) -> list[str]:
    return list(map(printable_shell, report["commands"]))
