"""What the shared options said, for the one command that this process runs."""

from pathlib import Path

command = "handtool"
line: str | None = None  # the command line that a call from Python stands for; None: sys.argv
reports: list[dict] | None = None  # of a call from Python: reports are kept here, nothing is printed
as_json = False
quiet = False
verbose = False
streaming = False  # standard output carries HDF5, so the report goes to standard error
spool: Path | None = None  # standard input, kept by a command that reads it more than once
redirected: Path | None = None  # the file on standard input (< FILE)
moved: list[Path] | None = None  # where linked files are now
