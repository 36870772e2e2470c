"""Options of the commands that look for hands in footage: extract, and predict on videos and images."""

from typing import Annotated

import typer

from handtool.config import DETECTORS

PANEL = "Frames and hands"

Fps = Annotated[
    float,
    typer.Option("--fps", min=1e-6, help="Frames kept per second of video, by time stamp.", rich_help_panel=PANEL),
]
Detector = Annotated[
    str,
    typer.Option(
        "--detector",
        metavar="|".join((*DETECTORS, "FILE")),
        help=f"Who finds the hands, or the file of a model: {', '.join(end for each in DETECTORS.values() for end in each.endings)}.",
        rich_help_panel=PANEL,
    ),
]
Boxes = Annotated[
    str | None,
    typer.Option(
        "--boxes",
        metavar="FILE",
        help="Hands in place of a detector: COCO json, 100DOH json, or CSV.",
        rich_help_panel=PANEL,
    ),
]
Whole = Annotated[bool, typer.Option("--whole", help="Each image is a hand already.", rich_help_panel=PANEL)]
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
    float, typer.Option("--min-score", min=0.0, max=1.0, help="Hands below are not kept.", rich_help_panel=PANEL)
]
MinHand = Annotated[
    float,
    typer.Option(
        "--min-hand",
        min=0.0,
        metavar="PX",
        help="Hands whose box is smaller (larger side, in the frame) are not kept.",
        rich_help_panel=PANEL,
    ),
]
TrackFps = Annotated[
    float,
    typer.Option(
        "--track-fps",
        min=0.0,
        help="Look at so many frames a second to follow hands between kept frames; 0: at none.",
        rich_help_panel=PANEL,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="Only the first N videos or images.", rich_help_panel=PANEL),
]


def find_lens(camera: str | None) -> str | None:
    """The file that --camera names; None where it gives the numbers."""
    return camera if camera and "," not in camera else None
