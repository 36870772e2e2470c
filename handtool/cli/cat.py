"""handtool cat: several files as one, links flattened."""

from functools import partial

from handtool.cli import state
from handtool.cli.effects import COMMON, always, only
from handtool.cli.options import Force, Moved, Output, Sources, option
from handtool.cli.runner import run_stage
from handtool.config import CatConfig, MergeConfig

EFFECTS = (
    COMMON
    | always("merge_pairs")
    | only("link", lambda v: not v.merge_pairs, "with --merge-pairs, which leaves the images where they are anyway")
)


def cat(
    sources: Sources = None,
    link: option(bool, "--link", "Leave the images where they are; copy everything else.") = CatConfig.link,
    merge_pairs: option(
        bool,
        "--merge-pairs",
        "Pairs of the same anchors, mined in parts of a pool (mine --in), as one: the k best of all parts.",
    ) = False,
    output: Output = "-",
    moved: Moved = None,
    force: Force = False,
) -> None:
    """Join files of hands, or make one file free of links to others. With --merge-pairs: join pairs.

    Shards of one run come out as a single run would have made them; other files follow in the order given.

    Example: handtool cat monday.h5 tuesday.h5 -o week.h5
    """
    from handtool.stages import cat as stage

    if merge_pairs:
        from handtool.cli.mine import lay_out_pairs

        table = partial(lay_out_pairs, everything=state.verbose)
        run_stage(stage.merge_pairs, sources or ["-"], output, MergeConfig(), force=force, table=table)
    else:
        run_stage(stage.cat, sources or ["-"], output, CatConfig(link), force=force)
