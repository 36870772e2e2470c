"""handtool show: a picture of what a file holds."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from handtool.cli import state
from handtool.cli.effects import COMMON, Values, always, only
from handtool.cli.inputs import open_sources, stamp
from handtool.cli.options import Force, Moved, ReportOutput, Seed, Source, option
from handtool.cli.outputs import ANEW, open_whole, refuse_own_input, write_other
from handtool.cli.printing import print_report
from handtool.cli.runner import bars, make_record
from handtool.config import OverlayConfig, ShowConfig
from handtool.errors import HandtoolError, WrongCommand

if TYPE_CHECKING:
    from handtool.store import File

FILM_ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".gif")
FILM = "Film (--video)"
Kind = Literal["auto", "crops", "labels", "keypoints", "embeddings", "pairs", "predictions", "curve", "metrics"]
HANDS = ("auto", "crops", "labels", "keypoints")  # kinds whose picture shows single hands, in an order
UNDRAWN = "without -o FILE or -o -, where nothing is drawn"


def draws_picture(values: Values) -> bool:
    return values.output is not None and not values.video


EFFECTS = (
    COMMON
    | only("kind", lambda v: v.output, UNDRAWN, "-o sheet.png")
    | only(
        "order",
        lambda v: draws_picture(v) and v.kind in HANDS,
        "except in a picture of crops, labels or keypoints",
        "--kind crops -o sheet.png",
    )
    | only(
        "rows columns",
        lambda v: draws_picture(v) and v.kind in (*HANDS, "pairs", "predictions"),
        "except in a picture of tiles (crops, labels, keypoints, pairs, predictions)",
        "--kind crops -o sheet.png",
    )
    | only(
        "tile seed",
        lambda v: draws_picture(v) and v.kind not in ("curve", "metrics"),
        "except in a picture of hands",
        "-o sheet.png",
    )
    | always("video")
    | only("fps frames footage", lambda v: v.video, "without --video", "--video")
)


def show(
    source: Source = "-",
    kind: option(
        Kind,
        "--kind NAME",
        "crops, labels, keypoints, embeddings, pairs, predictions, curve, metrics; auto: what the file itself holds.",
    ) = ShowConfig.kind,
    order: option(
        Literal["random", "video", "score"],
        "--order",
        "Order of the hands: at random, a video a row, or lowest score first.",
    ) = ShowConfig.order,
    rows: option(
        int, "--rows N", "Rows of tiles, at most 200; 0: what suits the kind.", min=0, max=200
    ) = ShowConfig.rows,
    columns: option(
        int,
        "--columns N",
        "Columns of tiles (predictions: of hands; pairs: ranks), at most 50; 0: what suits the kind.",
        min=0,
        max=50,
    ) = ShowConfig.columns,
    tile: option(int, "--tile PX", "Side of a tile, 48 to 1,024.", min=48, max=1024) = ShowConfig.tile,
    seed: Seed = ShowConfig.seed,
    video: option(
        bool,
        "--video",
        "An mp4 instead: every frame that was looked at, with its hands, in true time; where a track has lost its hand "
        "and where the decoder lost a frame is marked (where a video is gone: the crops).",
        FILM,
    ) = False,
    fps: option(
        float | None,
        "--fps N",
        "Pictures a second of the mp4, 0.1 to 120.",
        FILM,
        min=0.1,
        max=120,
        unset="each as long as it lasted",
    ) = OverlayConfig.fps,
    frames: option(int, "--frames N", "Pictures of the mp4 at most; 0: all.", FILM, min=0) = OverlayConfig.frames,
    footage: option(
        list[Path] | None, "--videos DIR", "Where the videos are now, if they were moved (repeatable).", FILM
    ) = None,
    output: ReportOutput = None,
    moved: Moved = None,
    force: Force = False,
) -> None:
    """Draw crops, overlays, pairs, maps, predictions, curves or scores as a PNG, or the videos with their hands as an
    mp4.

    Without -o it says what there is to see.

    Example: handtool show pairs.h5 -o sheet.png

    Example: handtool show predictions.h5 --video -o overlay.mp4
    """
    from handtool.stages.show import describe, draw_png

    check_ending(output, video)
    with open_sources([source]) as (file,):
        if output is None:
            return print_report(describe(file), None)
        refuse_own_input(None if output == "-" else Path(output), [file])
        state.streaming = output == "-"
        if video:
            return film(file, output, OverlayConfig(film_kind(kind), fps, frames), footage or [], force)
        png, report = draw_png(file, ShowConfig(kind, order, rows, columns, tile, seed))
    report["picture"] = write_other(output, png, force)
    print_report(report, None)


def check_ending(output: str | None, video: bool) -> None:
    """WrongCommand where a picture has the name of a film, or a film the name of a picture."""
    ending = Path(output or "").suffix.lower()
    if video and output is None:
        raise WrongCommand("--video needs a name for the film", hint="-o overlay.mp4")
    if not video and ending in FILM_ENDINGS:
        raise WrongCommand(f"{output} is the name of a film, and a picture was asked for", hint=f"--video -o {output}")
    if video and ending and ending != ".mp4":
        raise WrongCommand(
            f"--video writes an mp4, {output} is named otherwise", hint=f"--video -o {Path(output).with_suffix('.mp4')}"
        )


def film_kind(kind: Kind) -> str:
    if kind not in ("auto", "crops", "keypoints", "labels", "predictions"):
        raise WrongCommand(
            f"--video draws hands at their place, and cannot draw {kind}",
            hint="--kind predictions (keypoints, labels, crops)",
        )
    return kind


def film(file: "File", output: str, config: OverlayConfig, folders: list[Path], force: bool) -> None:
    """The mp4: `up to date` if the same settings made it from the same file and the same footage."""
    from handtool.stages.overlay import find_footage, overlay, read_mark

    footage = find_footage(file, folders)
    stamps = {video.path: stamp(Path(video.tar or video.path)) for video in footage if video}
    record = make_record(config, [stamp(file), *stamps.values()], streamed=False)
    path = None if output == "-" else Path(output)
    refuse_own_input(path, [file, *map(Path, stamps)])
    if path and path.exists() and not force:
        if read_mark(path) != record.fingerprint:
            raise HandtoolError(f"{path} exists, made otherwise or of something else", hint=ANEW)
        return print_report({}, path, up_to_date=True)
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(open_whole(output))
        report = overlay(file, sink, config, bars(stack), footage=footage, note=record.fingerprint)
    print_report(report, path)
