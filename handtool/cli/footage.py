"""Options of the commands that look for hands in footage: extract, and predict on videos and images."""

from typing import Annotated

import typer

from handtool.cli.models import ONNX
from handtool.config import DETECTORS

PANEL = "Frames and hands"

Fps = Annotated[
    float,
    typer.Option(
        "--fps", metavar="N", min=1e-6, help="Frames kept per second of video, by time stamp.", rich_help_panel=PANEL
    ),
]
Detector = Annotated[
    str,
    typer.Option(
        "--detector",
        metavar="|".join((*DETECTORS, "FILE")),
        help=f"What finds the hands; a model's file: {', '.join(e for d in DETECTORS.values() for e in d.endings)}.",
        rich_help_panel=PANEL,
    ),
]
Boxes = Annotated[
    str | None,
    typer.Option(
        "--boxes",
        metavar="FILE",
        help="Known boxes of hands, in place of a detector: COCO json, 100DOH json, or CSV.",
        rich_help_panel=PANEL,
    ),
]
Whole = Annotated[
    bool, typer.Option("--whole", help="Each image already is the crop of one hand.", rich_help_panel=PANEL)
]
Camera = Annotated[
    str | None,
    typer.Option(
        "--camera",
        metavar="FILE|fx,fy,cx,cy",
        help="Intrinsics in px, or json {model, K, distortion}.",
        rich_help_panel=PANEL,
    ),
]
MinScore = Annotated[
    float,
    typer.Option(
        "--min-score",
        metavar="SCORE",
        min=0.0,
        max=1.0,
        help="Leave out hands whose score (0 to 1) is lower.",
        rich_help_panel=PANEL,
    ),
]
MinHand = Annotated[
    float,
    typer.Option(
        "--min-hand",
        min=0.0,
        metavar="PX",
        help="Leave out hands whose box is smaller (larger side, in the frame).",
        rich_help_panel=PANEL,
    ),
]
Onnx = Annotated[list[str] | None, typer.Option("--onnx", **ONNX, rich_help_panel=PANEL)]
TrackFps = Annotated[
    float,
    typer.Option(
        "--track-fps",
        metavar="N",
        min=0.0,
        help="Look at so many frames a second to follow hands between kept frames; 0: at none.",
        rich_help_panel=PANEL,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        metavar="N",
        help="Take only the first N videos or images.",
        show_default="no limit",
        rich_help_panel=PANEL,
    ),
]


def find_lens(camera: str | None) -> str | None:
    """The file that --camera names; None where it gives the numbers."""
    return camera if camera and "," not in camera else None
