"""Four file formats for hand boxes, each read into the same columns.

COCO's json (`bbox` is x, y, width, height in px; the side by a key such as `side` or `hand_side`, by one of the
`attributes`, or by the category's name; `score` optional), see `coco_boxes`:

    {"images": [{"id": 7, "file_name": "a/0001.jpg"}, …], "categories": [{"id": 1, "name": "left hand"}, …],
     "annotations": [{"image_id": 7, "bbox": [x, y, width, height], "score": 0.9, "side": "left"}, …]}

100DOH's json (Shan et al. 2020, arXiv:2006.06669; edges as shares of the picture's width and height; `score` optional):

    {"0001.jpg": [{"x1": 0.1, "y1": 0.2, "x2": 0.3, "y2": 0.5, "hand_side": "l"}, …], …}

mmpose's predictions, with landmarks: a json of an image, a video or its demo, or a folder of such, see `mmpose_boxes`.

CSV with a header (px; `side` and `score` optional; `frame` makes it frame 12 of a video, counted over its decoded
frames from 0):

    image,x0,y0,x1,y1,side,score            or  video,frame,x0,y0,x1,y1,…

Sides are words with left or right in them, l and r, or 0 (left) and 1 (right) as 100DOH's detector writes them.
"""

import csv
from pathlib import Path

from handtool.bounded import parse_json, read_bounded
from handtool.errors import DamagedFile, first_line
from handtool.vision.boxes_columns import HINT, Boxes
from handtool.vision.coco_boxes import read_coco
from handtool.vision.mmpose_boxes import is_predictions, read_folder, read_predictions

EDGES, NAMES = ("x0", "y0", "x1", "y1"), ("image", "video")


def read_boxes(path: str) -> Boxes:
    """Raises DamagedFile if the file has none of the four formats, or one of its hands is not as described."""
    if Path(path).is_dir():
        return read_folder(path)
    is_csv = Path(path).suffix.lower() == ".csv"
    data = read_bounded(path, kind="line" if is_csv else "json")
    try:
        if is_csv:
            return read_csv(path, data.decode("utf-8-sig"))
    except (ValueError, csv.Error) as error:
        raise DamagedFile(f"{path} cannot be read: {first_line(error)}", hint=HINT) from None
    content = parse_json(data, path, HINT)
    if is_predictions(content):
        return read_predictions(path, content)
    if isinstance(content, dict) and {"images", "annotations"} & set(content):
        return read_coco(path, content)
    if isinstance(content, dict) and content and all(isinstance(hands, list) for hands in content.values()):
        return read_100doh(path, content)
    raise DamagedFile(f"{path} is neither COCO's json nor 100DOH's, and no predictions of mmpose", hint=HINT)


def read_100doh(path: str, content: dict) -> Boxes:
    boxes = Boxes(looked_at=list(content), relative=True)
    for name, hands in content.items():
        for number, hand in enumerate(hands):
            where = f"{path}: hand {number} of {name}"
            if not isinstance(hand, dict) or not {"x1", "y1", "x2", "y2"} <= set(hand):
                raise DamagedFile(f"{where} has no x1, y1, x2, y2", hint=HINT)
            box = (hand["x1"], hand["y1"], hand["x2"], hand["y2"])
            boxes.add(where, name, box, hand.get("hand_side"), hand.get("score"))
            if not all(-0.5 <= edge <= 1.5 for edge in boxes.box[-1]):
                raise DamagedFile(f"{where} lies at {box}, expected shares of the picture, 0 to 1", hint=HINT)
    return boxes


def read_csv(path: str, text: str) -> Boxes:
    lines = csv.DictReader(text.splitlines())
    named = next((name for name in NAMES if name in (lines.fieldnames or ())), None)
    missing = [edge for edge in EDGES if edge not in (lines.fieldnames or ())]
    if named is None or missing:
        raise DamagedFile(
            f"{path} has columns {str(lines.fieldnames)[:200]}, needed are image or video, x0, y0, x1, y1", hint=HINT
        )
    boxes = Boxes()
    for row in lines:
        where, frame = f"{path}: line {lines.line_num}", (row.get("frame") or "").strip()
        if frame and not (frame.isdecimal() and len(frame) < 19):
            raise DamagedFile(f"{where} has frame {frame!r}, expected a number from 0")
        name = row[named]
        name = f"{name}#{int(frame)}" if name and frame else name
        boxes.add(where, name, tuple(row[edge] for edge in EDGES), row.get("side"), row.get("score"))
    boxes.looked_at = list(dict.fromkeys(boxes.name))
    return boxes
