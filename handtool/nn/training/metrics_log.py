"""metrics.jsonl beside the checkpoint of a training, for whoever watches it: a line of JSON for each step."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

from handtool.nn.training.curve import Curve

NAME = "metrics.jsonl"


class MetricsLog:
    """Appends new steps of the curve to the file in `folder`; None: nothing. It begins with the steps of the
    checkpoint, so a resumed run has each step once. It goes with the folder; the output's /curve has all of it."""

    def __init__(self, folder: Path | None, curve: Curve) -> None:
        self.path, self.written = folder and folder / NAME, 0
        if self.path is not None:
            beside = self.path.with_name(f"{NAME}.new")
            with contextlib.suppress(OSError):
                beside.write_text("")
                self.append(beside, curve)
                os.replace(beside, self.path)

    def write(self, curve: Curve) -> None:
        """Writes all steps that are fetched and not yet written. A full disk does not end the training."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.append(self.path, curve)

    def append(self, path: Path, curve: Curve) -> None:
        steps = range(self.written, len(curve.values["loss"]))
        self.written = len(curve.values["loss"])
        with path.open("a") as file:
            file.writelines(lines(curve, steps))


def lines(curve: Curve, steps: range) -> Iterator[str]:
    for step in steps:
        values = {name: curve.values[name][step] for name in curve.columns}
        known = {name: float(f"{value:.7g}") for name, value in values.items() if not math.isnan(value)}
        yield json.dumps(known | {"step": step}) + "\n"
