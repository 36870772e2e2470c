"""Crops decoded ahead of time by worker processes: each decodes pieces of a batch into shared memory.

Shapes: B crops of a batch, S side of a crop in px.
"""

import logging
import os
import signal
import sys
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

from handtool.cores import count_cores
from handtool.engine.parent import end_with_parent
from handtool.errors import HandtoolError
from handtool.nn.files.data import Crops
from handtool.signals import hold_signals

# Processes that `launch` spawned would spawn too, and a new interpreter takes 2 s of CPU and 400 MB to import torch.
FORK = "fork" if sys.platform == "linux" else None
log = logging.getLogger(__name__)
AHEAD = 2  # pieces that each worker has received and not yet returned
MIN_PIECE = 64  # crops of a piece, if the batch has as many: passing a piece costs as much as decoding half a crop


def read_crops(
    crops: Crops, batches: Iterable[np.ndarray], workers: int, processes: int = 1
) -> Generator[Tensor, None, None]:
    """Decoded batches (B, S, S, 3) uint8 in the order of `batches` (arrays of rows, none longer than the first).

    `processes`: the number of processes of this machine that read at the same time, each with `workers` workers; the
    machine's shared memory is divided among them. A batch stays valid until the one after the next is requested: then
    its memory is used again. workers=0 decodes in this process. Close the generator when leaving it early: the workers
    live until then. Raises DamagedFile as Crops.decode.
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
    shape = count_slots(workers, len(first)), len(first), crops.size, crops.size, 3
    slots = torch.empty(shape, dtype=torch.uint8).share_memory_()
    lengths: deque[int] = deque()
    pieces = count_pieces(workers, len(first))
    loader = DataLoader(
        Pieces(crops, slots),
        batch_sampler=split_batches(everything, pieces, len(slots), lengths),  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=identity,
        worker_init_fn=partial(start_worker, os.getpid()),
        prefetch_factor=AHEAD,
        multiprocessing_context=FORK,
    )
    with hold_signals():
        answers = iter(loader)  # makes the workers
    try:
        for number, error in enumerate(answers, 1):
            if error is not None:
                raise error
            batch, unfinished = divmod(number, pieces)
            if not unfinished:
                yield slots[(batch - 1) % len(slots), : lengths.popleft()]
    finally:
        del answers  # ends the workers now: an error's traceback would keep it, and the workers, to the end of all


def split_batches(
    batches: Iterable[np.ndarray], pieces: int, slots: int, lengths: deque
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Splits each batch into `pieces`: (number of its slot, first place in it, rows, maybe none). Adds each batch's
    length to `lengths`."""
    for number, rows in enumerate(batches):
        lengths.append(len(rows))
        start = 0
        for piece in np.array_split(rows, pieces):
            yield number % slots, start, piece
            start += len(piece)


def count_pieces(workers: int, batch: int) -> int:
    """Pieces per batch: one for each worker, if each piece then has MIN_PIECE crops."""
    return max(1, min(workers, batch // MIN_PIECE))


def count_slots(workers: int, batch: int) -> int:
    """Batches that must be in memory at once: those being decoded, the one yielded last, and the one before it."""
    return -(-AHEAD * workers // count_pieces(workers, batch)) + 2


def fit_workers(workers: int, batch: int, size: int, processes: int = 1) -> int:
    """At most `workers`: as many as this process' part of shared memory has room for; 0 if the batches of one worker
    do not fit (containers often have 64 MiB)."""
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return workers
    room = found.f_bavail * found.f_frsize // processes
    fits = workers
    while fits and count_slots(fits, batch) * batch * size**2 * 3 > room:
        fits -= 1
    if fits < workers:
        log.warning(
            "%d decoding processes instead of %d: /dev/shm has room for %d MiB%s (docker run --shm-size, or a smaller "
            "batch)",
            fits,
            workers,
            room >> 20,
            " each" if processes > 1 else "",
        )
    return fits


@dataclass(frozen=True)
class Pieces(Dataset):
    """Pieces of batches, decoded into their place in shared memory. The memory is used again and again: new pages
    for each batch would cost as much as half of its decoding."""

    crops: Crops
    slots: Tensor  # (slots, B, S, S, 3) uint8, shared

    def __getitems__(self, asked: tuple[int, int, np.ndarray]) -> HandtoolError | None:
        slot, start, rows = asked
        try:  # returned, not raised: DataLoader would wrap it in the worker's traceback
            self.crops.decode(rows, self.slots[slot, start : start + len(rows)])
        except HandtoolError as error:
            return error
        return None


def identity(error: Any) -> Any:  # HandtoolError or None, from Pieces
    return error


def start_worker(parent: int, number: int) -> None:
    cv2.setNumThreads(0)
    signal.set_wakeup_fd(-1)  # the training process hears of its own signals alone
    # A scheduler sends SIGTERM to every process of a job. The training process needs batches until it has saved; then
    # it closes the loader, which ends the workers. If it dies, the kernel ends them.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent(parent)


def in_order(num_rows: int, batch_size: int) -> list[np.ndarray]:
    """All rows once, in order; the last batch may be smaller."""
    return [np.arange(start, min(start + batch_size, num_rows)) for start in range(0, num_rows, batch_size)]


def count_workers(workers: int, processes: int = 1) -> int:
    """Decoding processes for each of `processes` on this machine; 0 = our cores / `processes`, at most 16."""
    return workers or min(16, max(1, count_cores() // processes))
