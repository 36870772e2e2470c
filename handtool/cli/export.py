"""handtool export: tables and weights for other programs."""

import contextlib
import filecmp
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from handtool.cli import state
from handtool.cli.effects import COMMON, always, only
from handtool.cli.inputs import open_sources
from handtool.cli.options import OUTPUT, Force, Moved, Source, option
from handtool.cli.outputs import ANEW, files_of, is_below, is_same, refuse_own_input
from handtool.cli.printing import print_report
from handtool.cli.runner import bars
from handtool.config import ExportConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.progress import Progress

if TYPE_CHECKING:
    from handtool.store import File

ALIASES = {"pt": "pth"}
ZIPPED = ("freihand", "ho3d")  # what their servers take
TABLES_AS = ("csv", "json", "npz", "parquet")
Tables, Weights = Literal["csv", "json", "npz", "parquet", "coco", "lerobot"], Literal["safetensors", "pth", "onnx"]
Submissions = Literal["freihand", "dexycb", "ho3d", "assemblyhands"]
FormatName = Literal[Tables, Weights, Submissions]
EFFECTS = (
    COMMON
    | always("table", "format")
    | only(
        "template",
        lambda v: v.format == "assemblyhands",
        "without --format assemblyhands: it names the frames of such a submission",
        "--format assemblyhands",
    )
    | only(
        "pixels",
        lambda v: choose_format(v.output, v.format) in TABLES_AS,
        f"except in a table, as {', '.join(TABLES_AS)}",
        "-o FILE.csv",
    )
    | only("no_video", lambda v: v.format == "lerobot", "without --format lerobot", "--format lerobot")
    | only(
        "footage",
        lambda v: v.format == "lerobot" and not v.no_video,
        "except for the films of a LeRobot set",
        "--format lerobot",
    )
)


def export(
    source: Source = "-",
    table: option(
        str | None,
        "--table NAME",
        "What to write: keypoints, pairs, predictions, metrics, weights, …",
        unset="the last one of the file's own",
    ) = ExportConfig.table,
    format: option(
        FormatName | None,
        "--format NAME",
        "A table: csv, json, npz, parquet; keypoints as COCO's json: coco; predictions or labels of videos as a "
        "LeRobot set: lerobot; weights: safetensors, pth, onnx; predictions as a submission: freihand, dexycb, ho3d, "
        "assemblyhands.",
        unset="by suffix; csv to standard output",
    ) = ExportConfig.format,
    pixels: option(
        Literal["frame", "crop"] | None,
        "--in frame|crop",
        "The image in whose pixels keypoints are written.",
        unset="frame",
    ) = ExportConfig.pixels,
    template: option(
        str | None, "--template FILE", "The json of an AssemblyHands challenge, whose frames are filled."
    ) = None,
    no_video: option(bool, "--no-video", "A LeRobot set of the numbers alone.") = ExportConfig.no_video,
    footage: option(
        list[Path] | None, "--videos DIR", "Where the videos are now, if they were moved (repeatable)."
    ) = None,
    output: option(
        str,
        "-o --output FILE",
        "The file to write, whose suffix chooses the format; - or nothing: standard output.",
        OUTPUT,
        unset=False,
    ) = "-",
    moved: Moved = None,
    force: Force = False,
) -> None:
    """Write a table as csv, json, npz or parquet, hands as COCO's json, videos with their hands as a LeRobot set,
    weights as safetensors, a torch file or an ONNX model, or predictions as a submission.

    Submissions are what the evaluation of FreiHAND, DexYCB, HO-3D or AssemblyHands reads. A LeRobot set is a folder:
    one episode a video, with the film and the hands of every frame.

    Example: handtool export pairs.h5 -o pairs.csv
    Example: handtool export keypoints.h5 --format coco -o hands.json
    Example: handtool export predictions.h5 --format freihand -o pred.zip
    Example: handtool export hands.h5 --format lerobot -o my_set
    """
    from handtool.store import refuse_closed, refuse_terminal

    config = ExportConfig(choose_format(output, format), table, pixels, no_video)
    target = None if output == "-" else Path(output)
    state.streaming = target is None
    if target is None:
        is_text = config.format in ("csv", "json", "coco", "dexycb", "assemblyhands")
        refuse_closed() if is_text else refuse_terminal(config.format, "cat > FILE")
    with contextlib.ExitStack() as stack:
        [file] = stack.enter_context(open_sources([source]))
        if config.format == "lerobot":
            assert target
            report, kept = write_folder(file, target, config, force, bars(stack), footage or []), False
        else:
            report, kept = write(file, target, config, force, bars(stack), read_path(template))
    print_report(report, target, up_to_date=kept)


def write(
    file: "File",
    target: Path | None,
    config: ExportConfig,
    force: bool,
    progress: Progress,
    template: Path | None = None,
) -> tuple[dict, bool]:
    """The report, and whether the same bytes were there already."""
    from handtool.stages.export import export as stage

    refuse_own_input(target, [file, *([template] if template else [])])
    with temporary_file(target) as temporary:
        report = stage(file, temporary, config, progress, template=template)
        return report, publish_export(temporary, target, force)


def write_folder(
    file: "File", target: Path, config: ExportConfig, force: bool, progress: Progress, folders: list[Path]
) -> dict:
    """The report. The folder appears whole or not at all; one that is there already is replaced by --force alone, and
    only if handtool wrote it."""
    from handtool.cli.folder import check_folder, publish_folder, temporary_folder
    from handtool.stages.export import export as stage
    from handtool.stages.overlay import find_footage

    check_folder(target, force)
    films = None if config.no_video else find_footage(file, folders, "they are left out")
    read = [*files_of(file), *(Path(film.path) for film in films or [] if film)]
    if target.exists() and any(is_below(path, target) or is_same(path, target) for path in read):
        raise WrongCommand(f"{target} is both input and output", hint="choose another -o")
    with temporary_folder(target) as temporary:
        report = stage(file, temporary, config, progress, footage=films)
        publish_folder(temporary, target)
        return report


def choose_format(output: str, named: FormatName | None) -> str:
    suffix = Path(output).suffix.lstrip(".").lower()
    found = named or ("csv" if output == "-" else ALIASES.get(suffix, suffix))
    if found not in get_args(FormatName):
        told = f"{output}: the suffix {'.' + suffix if suffix else '(none)'} names no format"
        raise WrongCommand(told, hint=f"--format {' | '.join(get_args(FormatName))}")
    if found == "lerobot" and output == "-":
        raise WrongCommand("a LeRobot set is a folder: it cannot go to standard output", hint="-o DIR")
    if found in ZIPPED and output != "-" and suffix != "zip":
        told = f"a submission to {found} is a zip with pred.json in it, not {output}"
        raise WrongCommand(told, hint=f"--format {found} -o pred.zip")
    return found


def read_path(name: str | None) -> Path | None:
    """HandtoolError where it is not there."""
    if name is not None and not Path(name).is_file():
        raise HandtoolError(f"{name} does not exist", hint=f"ls {Path(name).parent}")
    return Path(name) if name else None


@contextlib.contextmanager
def temporary_file(target: Path | None) -> Iterator[Path]:
    """Beside the target, so that it can be renamed; else in TMPDIR. It is gone afterwards."""
    from handtool.store.disk import disk_error, make_neighbour

    if target is not None and not (folder := target.absolute().parent).is_dir():
        raise HandtoolError(f"there is no folder {folder} for {target.name}", hint=f"mkdir -p {folder}")
    made = make_neighbour(target.absolute()) if target else tempfile.mkstemp(".export", "handtool-")
    descriptor, path = made[0], Path(made[1])
    try:
        yield path
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise disk_error(error, target or path) from error
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def publish_export(temporary: Path, target: Path | None, force: bool) -> bool:
    """To its place or to standard output. Returns whether the very same bytes were there already."""
    from handtool.store.disk import disk_error, publish

    if target is None:
        with temporary.open("rb") as stream:
            try:
                shutil.copyfileobj(stream, sys.stdout.buffer)
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise disk_error(error, "standard output") from error
        return False
    if target.exists() and not force:
        if target.is_file() and filecmp.cmp(temporary, target, shallow=False):
            return True
        raise HandtoolError(f"{target} exists, with another content", hint=ANEW)
    with temporary.open("rb+") as stream:
        os.fsync(stream.fileno())
    publish(temporary, target.absolute())
    return False
