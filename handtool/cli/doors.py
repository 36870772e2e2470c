"""What every command promises: `-` on both sides, `up to date`, whole outputs, one report, the right exit code."""

import contextlib
import dataclasses
import errno
import functools
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from handtool import errors
from handtool.cli import state
from handtool.cli.printing import print_report, say, start_logging
from handtool.errors import HandtoolError, Terminated, WrongCommand

if TYPE_CHECKING:
    from types import FrameType

    from handtool.store import File, Record


# What the machine refuses is a known cause, wherever it happens. Other OSErrors are bugs.
REFUSALS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG, errno.EIO, errno.EMFILE, errno.ENFILE,
}  # fmt: skip
log = logging.getLogger(__name__)


def guarded(function: Callable, name: str) -> Callable:
    """The command with its doors: known errors become one line and an exit code, a bug keeps its traceback."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        state.command = name
        start_logging()
        signal.signal(signal.SIGTERM, interrupt)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # in the background of a script it is ignored, and stays so
            signal.signal(signal.SIGINT, interrupt)
        code = run_to_code(lambda: function(*args, **kwargs))
        if code:  # raised here, where the error and all that its frames held (worker processes, files) is gone
            raise typer.Exit(code)

    return command


def run_to_code(call: Callable[[], None]) -> int:
    """0, or the exit code of the known error that ended the call, said in one line."""
    try:
        call()
        sys.stdout.flush()
    except HandtoolError as error:
        say(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return errors.INTERRUPTED
    except Terminated:
        say("terminated")
        return errors.TERMINATED
    except BrokenPipeError:
        drop_output()
        return errors.BROKEN_PIPE
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        drop_output()
        say((f"{error.filename}: " if error.filename else "") + os.strerror(error.errno).lower())
        return errors.COULD_NOT
    return 0


def drop_output() -> None:
    """What is still in the buffer of standard output cannot be written, and Python would complain of it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def interrupt(number: int, frame: "FrameType | None") -> None:
    """Raises where it is heard. libhdf5 swallows what is raised while it writes through store/disk.py, and a write is lost: later, then."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "handtool.store.disk":
            again = threading.Timer(0.01, signal.raise_signal, [number])
            again.daemon = True
            return again.start()
        frame = frame.f_back
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextlib.contextmanager
def open_sources(names: list[str]) -> Iterator[list["File"]]:
    """The inputs, opened and checked; `-` is standard input, spooled if it is a pipe."""
    from handtool.store import file, open_file, receive

    file.moved_files[:] = state.moved
    if names.count("-") > 1:
        raise WrongCommand("standard input can be only one of the sources")
    with contextlib.ExitStack() as stack:
        opened = []
        for name in names:
            path, spooled = receive() if name == "-" else (Path(name), False)
            if spooled:
                stack.callback(path.unlink, missing_ok=True)
            elif name == "-":
                state.redirected = path
            opened.append(stack.enter_context(open_file(path, carried=spooled or path == state.spool)))
            log.debug("reads %s (uuid %s)", "standard input" if opened[-1].carried else path, opened[-1].uuid)
        yield opened


def open_raw(names: list[str]) -> list[Path]:
    """Raw material: videos, images, folders. HandtoolError where it does not exist."""
    if not names or "-" in names:
        raise WrongCommand("videos and images are named, they cannot come by pipe", hint=f"handtool {state.command} PATH -o FILE")
    for name in names:
        if not Path(name).exists():
            raise HandtoolError(f"{name} does not exist", hint=f"ls {Path(name).parent}")
    return [Path(name) for name in names]


def produce(
    stage: Callable,
    sources: list[str],
    output: str | None,
    config: Any,
    *,
    force: bool = False,
    as_json: bool = False,
    resumable: bool = False,
    restart: bool = False,
    raw: bool = False,
    extra: dict[str, str | None] | None = None,
    report_only: bool = False,
    check: Callable[[], None] | None = None,
    table: Callable[[dict], list[str]] | None = None,
) -> None:
    """Runs a stage between its sources and its output, and shows its report.

    `raw`: sources are paths, not handtool files. `extra`: further input files, given to the stage by keyword. `report_only`:
    no output named means none is written. `check` looks at the machine before anything else. `table` lays the report out.
    """
    from handtool import store

    if check:
        check()
    target = None if output in (None, "-") else Path(output)
    state.streaming = output == "-"
    if state.streaming:
        store.refuse_terminal()
    with contextlib.ExitStack() as stack:
        paths = open_raw(sources) if raw else []
        files = [] if raw else stack.enter_context(open_sources(sources))
        others = {key: stack.enter_context(open_extra(name)) for key, name in (extra or {}).items() if name}
        inputs = [*map(store.stamp_raw, paths), *map(stamp, files), *map(stamp, others.values())]
        record = make_record(config, inputs, streamed=target is None)
        log.debug("settings %s", record.settings)
        if target is not None and not force and (kept := read_kept_report(target, record)) is not None and not restart:
            return print_report(kept, as_json, target, up_to_date=True, table=table)
        refuse_own_input(target, [*paths, *files, *others.values()])
        parents = [*files, *(f for f in others.values() if isinstance(f, store.File))]
        given = [paths] if raw else files[:1] if len(sources) == 1 and not takes_list(stage) else [files]
        if output is None and report_only:
            return print_report(stage(*given, None, config, progress=bars(stack), **others), as_json, None, table=table)
        job = stack.enter_context(store.open_job(target, record, restart)) if resumable else None
        keywords = {**others, **({"job": job} if job else {})}
        sink = stack.enter_context(store.create_file(target, record, parents))
        report = stage(*given, sink, config, progress=bars(stack), **keywords)
        sink.finish(report)
        if job:
            job.remove()
        if target is None:
            store.send(sink)
        log.debug("wrote %s, uuid %s", target or "standard output", sink.uuid)
        print_report(report, as_json, target, table=table)


def takes_list(stage: Callable) -> bool:
    """A stage whose first parameter is `sources` takes all of them at once."""
    return next(iter(stage.__annotations__)) == "sources"


def make_record(config: Any, inputs: list, streamed: bool) -> "Record":
    from handtool.store import Record
    from handtool.store.provenance import command_line

    values = dataclasses.asdict(config)
    command = command_line() + (f" < {shlex.quote(str(state.redirected))}" if state.redirected else "")
    return Record(f"handtool {state.command}", values, inputs, command, values.get("seed", -1), streamed)


def stamp(file: "File | Path") -> Any:
    """An input as the history records it."""
    from handtool.store import Input, stamp_raw

    if isinstance(file, Path):
        return stamp_raw(file)
    return Input("-" if file.carried else str(file.path), file.path.stat().st_size, file.uuid)


@contextlib.contextmanager
def open_extra(name: str) -> Iterator["File | Path"]:
    """A further input: a file of ours, opened, or raw material, as a path."""
    from handtool.store import open_file
    from handtool.store.walk import SIGNATURE

    path = Path(name)
    if not path.exists():
        raise HandtoolError(f"{path} does not exist", hint=f"ls {path.parent}")
    head = path.open("rb").read(8) if path.is_file() else b""
    if head != SIGNATURE and path.suffix not in (".h5", ".hdf5"):
        yield path
    else:
        with open_file(path) as file:
            yield file


def read_kept_report(target: Path, record: "Record") -> dict | None:
    """The report of an output that this very command made already; None where there is no output.

    Errors: HandtoolError where the output is another one, with what differs.
    """
    from handtool.errors import DamagedFile
    from handtool.store import find_broken_links, open_file
    from handtool.store.disk import refuse_no_file

    if not target.exists():
        return None
    refuse_no_file(target)
    try:
        with open_file(target) as kept:
            last, broken = kept.provenance[-1], find_broken_links(kept)
    except DamagedFile as error:
        raise HandtoolError(f"{target} exists and is not a sound handtool file ({error.message})", hint="choose another -o, or add --force") from error
    if last["fingerprint"] != record.fingerprint:
        raise HandtoolError(f"{target} exists, made {difference(last, record)}", hint="add --force to make it anew, or choose another -o")
    if broken:
        raise HandtoolError(broken[0].message, hint="add --force to make it anew, or choose another -o")
    return last["report"]


def difference(last: dict, record: "Record") -> str:
    """What sets an existing output apart from the one asked for, in words."""
    if last["program"] != record.program:
        return f"by `{last['program']}`"
    settings = record.settings
    changed = [f"{k} {last['config'].get(k)} instead of {v}" for k, v in settings.items() if last["config"].get(k) != v]
    if changed:
        return "with " + ", ".join(changed)
    have = [item["uuid"] or item["stamp"] for item in last["inputs"]]
    names = [item.path for item in record.inputs if (item.uuid or item.stamp) not in have]
    return "from other inputs" + (f" ({', '.join(names)} differs)" if names else "")


def refuse_own_input(target: Path | None, inputs: list["File | Path"]) -> None:
    """An output over its own input, or over a file that an input links to, would destroy what it is made of."""
    paths = [path for item in inputs for path in ([item] if isinstance(item, Path) else [item.path, *item.linked_paths()])]
    if target is not None and target.exists() and any(path.exists() and os.path.samefile(target, path) for path in paths):
        raise WrongCommand(f"{target} is both input and output", hint="choose another -o")


def bars(stack: contextlib.ExitStack) -> Callable:
    """Progress bars on a terminal, silence elsewhere."""
    from handtool.progress import silent

    if state.quiet or not sys.stderr.isatty():
        return silent
    from handtool.cli.bars import Bars

    return stack.enter_context(Bars())


def write_other(output: str, data: bytes, force: bool) -> str:
    """A picture, a page or a table of text: whole or not at all. An existing one is `up to date` if its bytes are the same.

    Returns what happened: "written" or "up to date". Errors: HandtoolError where it exists with other bytes.
    """
    from handtool.store import refuse_terminal, write_bytes_whole

    if output == "-":
        if b"\0" in data:
            refuse_terminal("a picture", "display -")
        sys.stdout.buffer.write(data)
        return "written"
    path = Path(output)
    if path.exists() and not force:
        if path.is_file() and path.read_bytes() == data:
            logging.getLogger("handtool").info("%s is up to date", path)
            return "up to date"
        raise HandtoolError(f"{path} exists, with another content", hint="add --force to make it anew, or choose another -o")
    write_bytes_whole(path, data)
    return "written"
