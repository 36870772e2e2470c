"""Known hand boxes from a file, by the name of their picture.

A picture is known by its path or by any end of it (`0001.jpg`, `a/0001.jpg`), the longest first; frame 12 of a video by
`clip.mp4#12`.
"""

import numpy as np

from handtool.vision.boxes_formats import read_boxes
from handtool.vision.contracts import Detection


class BoxesFile:
    """A detector that reads its boxes from the file. Raises HandtoolError if its format is none of `boxes_formats`."""

    batch = 1

    def __init__(self, path: str) -> None:
        boxes = read_boxes(path)
        # stable: a picture's hands keep their order
        order = sorted(range(len(boxes.name)), key=lambda row: boxes.name[row])
        self.box = np.array([boxes.box[row] for row in order], np.float64).reshape(-1, 4)
        self.side, self.score = (np.array([column[row] for row in order]) for column in (boxes.side, boxes.score))
        self.relative = boxes.relative
        self.rows: dict[str, range] = {name: range(0) for name in boxes.looked_at}
        start = 0
        for end in range(1, len(order) + 1):
            if end == len(order) or boxes.name[order[end]] != boxes.name[order[start]]:
                self.rows[boxes.name[order[start]]] = range(start, end)
                start = end

    def __len__(self) -> int:
        return len(self.box)

    def find_hands(self, images: list[np.ndarray], names: list[str]) -> list[list[Detection]]:
        return [self.hands_on(name, *image.shape[1::-1]) for image, name in zip(images, names, strict=True)]

    def hands_on(self, name: str, width: int, height: int) -> list[Detection]:
        """The hands of one picture of width x height px, in the order of the file."""
        unit = np.array([width, height, width, height]) if self.relative else 1.0
        return [Detection(self.box[row] * unit, int(self.side[row]), float(self.score[row])) for row in self.find(name)]

    def find(self, name: str) -> range:
        parts = name.split("/")
        for start in range(len(parts)):
            rows = self.rows.get("/".join(parts[start:]))
            if rows is not None:
                return rows
        return range(0)
