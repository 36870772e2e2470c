"""The results of a source: frames, the hands already known on them, and the counts of a video's frames."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from handtool.hands.lens import Lens
from handtool.sources.tar_member import Member, Source


@dataclass(frozen=True, eq=False)
class KnownHand:
    """One labelled hand. Pixels are of the frame, centres at integers; camera frame: x right, y down, z forward.

    side: LEFT, RIGHT or UNKNOWN. box: (4,) x0 y0 x1 y1 by its edges, None where the whole image is the hand. camera:
    (3, 3) intrinsics of the frame; lens: where its picture is distorted, K included. joints: (21, 3) m. keypoints:
    (21, 2) px. valid, keypoints_valid, visible: (21,) bool (None: not known). scale: the bone 9-10 as published, m.
    vertices: (778, 3) m of the mesh, None where it is not published. extrinsics: (3, 4) R | t of
    X_camera = R X_world + t, m, None: not known. landmarks: (21, 2) px, as an estimator saw them, which are no labels.
    """

    side: int
    camera: np.ndarray
    joints: np.ndarray
    valid: np.ndarray
    keypoints: np.ndarray
    keypoints_valid: np.ndarray
    sample_id: int
    sample_key: str
    box: np.ndarray | None = None
    scale: float = float("nan")
    visible: np.ndarray | None = None
    vertices: np.ndarray | None = None
    extrinsics: np.ndarray | None = None
    lens: Lens | None = None
    landmarks: np.ndarray | None = None

    def as_label(self) -> dict:
        """What becomes a row of labels, pixels still those of the frame."""
        own = ("side", "camera", "box", "lens", "landmarks")
        return {name: value for name, value in vars(self).items() if name not in own and value is not None}


@dataclass(frozen=True, eq=False)
class Frame:
    """One upright picture. image: (h, w, 3) uint8 RGB. number: place among the decoded frames; time: s, NaN images.

    name: what a list of boxes calls it (an image: its path; a video's frame 7: `path/clip.mp4#7`). jpeg: the file's own
    bytes where it is a JPEG. hands: those known to the source, None if unknown (then a detector is used). kept: False
    for frames used only to follow hands from one kept frame to the next. focal_35mm: mm, the equivalent on 35 mm film
    that the file states, NaN: none.
    """

    image: np.ndarray
    number: int
    time: float
    name: str
    jpeg: bytes | None = None
    hands: tuple[KnownHand, ...] | None = None
    kept: bool = True
    focal_35mm: float = float("nan")


@dataclass(frozen=True)
class Episode:
    """A part of a film of constant rate, and its rows in a table. number: of the episode; begin: s in the film; length:
    frames; fps: 1/s. table: the file with its rows. hands: what these tell of hands on this camera's pictures, as
    (role, column, width) each. notes: for the report."""

    number: int
    begin: float
    length: int
    fps: float
    table: str = ""
    hands: tuple[tuple[str, str, int], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Video:
    """A unit of footage: one video file, one folder of images, one single image, or one video of a labelled set.

    name: as it is called in the product. path: as it was given. files: the images of it, in order (kind "images"), or a
    chunk of them that begins at place `first`. rows: the labels of it (kind "labelled"), as row numbers of the labels
    file at `path`; of a published data set, of its `split`, and `path` is its root. dataset: the published set that it
    is of; a film of one (kind "video") is sampled as any film. knows_hands: of a film, whether the set says which hands
    are on it. labels: what is known of each of the rows, by column; it travels to the process that reads them, where
    the files of labels are too large to be read by each. tables: what the labels point into, of the whole video.
    stream: which one of a video file, None: the recording as `streams` finds it. lens: of its camera, None: unknown;
    lens_file: the file beside it that says so, "" where the user does. skip: numbers of images that ended or stopped
    the process that read them. address: of a film on another machine, with what `path` leaves out: signatures and
    passwords. place: where it was filmed, or what was done there. episode: the part of the film files[0] that it is, of
    a set (`path`) that joins many in one.
    tar: the tar that holds it, whose path `path` and those of `files` go on from; spans: (offset, size) there, bytes,
    of the film, or of each of the `files`.
    """

    name: str
    path: str
    kind: Literal["video", "images", "labelled"]
    files: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    subject: str = ""
    first: int = 0
    dataset: str = ""
    split: str = ""
    labels: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)
    tables: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)
    stream: int | None = None
    skip: tuple[int, ...] = ()
    address: str = field(default="", repr=False)
    lens: Lens | None = field(default=None, compare=False, repr=False)
    lens_file: str = ""
    place: str = ""
    knows_hands: bool = False
    episode: Episode | None = None
    tar: str = ""
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def source(self) -> Source:
        """Where a film is read."""
        return Member(self.tar, *self.spans[0], self.path) if self.tar else Path(self.path)

    def source_of(self, place: int) -> Source:
        """Where one of the `files` is read."""
        file = self.files[place]
        return Member(self.tar, *self.spans[place], file) if self.tar else Path(file)

    def of_files(self, part: slice) -> "Video":
        """The same images, or some of them."""
        return replace(self, files=self.files[part], spans=self.spans[part], first=self.first + (part.start or 0))

    @property
    def is_labelled(self) -> bool:
        """Whether its source says which hands are on it: no detector looks for them."""
        return self.kind == "labelled" or self.knows_hands

    def of_rows(self, part: slice | np.ndarray) -> "Video":
        """The same video with some of its rows, by their places, and their labels."""
        rows = self.rows[part] if isinstance(part, slice) else tuple(self.rows[place] for place in part)
        return replace(self, rows=rows, labels={name: values[part] for name, values in self.labels.items()})


@dataclass(frozen=True)
class Choice:
    """Which part of a published data set. dataset: its name, None: by layout; the rest in the set's words. boxes: the
    user says where the hands are, so pictures are not looked at for labels in COCO's json beside them."""

    dataset: str | None = None
    split: str | None = None
    subset: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    boxes: bool = False


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are kept: the first at or after each 1/fps of a second, or every N-th one. Images: every
    N-th, else all.

    track_fps: between them, so many frames a second come out too, not kept; 0: none. keyframes: the first key frame at
    or after each 1/fps of a second, in their place. decode: auto: what the kept frames need; all: every frame; cuda,
    vaapi: as auto, by that hardware.
    """

    fps: float = 1.0
    every: int | None = None
    track_fps: float = 0.0
    keyframes: bool = False
    decode: str = "auto"


DAMAGED = "frames marked as damaged"


@dataclass
class Tally:
    """The counts of one video's frames. A frame is decoded (whole, or passed over: nothing needed it), or failed:
    refused or marked damaged.

    duration: s, as the file states it, else as far as it was read; NaN of images. sampled: frames kept; followed:
    looked at between them; unread: images passed over. unseen: of the kept ones, those that could not be looked at, by
    reason. left_out: hands that the source knows of on kept frames, and does not give, by reason. subject, place: as
    the labels of a film say. misnumbered: damage was seen after frames were given out whose numbers, as it turned out,
    are not those of decoding everything. reached: s, the end of the last frame, whole or damaged.
    `heartbeat` is called for every frame, so that a slow video is not taken for a stuck one.
    """

    fps: float = float("nan")
    duration: float = float("nan")
    width: int = 0
    height: int = 0
    decoded: int = 0
    sampled: int = 0
    followed: int = 0
    unread: int = 0
    reached: float = 0.0
    failed: Counter = field(default_factory=Counter)
    unseen: Counter = field(default_factory=Counter)
    misnumbered: bool = False
    left_out: Counter = field(default_factory=Counter)
    subject: str = ""
    place: str = ""
    problem: str = ""  # why nothing, or nothing more, could be read; empty: read to its end
    version: str = ""  # of a film on another machine: what its server says of it
    stream: int = -1  # number in the file of the stream that was read; -1: not a video file
    notes: dict[str, None] = field(default_factory=dict)  # how its pictures were made, where that needs saying
    heartbeat: Callable[[], None] = lambda: None
    reading: Callable[[int], object] = lambda number: None  # told the number of each image before it is read

    def begin_anew(self) -> None:
        """Everything is decoded now, from the beginning. What was kept so far stays."""
        self.decoded, self.reached, self.failed, self.problem = 0, 0.0, Counter(), ""

    def saw(self, image: np.ndarray) -> None:
        if not self.width:
            self.height, self.width = image.shape[:2]

    def note(self, text: str) -> None:
        self.notes[text] = None

    def as_outcome(self) -> dict:
        """The counts at the end of the video."""
        kept = "fps duration width height decoded sampled followed unread problem status stream subject place".split()
        counts = {
            "failed": dict(self.failed),
            "unseen": dict(self.unseen),
            "corrupt": self.failed[DAMAGED],
            "notes": list(self.notes),
            "version": self.version,
        }
        return {name: getattr(self, name) for name in kept} | counts

    @property
    def status(self) -> str:
        """`ok`, or what is wrong with the video, in short."""
        counts = [*sorted(self.failed.items()), *sorted(self.unseen.items())]
        losses = ", ".join(f"{count} {reason}" for reason, count in counts)
        return "; ".join(part for part in (self.problem, losses) if part) or "ok"
