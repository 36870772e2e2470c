"""handtool cat: several files as one, links flattened."""

from handtool.cli.effects import COMMON, always
from handtool.cli.options import Force, Moved, Output, Sources, option
from handtool.cli.runner import run_stage
from handtool.config import CatConfig

EFFECTS = COMMON | always("link")


def cat(
    sources: Sources = None,
    link: option(bool, "--link", "Leave the images where they are; copy everything else.") = CatConfig.link,
    output: Output = "-",
    moved: Moved = None,
    force: Force = False,
) -> None:
    """Join files of hands, or make one file free of links to others.

    Shards of one run come out as a single run would have made them; other files follow in the order given.

    Example: handtool cat monday.h5 tuesday.h5 -o week.h5
    """
    from handtool.stages.cat import cat as stage

    run_stage(stage, sources or ["-"], output, CatConfig(link), force=force)
