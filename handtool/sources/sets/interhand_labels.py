"""The three annotation files of InterHand2.6M, as columns: data.json and joint_3d.json entry by entry (gigabytes)."""

from array import array
from pathlib import Path
from typing import Any

import numpy as np

from handtool.sources.large_json import read_items, read_members
from handtool.sources.sets.multi_camera import MM, as_numbers, flat_mask, read_pose, rows_of_images, unexpected

TYPES = {"right": (True, False), "left": (False, True), "interacting": (True, True)}
NAMES = {"frame": "frame_idx"}  # column -> the file's name where it is another


def read_rows(path: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """What data.json says of each annotation, by column, in its order; names: the texts of `camera` and `sequence`."""
    images = {name: array("q") for name in ("id", "capture", "subject", "camera", "sequence", "frame")}
    hands: dict[str, Any] = {"annotation": array("q"), "image": array("q"), "box": array("d")}
    hands |= {"valid": bytearray(), "hands": bytearray()}
    files: list[bytes] = []
    numbers: dict[str, dict[str, int]] = {"camera": {}, "sequence": {}}
    for name, place, item in read_items(path, "images", "annotations"):
        try:
            if name == "images":
                for column in ("id", "capture", "subject", "frame"):
                    images[column].append(int(item[NAMES.get(column, column)]))
                for column, value in (("camera", item["camera"]), ("sequence", item["seq_name"])):
                    images[column].append(numbers[column].setdefault(str(value), len(numbers[column])))
                files.append(item["file_name"].encode())
            else:
                x, y, width, height = map(float, item["bbox"])
                hands["annotation"].append(int(item["id"])), hands["image"].append(int(item["image_id"]))
                hands["box"].extend((x, y, x + width, y + height))
                hands["valid"] += flat_mask(item["joint_valid"], path, f"annotation {place}")
                hands["hands"] += bytes(TYPES[item["hand_type"]])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unexpected(path, f"entry {place} of {name}", error) from None
    rows = rows_of_images(images, files, np.frombuffer(hands["image"], np.int64), path)
    rows["annotation"] = np.frombuffer(hands["annotation"], np.int64)
    rows["box"] = np.frombuffer(hands["box"]).reshape(-1, 4)
    rows |= {name: np.frombuffer(hands[name], bool).reshape(-1, width) for name, width in (("valid", 42), ("hands", 2))}
    return rows, {name: list(known) for name, known in numbers.items()}


def read_views(path: Path) -> dict[int, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Capture -> camera -> K (3, 3) px and R | t (3, 4) m, from the world to the camera."""
    views: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for capture, content in read_members(path):
        try:
            seen = views[int(capture)] = {}
            for camera in content.get("camrot", {}):
                what = f"camera {camera} of capture {capture}"
                rotation = as_numbers(content["camrot"][camera], (3, 3), path, what)
                position, focal, centre = (
                    as_numbers(content.get(name, {}).get(camera), (n,), path, what)
                    for name, n in (("campos", 3), ("focal", 2), ("princpt", 2))
                )
                matrix = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
                seen[camera] = matrix, np.column_stack([rotation, -rotation @ position * MM])
        except (TypeError, ValueError, AttributeError) as error:
            raise unexpected(path, f"capture {capture}", error) from None
    return views


def read_poses(path: Path) -> dict[int, dict[int, tuple[np.ndarray, bytes]]]:
    """Capture -> frame -> joints (42, 3) m in the world, and which are known."""
    poses: dict[int, dict[int, tuple[np.ndarray, bytes]]] = {}
    for capture, content in read_members(path):
        try:
            poses[int(capture)] = {
                int(frame): read_pose(pose, path, f"frame {frame} of capture {capture}")
                for frame, pose in content.items()
            }
        except (TypeError, ValueError, AttributeError) as error:
            raise unexpected(path, f"capture {capture}", error) from None
    return poses
