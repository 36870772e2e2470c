"""Options of the commands that look for hands in footage: extract, and predict on videos and images."""

from typing import Annotated

from handtool.cli.models import ONNX
from handtool.cli.options import option
from handtool.config import DETECTORS

PANEL = "Frames and hands"

Fps = Annotated[float, option("--fps N", "Frames kept per second of video, by time stamp.", PANEL, min=1e-6)]
Detector = Annotated[
    str,
    option(
        f"--detector {'|'.join((*DETECTORS, 'FILE'))}",
        f"What finds the hands; a model's file: {', '.join(e for d in DETECTORS.values() for e in d.endings)}.",
        PANEL,
    ),
]
Boxes = Annotated[
    str | None,
    option("--boxes FILE", "Known boxes of hands, in place of a detector: COCO json, 100DOH json, or CSV.", PANEL),
]
Whole = Annotated[bool, option("--whole", "Each image already is the crop of one hand.", PANEL)]
Camera = Annotated[
    str | None, option("--camera FILE|fx,fy,cx,cy", "Intrinsics in px, or json {model, K, distortion}.", PANEL)
]
MinScore = Annotated[
    float, option("--min-score SCORE", "Leave out hands whose score (0 to 1) is lower.", PANEL, min=0.0, max=1.0)
]
MinHand = Annotated[
    float, option("--min-hand PX", "Leave out hands whose box is smaller (larger side, in the frame).", PANEL, min=0.0)
]
Onnx = Annotated[list[str] | None, option(*ONNX, PANEL)]
TrackFps = Annotated[
    float,
    option(
        "--track-fps N",
        "Look at so many frames a second to follow hands between kept frames; 0: at none.",
        PANEL,
        min=0.0,
    ),
]
Limit = Annotated[
    int | None, option("--limit N", "Take only the first N videos or images.", PANEL, min=1, show_default="no limit")
]


def find_lens(camera: str | None) -> str | None:
    """The file that --camera names; None where it gives the numbers."""
    return camera if camera and "," not in camera else None
