"""The curve in TensorBoard, to compare many runs. Optional: needs the extra `tensorboard`."""

import math
from importlib.util import find_spec

from handtool.errors import HandtoolError
from handtool.nn.training.curve import Curve

LEFT_OUT = ("step", "seconds")


class TensorBoard:
    """Writes new steps of the curve into `folder`; None: nothing. A resumed run hides earlier entries of the steps
    that it repeats."""

    def __init__(self, folder: str | None, curve: Curve) -> None:
        self.written = len(curve)
        self.writer = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(folder, purge_step=self.written)

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer:
            self.writer.close()

    def write(self, curve: Curve) -> None:
        """Writes all steps that are fetched and not yet written."""
        if self.writer:
            for place in range(self.written, len(curve.values["loss"])):
                for name in curve.columns.keys() - LEFT_OUT:
                    if not math.isnan(curve.values[name][place]):
                        self.writer.add_scalar(name, curve.values[name][place], place)
        self.written = len(curve.values["loss"])


def check_tensorboard(folder: str | None) -> None:
    """Raises HandtoolError if --tensorboard is given and TensorBoard is not installed."""
    if folder is not None and find_spec("tensorboard") is None:
        raise HandtoolError(
            "--tensorboard needs TensorBoard, which is not installed", hint="pip install 'handtool[tensorboard]'"
        )
