"""Runs a command and its stage: `-` on both sides, `up to date`, whole outputs, one report, the right exit code."""

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
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from handtool import errors
from handtool.cli import state
from handtool.cli.inputs import open_extra, open_raw, open_sources, read_list, stamp
from handtool.cli.outputs import open_failed, read_kept_report, refuse_own_input
from handtool.cli.printing import lay_out, print_report, say, start_logging
from handtool.errors import HandtoolError, Terminated

if TYPE_CHECKING:
    from types import FrameType

    from handtool.store import Job, Record


# Errors of the machine, not of the program: exit 1 wherever they happen. Other OSErrors are bugs.
REFUSALS = {
    getattr(errno, name)
    for name in (
        "EACCES EPERM EROFS ENOSPC EDQUOT EFBIG ENAMETOOLONG EIO EMFILE ENFILE ENOENT ENOTDIR EISDIR ELOOP ESTALE "
        "ENODEV ENXIO ENOTCONN EREMOTEIO EAGAIN ENOMEM EBUSY ETIMEDOUT"
    ).split()
    if hasattr(errno, name)
}
log = logging.getLogger(__name__)
FINALIZER = "multiprocessing.util", "__call__"
arrived: list[int] = []  # signals that were raised: what fails afterwards fails for them


def with_exit_code(function: Callable, name: str) -> Callable:
    """The command as the shell runs it: known errors become one line and an exit code, a bug keeps its traceback."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        state.command = name
        if state.reports is not None:  # called from Python: the caller handles errors and signals
            return function(*args, **kwargs)
        start_logging()
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

        def call() -> None:
            obey_signals(interrupt)
            function(*args, **kwargs)

        code = run_to_code(call)
        if code:  # raised here, after the error is gone and with it all that its frames held: processes, files
            raise typer.Exit(code)

    return command


def run_to_code(call: Callable[[], None]) -> int:
    """0, or the exit code of the known error that ended the call, which is printed in one line.

    In a call from Python (state.reports) errors pass through.
    """
    if state.reports is not None:
        call()
        return 0
    try:
        try:
            call()
            sys.stdout.flush()
        finally:
            obey_signals(leave_at_once)  # everything is written and closed
    except BaseException as error:
        code = explain(error)
        if code is None:
            raise
        return code
    return 0


def explain(error: BaseException) -> int | None:
    """Says in one line what has ended the command. Returns the exit code; None for a bug, which keeps its traceback."""
    if isinstance(error, (KeyboardInterrupt, Terminated)) or (arrived and isinstance(error, Exception)):
        exec("")  # CPython else ends as if nobody had caught what was raised inside another exec (of a dataclass, say)
        is_terminated = isinstance(error, Terminated) or signal.SIGTERM in arrived
        say("terminated" if is_terminated else "interrupted")
        return errors.TERMINATED if is_terminated else errors.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        drop_output()
        return errors.BROKEN_PIPE
    if isinstance(error, Exception) and (changed := find_changed()):
        say(f"{changed} was changed while it was read", "run it again")
        return errors.DAMAGED
    if isinstance(error, HandtoolError):
        say(error.message, error.hint)
        return error.exit_code
    if isinstance(error, OSError) and error.errno in REFUSALS:
        log.debug("where it happened", exc_info=error)
        drop_output()
        if error.errno == errno.ENOENT and not has_folder():
            say("the current folder is gone", "cd to one that is there")
        else:
            place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
            say(place + os.strerror(error.errno).lower())
        return errors.COULD_NOT
    return None


def find_changed() -> "Path | None":
    """An input that was overwritten in place since it was opened."""
    reading = sys.modules.get("handtool.store.file")
    return reading.find_changed() if reading else None


def has_folder() -> bool:
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def drop_output() -> None:
    """Send what is still buffered for standard output to /dev/null, since Python would fail to write it at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def obey_signals(handler: Callable) -> None:
    """On Ctrl-C and SIGTERM, unless this is a script's background process, which ignores SIGINT and continues to."""
    signal.signal(signal.SIGTERM, handler)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def leave_at_once(number: int, frame: "FrameType | None") -> NoReturn:
    """Before and after a command there is nothing to clean up."""
    os._exit(128 + number)


def interrupt(number: int, frame: "FrameType | None") -> None:
    """Raise KeyboardInterrupt or Terminated, if need be a little later.

    libhdf5 swallows what is raised while it writes through store/disk.py (and the write is lost), Python what is raised
    in finalizers and weak references: there a timer sends the signal again.
    """
    while frame is not None:
        place = frame.f_globals.get("__name__"), frame.f_code.co_name
        if place[0] in ("handtool.store.disk", "weakref") or place[1] == "__del__" or place == FINALIZER:
            # To the main thread, so that a read that waits there ends.
            again = threading.Timer(0.01, signal.pthread_kill, [threading.main_thread().ident, number])
            again.daemon = True
            return again.start()
        frame = frame.f_back
    arrived.append(number)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def run_stage(
    stage: Callable,
    sources: list[str],
    output: str | None,
    config: Any,
    *,
    force: bool = False,
    restart: bool | None = None,
    raw: bool = False,
    listed: str | None = None,
    retry: bool = False,
    extra: dict[str, str | None] | None = None,
    report_only: bool = False,
    check: Callable[[], None] | None = None,
    plan: Callable[..., dict] | None = None,
    lead: Callable[[], AbstractContextManager] | None = None,
    table: Callable[[dict], list[str]] | None = lay_out,
) -> dict:
    """Run a stage from its sources to its output; print and return its report.

    restart: anew instead of from OUT.partial/; None: the stage cannot be resumed. raw: sources are paths, not handtool
    files. listed: a file that names further ones. retry: of an output that is there, what failed is done again. extra:
    further input files, which the stage gets by keyword.
    report_only: without a named output none is written. check: looks at the machine first. plan: what a training would
    really do, from source and config. lead: a context around everything on rank 0 of several; it gives the function
    that sends the other ranks into the stage. table: as of print_report.
    """
    from handtool import store

    if check:
        check()
    target = None if output in (None, "-") else Path(output)
    state.streaming = output == "-"
    if state.streaming:
        store.refuse_terminal()
    with contextlib.ExitStack() as stack:
        send_others = stack.enter_context(lead()) if lead else lambda: None
        paths = open_raw(sources) if raw and (sources or listed is None) else []
        named = {"listed": read_list(listed)} if listed is not None else {}
        files = [] if raw else stack.enter_context(open_sources(sources))
        others = {key: stack.enter_context(open_extra(name)) for key, name in (extra or {}).items() if name}
        inputs = [*map(store.stamp_raw, paths), *map(stamp, files), *map(stamp, others.values())]
        inputs += [store.stamp_list(str(listed), given) for given in named.values()]
        given = [paths] if raw else files[:1] if len(sources) == 1 and not takes_list(stage) else [files]
        planned = plan(*given, config, **others) if plan else {}
        record = make_record(config, inputs, streamed=target is None, plan=planned)
        log.debug("settings %s", record.settings)
        relisted = {inputs[-1].path: named["listed"]} if named else {}
        failed = stack.enter_context(open_failed(target, record, relisted)) if retry else None
        is_kept = target is not None and not force and failed is None
        if is_kept and (kept := read_kept_report(target, record)) is not None and not restart:
            if restart is not None:
                store.remove_leftover(target, record)
            return print_report(kept, target, up_to_date=True, table=table)
        read = [*paths, *files, *others.values(), *(item for item in named.get("listed", ()) if isinstance(item, Path))]
        read += [Path(listed)] if listed not in (None, "-") else []
        refuse_own_input(target, read, record.program)
        parents = [*files, *(f for f in others.values() if isinstance(f, store.File))]
        if output is None and report_only:
            return print_report(stage(*given, None, config, progress=bars(stack), **others), None, table=table)
        job = stack.enter_context(store.open_job(target, record, restart)) if restart is not None else None
        keywords = {**others, **named, **({"job": job} if job else {}), **({"kept": failed} if failed else {})}
        sink = stack.enter_context(store.create_file(target, record, parents))
        send_others()
        report = stage(*given, sink, config, progress=bars(stack, job), **keywords)
        sink.finish(report)
        if job:
            job.remove()
        if target is None:
            store.send(sink)
        log.debug("wrote %s, uuid %s", target or "standard output", sink.uuid)
        return print_report(report, target, table=table)


def make_config(kind: type, values: dict[str, Any], **derived: Any) -> Any:
    """A stage's settings, of that kind: `derived` ones as they are, others as `values`, the command's parameters, have
    them under their name. Lists become tuples. Where a parameter is None or missing, the config's default stands.
    """
    names = {field.name for field in dataclasses.fields(kind)}
    given = {name: value for name, value in values.items() if name in names and value is not None}
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in (given | derived).items()})


def takes_list(stage: Callable) -> bool:
    """Whether a stage takes all sources at once: its first parameter is then called `sources`."""
    return next(iter(stage.__annotations__)) == "sources"


def make_record(config: Any, inputs: list, streamed: bool, plan: dict | None = None) -> "Record":
    from handtool.store import Record

    values = dataclasses.asdict(config)
    command = state.line or shlex.join(["handtool", *sys.argv[1:]])
    command += f" < {shlex.quote(str(state.redirected))}" if state.redirected else ""
    return Record(f"handtool {state.command}", values, inputs, command, values.get("seed", -1), streamed, plan or {})


def bars(stack: contextlib.ExitStack, job: "Job | None" = None) -> Callable:
    """Progress bars on a terminal, a line a minute elsewhere, neither with --quiet; and a file for monitors in the
    folder of the job."""
    from handtool.cli.signs import Signs, together

    drawn = not state.quiet and sys.stderr.isatty()
    signs = Signs(not state.quiet and not drawn, job.folder / "progress.json" if job and job.lasting else None)
    if not drawn:
        return signs
    from handtool.cli.bars import Bars

    return together(stack.enter_context(Bars()), signs)
