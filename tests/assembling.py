"""A hand_landmarker.task of the two networks that MediaPipe 0.10.21 carries for its older API. The published file holds
the same two; it cannot be fetched everywhere.

    python tests/assembling.py WHEEL|FOLDER FILE     (needs mediapipe >= 0.10.21 and handtool)
"""

import importlib.util
import sys
import types
import zipfile
from pathlib import Path

from handtool.errors import HandtoolError
from handtool.vision.mediapipe_package import find_api

PARTS = {"hand_detector.tflite": ("palm_detection", 2), "hand_landmarks_detector.tflite": ("hand_landmark", 4)}

# of asl_hand.mp4: mean distance to the reference as a share of the hand's extent; 1.5 % and 2.6 to 3.6 % in docs/LOG.md
FARTHEST = {"solutions": 0.025, "tasks": 0.04}


def assemble(source: Path, place: Path) -> Path:
    """source: the wheel of 0.10.21, or the folder where that package is installed."""
    add_what_1_x_lacks()
    from mediapipe.tasks.python.metadata.metadata_writers.metadata_writer import MetadataWriter

    with zipfile.ZipFile(place, "w") as archive:
        for name, (module, outputs) in PARTS.items():
            writer = MetadataWriter.create(bytearray(read_network(source, f"modules/{module}/{module}_full.tflite")))
            writer.add_image_input([0.0], [255.0])
            for number in range(outputs):
                writer.add_feature_output(f"output {number}")
            archive.writestr(zipfile.ZipInfo(name), bytes(writer.populate()[0]))  # without the time
    return place


def add_what_1_x_lacks() -> None:
    """1.2.3 ships its writer of metadata without the compiled module that names the oldest reader: 1.0.0 for these."""

    if importlib.util.find_spec("mediapipe.tasks.cc") is None:
        for name in ("cc", "cc.metadata", "cc.metadata.python"):
            sys.modules[f"mediapipe.tasks.{name}"] = types.ModuleType(name)
        reader = types.SimpleNamespace(GetMinimumMetadataParserVersion=lambda metadata: "1.0.0")
        sys.modules["mediapipe.tasks.cc.metadata.python"]._pywrap_metadata_version = reader


def read_network(source: Path, name: str) -> bytes:
    if source.is_dir():
        return (source / name).read_bytes()
    with zipfile.ZipFile(source) as wheel:
        return wheel.read(f"mediapipe/{name}")


def why_not() -> str:
    """Why there is no MediaPipe here that works without naming a file; empty: there is."""
    try:
        find_api()
    except HandtoolError as error:
        return f"{error.message}: {error.hint}"
    return ""


if __name__ == "__main__":
    Path(sys.argv[2]).parent.mkdir(parents=True, exist_ok=True)
    assemble(Path(sys.argv[1]), Path(sys.argv[2]))
