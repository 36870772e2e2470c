"""handtool report: one HTML page on what was made, and how."""

from pathlib import Path

from handtool.cli import state
from handtool.cli.effects import COMMON, always
from handtool.cli.inputs import open_sources
from handtool.cli.options import Force, Moved, ReportOutput, Seed, Sources, option
from handtool.cli.outputs import refuse_own_input, write_other
from handtool.cli.printing import print_report
from handtool.config import ReportConfig, ShowConfig

EFFECTS = COMMON | always("tile", "max_bytes", "seed")  # without -o too: they decide which pictures would fit


def report(
    sources: Sources = None,
    tile: option(int, "--tile PX", "Side of a tile on the sheets, 48 to 512.", min=48, max=512) = ReportConfig.tile,
    max_bytes: option(
        int,
        "--max-bytes BYTES",
        "Largest size of all pictures together, 100,000 at least; further ones are left out.",
        min=100_000,
    ) = ReportConfig.max_bytes,
    seed: Seed = ReportConfig.seed,
    output: ReportOutput = None,
    moved: Moved = None,
    force: Force = False,
) -> None:
    """Put files together on one self-contained HTML page; without -o, only say what would be on it.

    Example: handtool report crops.h5 pairs.h5 encoder.h5 result.h5 -o report.html
    """
    from handtool.stages.eval import compare_results
    from handtool.stages.report import report as stage
    from handtool.stages.show import show

    config = ReportConfig(tile, max_bytes, seed)
    with open_sources(sources or ["-"]) as files:
        refuse_own_input(Path(output) if output else None, files)
        html, told = stage(
            files, config, lambda file, kind: show(file, ShowConfig(kind, tile=tile, seed=seed)), compare_results
        )
    if output is not None:
        state.streaming = output == "-"
        told["page"] = write_other(output, html.encode(), force)
    print_report(told, None)
