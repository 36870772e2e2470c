"""Batches from the CPU to the device, copied while the GPU computes: only page-locked memory permits that."""

from collections.abc import Generator
from contextlib import closing

import torch
from torch import Tensor

Batches = Generator[Tensor, None, None]


def move_ahead(batches: Batches, device: torch.device) -> Batches:
    """Batches, none longer than the first, on the device. A GPU copies the next batch while it works on this one.

    `batches` is a generator and is closed with this one.
    """
    if device.type != "cuda":
        yield from batches
        return
    with closing(batches):
        stream, waiting, pages = torch.cuda.Stream(device), None, []
        for number, batch in enumerate(batches):
            if number < 2:
                pages.append((torch.empty(batch.shape, dtype=batch.dtype, pin_memory=True), torch.cuda.Event()))
            locked, copied = pages[number % 2]
            copied.synchronize()  # the copy of two batches ago, out of the same pages
            locked[: len(batch)].copy_(batch)
            with torch.cuda.stream(stream):
                moved = locked[: len(batch)].to(device, non_blocking=True)
                copied.record()
            if waiting:
                yield wait_for_copy(*waiting)
            waiting = (moved, copied)
        if waiting:
            yield wait_for_copy(*waiting)


def wait_for_copy(batch: Tensor, event: torch.cuda.Event) -> Tensor:
    """The batch, for use on the computing stream: work queued there from now on waits for the copy, and the memory
    is kept until that work is done."""
    torch.cuda.current_stream().wait_event(event)
    batch.record_stream(torch.cuda.current_stream())
    return batch
