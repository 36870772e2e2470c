"""Hands from COCO-shaped json: `images`, `annotations` with keypoints of hands, `categories`.

Read are 21 points as a flat list of 63 numbers or as 21 lists of 3 (COCO, mmpose's hand sets, CVAT's "COCO Keypoints
1.0", Label Studio's COCO export), hands among more points that are named, and COCO-WholeBody's `lefthand_kpts` and
`righthand_kpts`. A person's own `bbox` and `keypoints` are never taken for a hand's.

Order of the joints: by the names in the category; of RHD's json without names, from tip to palm; else the standard
order, and it is refused where the pictures tell another one. A point is known where its third value is above 0. It is
seen where that is 2, and seen or hidden are told only if a 2 is in the file. Points are px with centres at integers;
CVAT and Label Studio count from the corner of the first pixel, so 0.5 is taken off theirs.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from handtool.errors import DamagedFile
from handtool.hands.boxes import box_of_points
from handtool.hands.joint_names import find_hands, read_side, side_by_name
from handtool.hands.keypoint_lists import (
    FARTHEST,
    MOST,
    MOST_POINTS,
    corners,
    find_other_order,
    is_box,
    read_numbers,
    read_points,
)
from handtool.hands.skeleton import FROM_RHD_LEFT, LEFT, NUM_JOINTS, RIGHT, STANDARD, UNKNOWN
from handtool.sources.annotation_file import AnnotationFile

HAND = np.dtype(
    [
        ("image", "i8"),  # place among the images
        ("id", "i8"),
        ("side", "i1"),
        ("box", "f4", 4),  # x0 y0 x1 y1 px, NaN: none
        ("keypoints", "f4", (NUM_JOINTS, 2)),  # px, NaN where not known
        ("mark", "u1", NUM_JOINTS),  # 0 not known, 1 known, 2 seen
    ]
)
WHOLE_BODY = {"lefthand": LEFT, "righthand": RIGHT}
SIDE_KEYS = ("side", "hand_side", "hand_type", "handedness")
OF_CVAT = ("occluded", "keyframe", "track_id")  # attributes
LONGEST_NAME = 1024  # characters
SIDE_IN_NAME = re.compile(r"[_-](l|r|left|right)$", re.IGNORECASE)
FREIHAND = re.compile(r"(training|evaluation)/rgb/\d{8}\.jpg")
FREIHAND_PX = (224, 224)
HINT = "described in handtool/docs/DATA.md, COCO hand keypoints"


@dataclass
class HandFile:
    """names, sizes: of all pictures, (0, 0) where the file does not say. cameras: (3, 3) by picture. hands: bytes of
    HAND. joints: (21, 3) m, camera frame, by hand. whole: each picture is a hand. left_out: annotations by reason."""

    what: str
    names: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    cameras: dict[int, np.ndarray] = field(default_factory=dict)
    hands: bytearray = field(default_factory=bytearray)
    joints: dict[int, np.ndarray] = field(default_factory=dict)
    whole: bool = False
    left_out: Counter = field(default_factory=Counter)

    def add_image(self, name: str, width: object, height: object) -> None:
        size = [int(side) if isinstance(side, int | float) and 0 < side < 1e6 else 0 for side in (width, height)]
        self.names.append(name)
        self.sizes.append((size[0], size[1]) if all(size) else (0, 0))

    def add(self, image: int, number: int, side: int, box: np.ndarray, points: np.ndarray, marks: np.ndarray) -> None:
        """points: (21, 2) px, marks: (21,) in the standard order."""
        hand = np.zeros((), HAND)
        known = marks > 0
        hand["image"], hand["id"], hand["side"], hand["mark"] = image, number, side, marks
        hand["keypoints"] = np.where(known[:, None], points, np.nan)
        hand["box"] = box if is_box(box) else box_of_points(points, known)
        self.hands += hand.tobytes()

    def as_array(self) -> np.ndarray:
        """(n,) HAND."""
        return np.frombuffer(bytes(self.hands), HAND)


def read_coco_hands(file: AnnotationFile) -> HandFile:
    """Raises DamagedFile for what is no such file; single annotations that cannot be used are counted."""
    found, places = HandFile(file.what), dict[str, int]()
    about = file.about
    for place, entry in file.items("images"):
        key, name = ident(entry.get("id")), entry.get("file_name")
        if key in places:
            raise DamagedFile(f"{file.what} gives several images the id {key[:40]}", hint=HINT)
        places[key] = place
        name = name if isinstance(name, str) and len(name) <= LONGEST_NAME else ""
        found.add_image(name, entry.get("width"), entry.get("height"))
        if (camera := camera_of(entry)) is not None:
            found.cameras[place] = camera
    reader = HandReader(found, about, {} if is_whole_body(file) else read_categories(file))
    for place, annotation in file.items("annotations"):
        if annotation.get("iscrowd") not in (None, 0, False, "0"):
            found.left_out["crowds"] += 1
        elif (image := places.get(ident(annotation.get("image_id")), -1)) < 0:
            found.left_out["annotations on pictures that the file does not list"] += 1
        else:
            reader.read(place, image, annotation)
    reader.check_order()
    found.whole = bool(found.names) and is_freihand(found, about)
    return found


def ident(value: object) -> str:
    """7, 7.0 and "7" are one id."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)[:LONGEST_NAME]


def camera_of(image: dict) -> np.ndarray | None:
    """(3, 3) from mmpose's `cam_param` of RHD; None: there is none, or it is no pinhole."""
    given = image.get("cam_param")
    focal, centre = (
        read_numbers(given.get(name), (2,)) if isinstance(given, dict) else None for name in ("focal", "princpt")
    )
    if focal is None or centre is None or not (focal > 0).all():
        return None
    (fx, fy), (cx, cy) = focal, centre
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def is_whole_body(file: AnnotationFile) -> bool:
    return any(f"{hand}_kpts" in annotation for annotation in file.first("annotations") for hand in WHOLE_BODY)


@dataclass(frozen=True)
class Category:
    """name; orders: the hands among its named points, None: they have no names."""

    name: str
    orders: dict[int, tuple[int, ...]] | None


def read_categories(file: AnnotationFile) -> dict[str, Category]:
    categories = {}
    for one in file.some("categories"):
        names = one.get("keypoints")
        named = names if isinstance(names, list) and len(names) <= MOST_POINTS else []
        orders = find_hands([str(name)[:100] for name in named]) if named else None
        categories[ident(one.get("id"))] = Category(str(one.get("name", ""))[:100], orders)
    return categories


class HandReader:
    """Annotations into hands. about: what the file says of itself."""

    def __init__(self, found: HandFile, about: str, categories: dict[str, Category]) -> None:
        self.found, self.categories = found, categories
        self.is_rhd, self.is_freihand = "rhd" in about or "rendered hand" in about, "freihand" in about
        self.is_label_studio = "label studio" in about
        self.unnamed: list[np.ndarray] = []  # points whose order nobody told
        self.sides: dict[int, int] = {}  # by the names of pictures

    def read(self, place: int, image: int, annotation: dict) -> None:
        number = annotation.get("id")
        number = number if type(number) is int and 0 <= number < 1 << 62 else place
        if any(f"{hand}_kpts" in annotation for hand in WHOLE_BODY):
            self.read_whole_body(number, image, annotation)
            return
        points = read_points(annotation.get("keypoints"))
        category = self.categories.get(ident(annotation.get("category_id")))
        if points is None:
            had = annotation.get("keypoints")
            self.found.left_out["annotations without keypoints" if not had else "keypoints that are no numbers"] += 1
            return
        orders = self.orders_of(annotation, points, category)
        if not orders:
            why = "a hand's" if len(points) == NUM_JOINTS else f"a hand's ({len(points)} points)"
            self.found.left_out[f"keypoints that are not {why}"] += 1
            return
        points[:, :2] -= self.corner(annotation)
        for named_side, order in orders.items():
            side = named_side if named_side != UNKNOWN else self.side_of(annotation, category, image)
            box = annotation.get("bbox") if len(orders) == 1 else None
            if self.add(number, image, side, box, points[list(order)]) and len(orders) == 1:
                self.add_joints(annotation, order)
        if category is None or category.orders is None:
            self.note_order(points)

    def orders_of(self, annotation: dict, points: np.ndarray, category: Category | None) -> dict[int, tuple[int, ...]]:
        if category is not None and category.orders is not None:
            return {side: order for side, order in category.orders.items() if max(order) < len(points)}
        if len(points) != NUM_JOINTS:
            return {}
        return {UNKNOWN: FROM_RHD_LEFT if self.is_rhd or "joint_cam" in annotation else STANDARD}

    def corner(self, annotation: dict) -> float:
        """What is taken off coordinates that count from the corner of the first pixel."""
        attributes = annotation.get("attributes")
        of_cvat = isinstance(attributes, dict) and any(name in attributes for name in OF_CVAT)
        return 0.5 if of_cvat or self.is_label_studio else 0.0

    def read_whole_body(self, number: int, image: int, annotation: dict) -> None:
        for hand, side in WHOLE_BODY.items():
            points, box = read_points(annotation.get(f"{hand}_kpts")), annotation.get(f"{hand}_box")
            if annotation.get(f"{hand}_valid", True) not in (True, 1):
                continue
            if points is None or len(points) != NUM_JOINTS:
                self.found.left_out["keypoints that are no numbers"] += 1
            elif is_box(corners(box)) or (points[:, 2] > 0).any():
                self.add(number, image, side, box, points, even_without_points=True)

    def add(
        self, number: int, image: int, side: int, bbox: object, points: np.ndarray, even_without_points: bool = False
    ) -> bool:
        marks = np.where(points[:, 2] > 0, np.where(points[:, 2] == 2, 2, 1), 0)
        if not marks.any() and not even_without_points:
            self.found.left_out["hands of which no keypoint is known"] += 1
            return False
        self.found.add(image, number, side, corners(bbox), points[:, :2], marks)
        return True

    def add_joints(self, annotation: dict, order: tuple[int, ...]) -> None:
        """mmpose's `joint_cam` of RHD: (21, 3) mm in the frame of the camera, in the order of the keypoints."""
        joints = read_numbers(annotation.get("joint_cam"), (NUM_JOINTS, 3))
        if joints is not None and np.abs(joints).max() < FARTHEST:  # mm here
            self.found.joints[len(self.found.hands) // HAND.itemsize - 1] = joints[list(order)] / 1000

    def side_of(self, annotation: dict, category: Category | None, image: int) -> int:
        """As the annotation, its attributes, its category or the picture's name says; all of FreiHAND are right."""
        attributes = annotation.get("attributes")
        for said in (annotation, attributes if isinstance(attributes, dict) else {}):
            for key in SIDE_KEYS:
                side = read_side(said[key]) if isinstance(said.get(key), str | int) else None
                if side is not None and side != UNKNOWN:
                    return side
        if category is not None and side_by_name(category.name) != UNKNOWN:
            return side_by_name(category.name)
        name = self.found.names[image]
        if self.is_freihand or FREIHAND.search(name):
            return RIGHT
        said_by_name = SIDE_IN_NAME.search(name.rpartition(".")[0] or name)
        return side_by_name(said_by_name[1].lower()) if said_by_name else UNKNOWN

    def note_order(self, points: np.ndarray) -> None:
        if len(points) == NUM_JOINTS and (points[:, 2] > 0).all() and len(self.unnamed) < MOST:
            self.unnamed.append(points[:, :2].copy())

    def check_order(self) -> None:
        """Raises DamagedFile where points without names are in another order than they are taken to be: in a right
        order bones are short."""
        if not (self.is_rhd or self.found.joints) and (name := find_other_order(self.unnamed)):
            told = f"the keypoints of {len(self.unnamed)} hands have no names, and are in another order: {name}"
            raise DamagedFile(f"{self.found.what}: {told}", hint="name them: categories[].keypoints")


def is_freihand(found: HandFile, about: str) -> bool:
    """Whether each picture is a hand, not to be cut again: FreiHAND's."""
    named = "freihand" in about or all(FREIHAND.search(name) for name in found.names)
    return named and all(size == FREIHAND_PX for size in found.sizes)
