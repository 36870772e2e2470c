"""handtool mine: the most similar hands in other videos."""

from dataclasses import replace
from functools import partial
from typing import Literal

from handtool.cli import state
from handtool.cli.effects import COMMON, Only, always, only
from handtool.cli.options import MACHINE, Device, Everything, Force, Moved, Output, Source, Threads, option
from handtool.cli.printing import accounting_line, lay_out
from handtool.cli.runner import make_config, run_stage
from handtool.config import Engine as EngineName
from handtool.config import MineConfig

GRAPH = "Approximate search (--index hnsw)"
NO_SEARCH = "with --pairs, whose file says which hands pair"
SEARCHED = "pool max_in_degree exclude same_side metric index parts engine"


def unless_given(effects: dict[str, Only]) -> dict[str, Only]:
    """The same, but idle with --pairs too."""

    def also(one: Only) -> Only:
        return replace(one, when=lambda v: not v.pairs and one.when(v), why=f"{one.why}, or with --pairs")

    return {name: also(one) for name, one in effects.items()}


EFFECTS = (
    COMMON
    | always("topk", "min_distance", "max_distance", "pairs")
    | only(SEARCHED, lambda v: not v.pairs, NO_SEARCH)
    | unless_given(
        only(
            "min_gap",
            lambda v: v.exclude not in ("video", "subject"),
            "with --exclude video or subject: no two hands of one video pair",
            "--exclude track",
        )
        | only(
            "m ef_construction ef",
            lambda v: v.index == "hnsw",
            "with --index exact, which builds no graph",
            "--index hnsw",
        )
        | only(
            "device",
            lambda v: v.index == "exact" and v.engine == "local",
            "with --index hnsw or --engine ray, which run on CPUs",
            "--index exact",
        )
        | only("seed", lambda v: v.index == "hnsw", "with --index exact, which draws nothing at random")
        | only(
            "threads",
            lambda v: v.index == "hnsw" or v.device != "cuda" or v.max_in_degree,
            "with --device cuda: the GPU does the search",
            "--device cpu",
        )
        | only("everything", lambda v: not v.as_json, "with --json, which prints every figure")
    )
)
SHOWN = 5  # recordings with copies that are named, and videos of each
HUB = 10  # times topk: a hand that is the positive of more anchors than that is worth a warning


def mine(
    source: Source = "-",
    topk: option(int, "--topk N", "Positives stored for each hand, at most 1,000.", min=1, max=1000) = MineConfig.topk,
    pool: option(str | None, "--in FILE", "Look for the positives in this embedded file instead.") = None,
    pairs: option(
        str | None, "--pairs FILE", "Take the pairs that this json of SiMHand's (Hand100M) lists; nothing is searched."
    ) = None,
    max_in_degree: option(
        int | None, "--max-in-degree N", "No hand becomes the positive of more than N others.", min=1, unset="no limit"
    ) = MineConfig.max_in_degree,
    min_distance: option(
        float,
        "--min-distance DISTANCE",
        "Leave out pairs that are nearer, in the units of --metric: near-duplicates teach little.",
        min=0.0,
    ) = MineConfig.min_distance,
    max_distance: option(
        float | None,
        "--max-distance DISTANCE",
        "Leave out pairs that are farther apart, in the units of --metric.",
        min=0.0,
        unset="no limit",
    ) = MineConfig.max_distance,
    exclude: option(
        Literal["video", "subject", "track", "none"],
        "--exclude",
        "Which hands never pair: those of one video (a clip of two people is one, and so are copies of a recording; "
        "of FreiHAND, the pictures of one hand), those of one subject (of EgoDex, of one session), those of one track, "
        "or only a hand with itself.",
    ) = MineConfig.exclude,
    min_gap: option(
        float,
        "--min-gap S",
        "Seconds between two hands of one video that pair (with --exclude track or none).",
        min=0.0,
    ) = MineConfig.min_gap,
    same_side: option(
        bool, "--same-side", "Pair left hands only with left hands, right with right."
    ) = MineConfig.same_side,
    metric: option(
        Literal["euclidean", "cosine"], "--metric", "Distance between embeddings; cosine: 1 - cos."
    ) = MineConfig.metric,
    index: option(
        Literal["hnsw", "exact"], "--index", "hnsw: approximate, fast; exact: every hand against every other."
    ) = MineConfig.index,
    ef: option(int, "--ef N", "Candidates looked at for each hand.", GRAPH, min=1) = MineConfig.ef,
    m: option(int, "--m N", "Links of a hand in the graph, 2 to 256.", GRAPH, min=2, max=256) = MineConfig.m,
    ef_construction: option(
        int, "--ef-construction N", "Candidates looked at for each hand while the graph is built.", GRAPH, min=2
    ) = MineConfig.ef_construction,
    seed: option(
        int, "--seed N", "Same seed, same pairs with --threads 1; with several threads a few may differ.", GRAPH, min=0
    ) = MineConfig.seed,
    engine: option(
        EngineName,
        "--engine",
        "local: this machine; ray: the nodes of the Ray cluster that RAY_ADDRESS names search a part each.",
        MACHINE,
    ) = MineConfig.engine,
    parts: option(
        int | None,
        "--parts N",
        "Search the pool in N parts, a machine one at a time, and take the best of all: less memory, more time.",
        min=1,
        unset="all at once; with --engine ray one per node",
    ) = MineConfig.parts,
    threads: Threads = MineConfig.threads,
    device: Device = MineConfig.device,
    output: Output = "-",
    moved: Moved = None,
    force: Force = False,
    everything: Everything = False,
) -> None:
    """Find, for every hand, the k most similar hands in other videos.

    Example: handtool mine embeddings.h5 --topk 5 -o pairs.h5
    """
    from handtool.stages.mine import mine as stage

    config = make_config(MineConfig, locals())
    table = lay_out if pairs else partial(lay_out_pairs, everything=everything or state.verbose)
    run_stage(stage, [source], output, config, force=force, extra={"pool": pool, "pairs": pairs}, table=table)


def lay_out_pairs(report: dict, everything: bool) -> list[str]:
    """The accounting, with `everything` every figure, and two sentences: what was found, and who is found how often."""
    lines = lay_out(report) if everything else [accounting_line(item) for item in report["accounting"]]
    if not report.get("repeatable", True):
        told = "several threads built the index: the same seed may give a few other pairs; --threads 1 repeats them"
        lines.append(f"note: {told}")
    return [*lines, *copies_sentences(report), found_sentence(report), in_degree_sentence(report)]


def copies_sentences(report: dict) -> list[str]:
    """Which videos are copies, and what may be copies and was not recognised."""
    lines = []
    if known := report.get("copies"):
        videos, recordings = report["videos_in_copies"], report["recordings_with_copies"]
        named = "; ".join(" = ".join(names[:SHOWN] + ["…"] * (len(names) > SHOWN)) for names in known[:SHOWN])
        more = f"; and {recordings - SHOWN:,} more" * (recordings > SHOWN)
        of = "one recording and count as one" if recordings == 1 else f"{recordings:,} recordings and count as these"
        lines.append(f"{videos:,} videos are copies or parts of {of}: {named}{more}.")
    if "anew" in report["copies_recognised_by"]:
        lines.append("note: copies are recognised by equal bytes alone, since the crops are of an older version.")
    if report["pairs_at_distance_0"]:
        lines.append(f"note: {report['pairs_at_distance_0']:,} pairs at distance 0, which --min-distance leaves out.")
    return lines


def found_sentence(report: dict) -> str:
    hands, topk = report["accounting"][0], report["topk"]
    embedded = hands["in"] - hands["skipped"].get("no embedding", 0)
    others = {"video": " in other videos", "subject": " of other subjects", "track": " in other tracks", "none": ""}
    where = others[report["exclude"]]
    full = embedded - report["short_anchors"]
    found = f"Found {topk:,} neighbour{'s' * (topk != 1)}{where} for {full:,} of {hands['in']:,} hands"
    if fewer := hands["done"] - full:
        found += f", and fewer for {fewer:,} more"
    if report["index"] == "exact":
        return f"{found}; the search was exact."
    return f"{found}; {floor_percent(report['recall'])} % of the true neighbours were found."


def floor_percent(share: float) -> str:
    """One decimal, rounded down: 100.0 means all."""
    return f"{int(1000 * share + 1e-9) / 10:.1f}"


def in_degree_sentence(report: dict) -> str:
    """Hands in dense places can be near very many others; trained as the positive of all of them, they teach little."""
    most, topk, anchors = report["in_degree_max"], report["topk"], report["accounting"][0]["done"]
    if report["max_in_degree"] is None and most > HUB * topk:
        one = f"one of them is a positive of {most:,} of {anchors:,} hands"
        return f"Few hands are the positives of many: {one}; --max-in-degree {4 * topk} would limit that."
    return f"No hand is a positive of more than {most:,} of the {anchors:,} hands."
