"""Hands of one video on their way into the tables: each detection cut out, its columns collected in small blocks."""

from collections import Counter

import numpy as np

from handtool.hands.boxes import apply_affine, whole_image
from handtool.hands.camera import crop_camera
from handtool.vision.contracts import Detection
from handtool.vision.cropping import BadBox, cut_square, encode_jpeg, hand_square, is_stored_upright, whole_square
from handtool.vision.tracks import Linker

BLOCK_ROWS = 64  # larger ones make the memory grow with the length of the video
TYPES = {
    "frame": np.int64, "time": np.float64, "side": np.int8, "box": np.float32, "score": np.float32, "landmarks": np.float32,
    "landmarks_score": np.float32, "crop_from_frame": np.float64, "camera": np.float64,
    "labels/joints": np.float32, "labels/valid": bool, "labels/keypoints": np.float32, "labels/keypoints_valid": bool,
    "labels/scale": np.float32, "labels/visible": bool, "labels/sample_id": np.int64,
}  # fmt: skip


class Rows:
    """Grows hand by hand; `take_block` empties it. Counts what it refused and links what follows closely in time."""

    def __init__(self, size: int, box_scale: float, quality: int) -> None:
        self.size, self.box_scale, self.quality = size, box_scale, quality
        self.columns: dict[str, list] = {}
        self.jpegs: list[bytes] = []
        self.refused: Counter = Counter()
        self.sides = [0, 0, 0]  # LEFT, RIGHT, UNKNOWN
        self.linker = Linker()
        self.count = self.with_hands = self.jpeg_bytes = self.enlarged = 0

    def add(self, image: np.ndarray, number: int, time: float, hands: list[tuple[Detection, np.ndarray, dict]], jpeg: bytes | None) -> int:
        """hands: (detection, (3, 3) camera of the frame or NaN, label columns in px of the frame or {}). Returns how many could be cut out.

        jpeg: the image's own bytes, stored as they are where the crop is the image.
        """
        boxes = []
        for detection, camera, label in hands:
            try:
                self.add_hand(image, number, time, detection, camera, label, jpeg)
                boxes.append(detection.box)
            except BadBox as bad:
                self.refused[str(bad)] += 1
        if boxes:
            self.with_hands += 1
            self.linker.add(time, np.array(boxes))
        return len(boxes)

    def add_hand(
        self, image: np.ndarray, number: int, time: float, hand: Detection, camera: np.ndarray, label: dict, jpeg: bytes | None
    ) -> None:
        height, width = image.shape[:2]
        box = whole_image(width, height) if hand.whole else hand.box
        region = whole_square(width, height) if hand.whole else hand_square(box, self.box_scale, width, height)
        crop, affine = cut_square(image, region, self.size)
        as_it_is = jpeg is not None and np.array_equal(affine, np.eye(2, 3)) and is_stored_upright(jpeg, image)
        self.jpegs.append(jpeg if as_it_is else encode_jpeg(crop, self.quality))
        landmarks = np.full((21, 2), np.nan) if hand.landmarks is None else apply_affine(affine, hand.landmarks)
        row = {
            "frame": number, "time": time, "side": hand.side, "box": box, "score": hand.score, "landmarks": landmarks,
            "landmarks_score": hand.landmarks_score, "crop_from_frame": affine, "camera": crop_camera(affine, camera),
        }  # fmt: skip
        if label:
            label = {**label, "keypoints": apply_affine(affine, label["keypoints"])}
        for name, value in {**row, **{f"labels/{name}": value for name, value in label.items()}}.items():
            self.columns.setdefault(name, []).append(value)
        self.count += 1
        self.sides[hand.side] += 1
        self.jpeg_bytes += len(self.jpegs[-1])
        self.enlarged += not hand.whole

    def as_outcome(self) -> dict:
        """What is kept of the counts when the video is done; with_hands: frames."""
        kept = {name: getattr(self, name) for name in ("with_hands", "sides", "enlarged", "jpeg_bytes")}
        return {**kept, "hands": self.count, "refused": dict(self.refused), "tracks": self.linker.tracks()}

    @property
    def is_full(self) -> bool:
        return len(self.jpegs) >= BLOCK_ROWS

    def take_block(self) -> dict[str, object]:
        """The rows so far: column -> array; `jpeg` all bytes end to end, `jpeg_length` of each, `labels/sample_key` a list of texts."""
        block: dict[str, object] = {name: np.array(values, TYPES[name]) for name, values in self.columns.items() if name in TYPES}
        if "labels/sample_key" in self.columns:
            block["labels/sample_key"] = list(self.columns["labels/sample_key"])
        block["jpeg"] = b"".join(self.jpegs)
        block["jpeg_length"] = np.array([len(jpeg) for jpeg in self.jpegs], np.int64)
        self.columns, self.jpegs = {}, []
        return block
