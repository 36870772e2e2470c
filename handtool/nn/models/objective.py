"""What a training minimises: the contract between an objective, of which there is one in each file, and the one loop
(nn/training/loop.py).

A new objective is a class like `ContrastiveObjective` or `PoseObjective`: a model, what it makes of the crops of a
batch, and a loss.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

Figures = tuple[Tensor, Tensor]  # the loss, a scalar with its gradient, and (F,) what `figures` names, without


class Objective:
    """From the crops of a batch to its loss. `batch` is what the data source of this objective says of them
    (nn/files/draws.py)."""

    item = "hands"  # what a batch has so many of
    figures: tuple[
        str, ...
    ] = ()  # what a pass says beside its loss; kept in the curve, where the schema has it in the file too
    across_processes = False  # the loss compares each item with those of all processes
    shown: tuple[str, ...] = ()  # those of them that stand beside the progress bar

    def __init__(self, model: nn.Module, network: nn.Module | None = None) -> None:
        """`model` is trained and kept. `network` is what the passes call, what DDP wraps and --compile compiles: the
        model, or a module around it whose parameters are the model's."""
        self.model, self.network = model, network or model

    def __call__(self, network: nn.Module, batch: Any, crops: Tensor) -> Figures:
        """One forward pass. `network`: self.network, maybe wrapped; crops (A, S, S, 3) uint8 as stored, on the device.

        The means of loss and figures over processes must be those of the joined batch, and so must the gradient once
        DDP has averaged it.
        """
        raise NotImplementedError

    def probe_memory(self, images: int) -> Tensor:
        """A scalar whose gradient takes the memory of a pass of so many images, all zeros: run on fake tensors, it
        tells that of a step."""
        raise NotImplementedError

    def probe_loss_memory(self, items: int) -> Tensor | None:
        """The part of a pass whose memory grows with the square of the items, likewise; None where nothing does."""
        return None

    def warning(self, figures: Mapping[str, float]) -> str | None:
        """What the figures of a step say that the user must hear, once; None where all is well."""
        return None
