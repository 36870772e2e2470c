"""The state of a training as named arrays, and back. The arrays are stored as an HDF5 part of the job; nothing is
pickled."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.amp import GradScaler


def pack(model: nn.Module, optimiser: torch.optim.Optimizer, scaler: GradScaler | None = None) -> dict[str, np.ndarray]:
    """`model/<name>` for parameters and buffers, `optimiser/<number of the parameter>/<name>` for the state of the
    optimiser, `scaler/<name>` for a gradient scaler that is enabled."""
    arrays = {f"model/{name}": to_array(value) for name, value in model.state_dict().items()}
    for number, kept in optimiser.state_dict()["state"].items():
        arrays |= {f"optimiser/{number}/{name}": to_array(value) for name, value in kept.items()}
    return arrays | {
        f"scaler/{name}": np.array(value) for name, value in (scaler.state_dict() if scaler else {}).items()
    }


def unpack(
    state: Mapping[str, Any], model: nn.Module, optimiser: torch.optim.Optimizer, scaler: GradScaler | None = None
) -> None:
    """Restores the arrays of `pack` into a model, an optimiser and a scaler made with the same settings."""
    load_model(state, model)
    groups = optimiser.state_dict()["param_groups"]
    kept: dict[int, dict[str, torch.Tensor]] = {
        int(number): {} for number in {key.split("/")[1] for key in state if key.startswith("optimiser/")}
    }
    for key, value in state.items():
        if key.startswith("optimiser/"):
            _, number, name = key.split("/")
            kept[int(number)][name] = torch.from_numpy(np.array(value))
    optimiser.load_state_dict({"state": kept, "param_groups": groups})
    if scaler and scaler.is_enabled():
        scaler.load_state_dict(
            {name: type(value)(state[f"scaler/{name}"]) for name, value in scaler.state_dict().items()}
        )
    # A fused optimiser reads weights and moments in memory order: the moments need the weights' layout (channels last).
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def load_model(state: Mapping[str, object], model: nn.Module) -> None:
    """Only the `model/` part, strictly by name."""
    model.load_state_dict(
        {
            key.removeprefix("model/"): torch.from_numpy(np.array(value))
            for key, value in state.items()
            if key.startswith("model/")
        }
    )


class KeptBuffers:
    """The running statistics of batch norm as they were after the last whole step: those of a model change in the
    forward pass, its weights after the backward pass."""

    def __init__(self, model: nn.Module) -> None:
        saved = model.state_dict().keys()
        self.live = {name: value for name, value in model.named_buffers() if name in saved}
        self.kept = {name: value.clone() for name, value in self.live.items()}

    @torch.no_grad()
    def update(self) -> None:
        if self.live:
            torch._foreach_copy_(list(self.kept.values()), list(self.live.values()))

    def arrays(self) -> dict[str, np.ndarray]:
        """By the names of `pack`."""
        return {f"model/{name}": to_array(value) for name, value in self.kept.items()}


def to_array(value: torch.Tensor) -> np.ndarray:
    return value.detach().cpu().contiguous().numpy()
