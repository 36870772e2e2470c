"""The rows of one video: each detection is cut out, and its columns are collected in small blocks."""

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from handtool.config import BOX_SCALE, ExtractConfig
from handtool.hands.boxes import box_of_points, larger_side, whole_image
from handtool.hands.camera import crop_camera
from handtool.hands.crop_maps import CropMaps
from handtool.hands.lens import MODELS, NUMBERS, Lens
from handtool.vision.camera_model import assume_camera, is_assumed
from handtool.vision.changes import Changes
from handtool.vision.contracts import Detection
from handtool.vision.cropping import (
    BadBox,
    cut_square,
    encode_jpeg,
    hand_square,
    is_stored_upright,
    make_thumbnail,
    whole_square,
)
from handtool.vision.tracks import Tracks
from handtool.vision.virtual_camera import cut_through

BLOCK_ROWS = 64  # larger ones make the memory grow with the length of the video
TYPES = {
    "frame": np.int64,
    "time": np.float64,
    "side": np.int8,
    "box": np.float32,
    "score": np.float32,
    "found": np.int8,
    "landmarks": np.float32,
    "landmarks_score": np.float32,
    "landmarks_joints": np.float32,
    "crop_from_frame": np.float64,
    "camera": np.float64,
    "camera_assumed": bool,
    "rotation": np.float64,
    "lens_model": np.int8,
    "lens": np.float64,
    "thumbnails": np.uint8,
    "labels/joints": np.float32,
    "labels/valid": bool,
    "labels/keypoints": np.float32,
    "labels/keypoints_valid": bool,
    "labels/scale": np.float32,
    "labels/visible": bool,
    "labels/vertices": np.float32,
    "labels/extrinsics": np.float64,
    "labels/sample_id": np.int64,
}
OUTCOME = (
    "with_hands",
    "none_kept",
    "enlarged",
    "with_joints",
    "with_camera",
    "with_assumed_camera",
    "with_lens",
    "jpeg_bytes",
    "found",
)
# with the (3, 3) camera of its frame (NaN: unknown), or the lens that bends it, and its label columns in px of the
# frame, or {}
Hand = tuple[Detection, np.ndarray | Lens, dict]
NO_ROTATION, NO_LENS = np.full((3, 3), np.nan), np.full(NUMBERS, np.nan)


class Rows:
    """Grows hand by hand; `take_block` empties it. Counts what it refused or left out, and keeps the tracks.

    sure_sides: whether the sides are known; a detector's guesses are corrected by their tracks. Those of labelled hands
    are always known.
    """

    def __init__(self, config: ExtractConfig, sure_sides: bool = False) -> None:
        self.config, self.sure_sides = config, sure_sides
        self.box_scale = config.box_scale or BOX_SCALE
        self.columns: dict[str, list] = {}
        self.jpegs: list[bytes] = []
        self.refused: Counter = Counter()
        self.left_out: Counter = Counter()
        self.tracks = Tracks(1 / config.track_fps if config.track_fps else 0.0)
        # arrays that grow: an object for each hand, left between large pictures, would keep their memory from reuse
        self.numbers = array("q")  # the track of every kept hand so far, in order
        self.seen = bytearray()  # its side, as it was given
        self.sure = bytearray()  # and whether that is known, rather than a detector's guess
        self.found = [0, 0, 0]  # kept hands by the way they were found
        self.changes = Changes(config.min_change)
        self.label_scales = array("f")  # of whole images whose label has all keypoints: crop side / side of their box
        self.with_hands = self.none_kept = 0  # frames
        self.jpeg_bytes = 0
        # hands
        self.enlarged = self.with_joints = self.with_camera = self.with_assumed_camera = self.with_lens = 0
        self.focal_35mm = float("nan")  # mm, as the file of the frame that comes next states it

    def add(
        self,
        image: np.ndarray,
        number: int,
        time: float,
        hands: list[Hand],
        tracks: Sequence[int],
        jpeg: bytes | None = None,
    ) -> int:
        """The hands of one kept frame, and the track of each. Returns how many became rows.

        jpeg: the image's own bytes, stored as they are where the crop is the image.
        """
        kept = 0
        thumbnail = make_thumbnail(image) if hands else np.zeros((8, 8), np.uint8)
        self.changes.next_frame()
        for hand, track in zip(hands, tracks, strict=True):
            try:
                region = self.find_region(image, hand[0])
                self.tracks.vote(track, hand[0])
                if self.is_wanted(image, region, hand[0]):
                    self.add_row(image, region, number, time, hand, jpeg, thumbnail)
                    self.numbers.append(track)
                    kept += 1
            except BadBox as bad:
                self.refused[str(bad)] += 1
        self.with_hands += kept > 0
        self.none_kept += bool(hands) and not kept
        return kept

    def follow(self, hands: list[Hand], tracks: Sequence[int]) -> None:
        """The hands of a frame between kept ones: they have a say in the sides of their tracks."""
        for (hand, _, _), track in zip(hands, tracks, strict=True):
            if track >= 0:
                self.tracks.vote(track, hand)

    def find_region(self, image: np.ndarray, hand: Detection) -> np.ndarray:
        height, width = image.shape[:2]
        if hand.refused:
            raise BadBox(hand.refused)
        return whole_square(width, height) if hand.whole else hand_square(hand.box, self.box_scale, width, height)

    def is_wanted(self, image: np.ndarray, region: np.ndarray, hand: Detection) -> bool:
        box = box_on(image, hand)
        if hand.score < self.config.min_score:
            reason = "score below --min-score"
        elif max(box[2] - box[0], box[3] - box[1]) < self.config.min_hand:
            reason = "smaller than --min-hand"
        elif not self.changes.is_new(image, region):
            reason = "changed less than --min-change"
        else:
            return True
        self.left_out[reason] += 1
        return False

    def add_row(
        self,
        image: np.ndarray,
        region: np.ndarray,
        number: int,
        time: float,
        hand: Hand,
        jpeg: bytes | None,
        thumbnail: np.ndarray,
    ) -> None:
        seen, camera, label = hand
        assumed = False
        if not isinstance(camera, Lens):
            camera, assumed = self.assume(image, camera) if not label else (camera, False)
        crop, map_ = self.cut(image, region, seen, camera)
        affine = map_.crop_from_frame[0]
        if jpeg is None or not np.array_equal(affine, np.eye(2, 3)) or not is_stored_upright(jpeg, image):
            jpeg = encode_jpeg(crop, self.config.quality)
        self.jpegs.append(jpeg)
        landmarks = np.full((21, 2), np.nan) if seen.landmarks is None else map_.to_crop(seen.landmarks[None])[0]
        joints = np.full((21, 3), np.nan) if seen.joints is None else seen.joints
        if not seen.of_frame:  # a detector takes every hand for one in the middle of a picture
            joints = map_.joints_to_frame(joints[None])[0]
        row = {
            "frame": number,
            "time": time,
            "side": seen.side,
            "box": box_on(image, seen),
            "score": seen.score,
            "found": seen.found,
            "landmarks": landmarks,
            "landmarks_score": seen.landmarks_score,
            "landmarks_joints": joints,
            "crop_from_frame": affine,
            "camera": map_.camera[0],
            "camera_assumed": assumed,
            "rotation": NO_ROTATION if map_.rotation is None else map_.rotation[0],
            "lens_model": MODELS.index(camera.model) if isinstance(camera, Lens) else 0,
            "lens": camera.numbers if isinstance(camera, Lens) else NO_LENS,
            "thumbnails": np.stack([make_thumbnail(crop), thumbnail]),
        }
        if label:
            if seen.whole and label["keypoints_valid"].all():
                side = float(larger_side(box_of_points(label["keypoints"])))
                self.label_scales.append(max(image.shape[:2]) / side)
            keypoints = map_.to_crop(label["keypoints"][None])[0]
            seen_by_crop = np.isfinite(keypoints).all(axis=1)
            label |= {"keypoints": keypoints, "keypoints_valid": label["keypoints_valid"] & seen_by_crop}
        for name, value in {**row, **{f"labels/{name}": value for name, value in label.items()}}.items():
            self.columns.setdefault(name, []).append(value)
        self.jpeg_bytes += len(self.jpegs[-1])
        self.enlarged += not seen.whole
        self.found[seen.found] += 1
        self.seen.append(seen.side)
        self.sure.append(self.sure_sides or label.get("sample_id", -1) >= 0)
        self.with_joints += seen.joints is not None
        self.with_assumed_camera += assumed
        self.with_lens += isinstance(camera, Lens)
        self.with_camera += isinstance(camera, Lens) or bool(np.isfinite(camera).all())

    def cut(
        self, image: np.ndarray, region: np.ndarray, hand: Detection, camera: np.ndarray | Lens
    ) -> tuple[np.ndarray, CropMaps]:
        """The crop and its map (n = 1). Raises BadBox."""
        size = self.config.size
        if isinstance(camera, Lens):
            scale = 1.0 if hand.whole else self.box_scale
            return cut_through(image, camera, box_on(image, hand), size, scale, hand.whole)
        crop, affine = cut_square(image, region, size)
        return crop, CropMaps(affine[None], crop_camera(affine, camera)[None])

    def assume(self, image: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, bool]:
        """The camera of a frame, and whether it is only assumed: where nobody knows it and --camera says how."""
        if np.isfinite(camera).all() or not is_assumed(self.config.camera):
            return camera, False
        assert self.config.camera
        height, width = image.shape[:2]
        assumed = assume_camera(self.config.camera, width, height, self.focal_35mm)
        return assumed, bool(np.isfinite(assumed).all())

    def as_outcome(self) -> dict:
        """The counts at the end of the video. tracks, side: (hands,); side_turned: hands whose track overruled their
        side. label_scales: of some hands."""
        kept = {name: getattr(self, name) for name in OUTCOME}
        seen, sure = np.frombuffer(bytes(self.seen), np.int8), np.frombuffer(bytes(self.sure), bool)
        tracks, side = self.tracks.finish(self.numbers, seen, sure)
        kept |= {
            "sides": np.bincount(side, minlength=3).tolist(),
            "side": side,
            "side_turned": int((side != seen).sum()),
        }
        kept |= {"hands": len(side), "refused": dict(self.refused), "left_out": dict(self.left_out)}
        return {**kept, "tracks": tracks, "label_scales": np.array(self.label_scales, np.float32)}

    @property
    def is_full(self) -> bool:
        return len(self.jpegs) >= BLOCK_ROWS

    def take_block(self) -> dict[str, object]:
        """The rows so far: column -> array; `jpeg` all bytes end to end, `jpeg_length` of each, `labels/sample_key` a
        list of texts."""
        block: dict[str, object] = {
            name: np.array(values, TYPES[name]) for name, values in self.columns.items() if name in TYPES
        }
        if "labels/sample_key" in self.columns:
            block["labels/sample_key"] = list(self.columns["labels/sample_key"])
        block["jpeg"] = b"".join(self.jpegs)
        block["jpeg_length"] = np.array([len(jpeg) for jpeg in self.jpegs], np.int64)
        self.columns, self.jpegs = {}, []
        return block


def open_block(block: dict[str, Any]) -> tuple[dict, dict]:
    """What `take_block` packed: columns of crops, `jpeg` a list of bytes again, and columns of labels ({} where there
    are none)."""
    ends = np.cumsum(block["jpeg_length"])
    jpegs = [block["jpeg"][end - length : end] for end, length in zip(ends, block["jpeg_length"], strict=True)]
    labels = {name.removeprefix("labels/"): values for name, values in block.items() if name.startswith("labels/")}
    return {name: values for name, values in block.items() if not name.startswith(("labels/", "jpeg"))} | {
        "jpeg": jpegs
    }, labels


def box_on(image: np.ndarray, hand: Detection) -> np.ndarray:
    return whole_image(image.shape[1], image.shape[0]) if hand.whole else hand.box


def is_sound(image: np.ndarray, hand: Detection) -> bool:
    try:
        return hand.whole or hand_square(hand.box, 1.0, image.shape[1], image.shape[0]) is not None
    except BadBox:
        return False
