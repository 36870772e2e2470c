"""What the shared options said, for the one command that this process runs."""

from pathlib import Path

command = "handtool"
quiet = False
verbose = False
streaming = False  # standard output carries HDF5, so the report goes to standard error
spool: Path | None = None  # standard input, kept by a command that reads it more than once
redirected: Path | None = None  # the file on standard input (< FILE)
moved: list[Path] = []
