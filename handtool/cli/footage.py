"""Options of the commands that look for hands in footage: extract, and predict on videos and images."""

from typing import Literal

from handtool.cli.models import ONNX
from handtool.cli.options import MACHINE, option
from handtool.config import DETECTORS

PANEL = "Frames and hands"

Fps = option(float, "--fps N", "Frames kept per second of video, by time stamp.", PANEL, min=1e-6)
Decode = option(
    Literal["auto", "all", "cuda", "vaapi"],
    "--decode",
    "auto: the frames that are looked at, and those that they are predicted from; all: every frame, so that all damage "
    "is counted; cuda, vaapi: as auto, by hardware (not measured), where there is none by the CPU.",
    MACHINE,
)
Detector = option(
    str,
    "--detector " + "|".join((*DETECTORS, "FILE")),
    f"What finds the hands; a model's file: {', '.join(e for d in DETECTORS.values() for e in d.endings)}.",
    PANEL,
)
Boxes = option(
    str | None,
    "--boxes FILE",
    "Known hands, in place of a detector: COCO or 100DOH json, mmpose's predictions, or CSV.",
    PANEL,
)
Hands = option(
    str | None,
    "--hands FILE",
    "Hands that another model found (boxes, keypoints, joints), in place of a detector: npz, parquet, json.",
    PANEL,
)
HandsAs = option(
    Literal["estimates", "labels"],
    "--hands-as",
    "What those are: estimates, which teach pre-training and --pool; or labels, which finetune and eval believe.",
    PANEL,
)
Whole = option(bool, "--whole", "Each image already is the crop of one hand.", PANEL)
Camera = option(
    str | None,
    "--camera auto|none|FILE|fx,fy,cx,cy|fov=DEG|exif",
    "auto: the intrinsics.json beside each video, or in a folder above. Else for all: such a file, json {model, K, "
    "distortion}, or intrinsics in px of the frames as they are shown (turned, pixels square); where nobody knows "
    "them, an assumption: the horizontal angle of view (fov=65), or the focal length that images and videos state.",
    PANEL,
    unset="auto",
)
Stream = option(
    int | None,
    "--stream N",
    "Read video stream N of each file, as ffprobe numbers them.",
    PANEL,
    min=0,
    unset="the longest, then largest",
)
MinScore = option(float, "--min-score SCORE", "Leave out hands whose score (0 to 1) is lower.", PANEL, min=0.0, max=1.0)
MinHand = option(
    float, "--min-hand PX", "Leave out hands whose box is smaller (larger side, in the frame).", PANEL, min=0.0
)
TrustLabels = option(
    bool,
    "--trust-labels",
    "Take labels as they are, also those that cannot be true: neither refuse nor mark them.",
    PANEL,
)
Onnx = option(list[str] | None, *ONNX, PANEL)
TrackFps = option(
    float,
    "--track-fps N",
    "Look at so many frames a second to follow hands between kept frames; 0: at none.",
    PANEL,
    min=0.0,
)
Limit = option(int | None, "--limit N", "Take only the first N videos or images.", PANEL, min=1, unset="no limit")


def find_lens(camera: str | None) -> str | None:
    """The file that --camera names; None where it is a word, gives the numbers, or an assumption."""
    is_word = camera in (None, "auto", "none", "exif") or "," in camera or camera.startswith("fov=")
    return None if is_word else camera
