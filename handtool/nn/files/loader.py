"""Crops decoded ahead by worker processes, a batch shared out among them, straight into memory that all share.

Shapes: B crops of a batch, S side of a crop in px.
"""

import logging
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from handtool.engine.parent import end_with_parent
from handtool.errors import HandtoolError
from handtool.nn.files.data import Crops

log = logging.getLogger(__name__)
AHEAD = 2  # pieces that each worker has been given and has not handed back
MIN_PIECE = (
    64  # crops of a piece, where a batch has as many: handing a piece over takes half as long as decoding a crop
)


def read_crops(
    crops: Crops, batches: Iterable[np.ndarray], workers: int, processes: int = 1
) -> Generator[Tensor, None, None]:
    """Decoded batches (B, S, S, 3) uint8 in the order of `batches` (arrays of rows, none longer than the first).

    `processes`: of this machine that read at the same time, each with so many workers; its shared memory is divided
    among them. A batch lasts until the one after the next is asked for: then its memory holds another. workers 0
    decodes here, without a process. Close the generator when leaving it early: the workers live until then. Raises
    DamagedFile as Crops.decode.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        return
    everything = chain([first], batches)
    workers = fit_workers(workers, len(first), crops.size, processes)
    if not workers:
        yield from map(crops.decode, everything)
        return
    slots = torch.empty(
        (count_slots(workers, len(first)), len(first), crops.size, crops.size, 3), dtype=torch.uint8
    ).share_memory_()
    lengths: deque[int] = deque()
    pieces = count_pieces(workers, len(first))
    loader = DataLoader(
        Pieces(crops, slots),
        batch_sampler=split_batches(everything, pieces, len(slots), lengths),  # type: ignore[arg-type]  # what Pieces takes
        num_workers=workers,
        collate_fn=identity,
        worker_init_fn=partial(start_worker, os.getpid()),
        prefetch_factor=AHEAD,
    )
    for number, error in enumerate(loader, 1):
        if error is not None:
            raise error
        batch, unfinished = divmod(number, pieces)
        if not unfinished:
            yield slots[(batch - 1) % len(slots), : lengths.popleft()]


def split_batches(
    batches: Iterable[np.ndarray], pieces: int, slots: int, lengths: deque
) -> Iterator[tuple[int, int, np.ndarray]]:
    """As many pieces of each batch: (number of its slot, first place in it, rows, maybe none). Adds each batch's
    length to `lengths`."""
    for number, rows in enumerate(batches):
        lengths.append(len(rows))
        start = 0
        for piece in np.array_split(rows, pieces):
            yield number % slots, start, piece
            start += len(piece)


def count_pieces(workers: int, batch: int) -> int:
    """Of each batch: one for each worker where that gives it MIN_PIECE crops."""
    return max(1, min(workers, batch // MIN_PIECE))


def count_slots(workers: int, batch: int) -> int:
    """Batches that have to be in memory at once: those in work, the one handed out last, and the one before it."""
    return -(-AHEAD * workers // count_pieces(workers, batch)) + 2


def fit_workers(workers: int, batch: int, size: int, processes: int = 1) -> int:
    """As many workers as this process' part of shared memory has room for; 0 where not even one worker's batches fit
    (containers often come with 64 MiB)."""
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return workers
    room = found.f_bavail * found.f_frsize // processes
    fits = next(
        (fewer for fewer in range(workers, 0, -1) if count_slots(fewer, batch) * batch * size**2 * 3 <= room), 0
    )
    if fits < workers:
        log.warning(
            "%d decoding processes instead of %d: /dev/shm has room for %d MiB%s (docker run --shm-size, or a smaller batch)",
            fits,
            workers,
            room >> 20,
            " each" if processes > 1 else "",
        )
    return fits


@dataclass(frozen=True)
class Pieces(Dataset):
    """Parts of batches, decoded where they belong. Shared memory is used again and again: fresh pages for each batch
    cost as much as half of its decoding."""

    crops: Crops
    slots: Tensor  # (slots, B, S, S, 3) uint8, shared

    def __getitems__(self, asked: tuple[int, int, np.ndarray]) -> HandtoolError | None:
        slot, start, rows = asked
        try:  # handed over as a value: raised in a worker it would reach the user wrapped in that worker's traceback
            self.crops.decode(rows, self.slots[slot, start : start + len(rows)])
        except HandtoolError as error:
            return error
        return None


def identity(error: Any) -> Any:  # HandtoolError or None, from Pieces
    return error


def start_worker(parent: int, number: int) -> None:
    cv2.setNumThreads(0)
    # A scheduler sends SIGTERM to every process of a job; the training one still needs its batches until it has saved. It then
    # closes the loader, which ends the workers; should it die, the kernel does.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent(parent)


def in_order(num_rows: int, batch_size: int) -> list[np.ndarray]:
    """All rows once, in order; the last batch may be smaller."""
    return [np.arange(start, min(start + batch_size, num_rows)) for start in range(0, num_rows, batch_size)]


def count_workers(workers: int, processes: int = 1) -> int:
    """Decoding processes for each of `processes` on this machine; 0 = one per core that we may use between them, at
    most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return workers or min(16, max(1, cores // processes))
