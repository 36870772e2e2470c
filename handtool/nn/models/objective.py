"""What a training minimises: the interface between the objectives (one per file) and the training loop
(nn/training/loop.py).

A new objective is a class like `PretrainObjective` or `PoseObjective`: a model, how it uses the crops of a batch,
and a loss.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

Figures = tuple[Tensor, Tensor]  # the loss, a scalar with gradient, and (F,) the `figures`, without


class Objective(ABC):
    """From the crops of a batch to its loss. `batch`: what the data source of this objective gives with them
    (nn/files/draws.py)."""

    item = "hands"  # what a batch consists of, in the plural
    figures: tuple[str, ...] = ()  # results of a pass besides its loss: columns of the curve
    across_processes = False  # the loss compares each item with those of all processes
    shown: tuple[str, ...] = ()  # figures shown beside the progress bar

    def __init__(self, model: nn.Module, network: nn.Module | None = None) -> None:
        """`model` is trained and saved. `network` is called in each pass, wrapped by DDP and compiled by --compile:
        the model itself, or a module around it whose parameters are the model's."""
        self.model, self.network = model, network or model

    @abstractmethod
    def __call__(self, network: nn.Module, batch: Any, crops: Tensor) -> Figures:
        """One forward pass. `network`: self.network, maybe wrapped; crops (A, S, S, 3) uint8 as stored, on the device.

        The means of loss and figures over processes must be those of the joined batch, and so must the gradient once
        DDP has averaged it.
        """

    @abstractmethod
    def probe_memory(self, images: int) -> Tensor:
        """A scalar whose forward and backward pass need as much memory as a training pass of `images` images (here
        zeros). It is run on fake tensors to estimate the memory of a step."""

    def probe_loss_memory(self, items: int) -> Tensor | None:
        """The same for the part whose memory grows with the square of the number of items; None if there is none."""
        return None

    def warning(self, figures: Mapping[str, float]) -> str | None:
        """A warning about the figures of a step, logged once per run; None if they are fine."""
        return None
