"""What is read from every kind of input, in a form that can be compared.

A reader returns (values, losses): the values in a form that can be compared, and what it said was lost, or "".
"""

import functools
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np


def sha(*values: Any) -> str:
    held = hashlib.sha256()
    for value in values:
        held.update(
            value.tobytes() if isinstance(value, np.ndarray) and value.dtype != object else repr(value).encode()
        )
    return held.hexdigest()[:16]


def read_hdf5(path: Path) -> tuple[Any, str]:
    """Everything that the store gives: whole columns, some rows, images, attributes, weights, the history."""
    from handtool import store
    from handtool.store.file import plain_attrs

    found = {}
    with store.open_file(path) as file:
        found["history"] = [{k: v for k, v in step.items() if k != "seconds"} for step in file.provenance]
        for name in file.tables:
            found[name] = {key: sha(value) for key, value in store.read_attrs(file, name).items()}
            for column in (c for c in store.TABLES[name].columns if file.has(c) and c.name != "jpeg"):
                found[column.path] = sha(store.read_column(file, column))
                found[column.path + " rows"] = sha(store.read_column(file, column, slice(1, 3)))
        if file.has("crops"):
            jpegs = store.open_jpegs(file)
            found["jpegs"] = [sha(bytes(jpegs[row])) for row in range(len(jpegs))]
        if "weights" in file.h5:
            tensors, attrs = store.read_weights(file)
            found["weights"] = {name: sha(value) for name, value in tensors.items()} | {"attrs": sha(attrs)}
        if "metrics" in file.h5:
            file.h5["metrics"].visititems(
                lambda name, item: found.update({f"metrics/{name}": sha(sorted(plain_attrs(item).items()))})
            )
    return found, ""


def read_part(path: Path) -> tuple[Any, str]:
    from handtool import store

    values = store.Job(path.parent).load(path.name.removesuffix(".part.h5"))
    return {name: sha(value) for name, value in values.items()}, ""


def read_footage(path: Path, kind: str) -> tuple[Any, str]:
    from handtool.sources.frame import Sampling, Tally, Video
    from handtool.sources.read import read_frames

    tally = Tally()
    video = Video(path.name, str(path), kind, (str(path),) if kind == "images" else ())
    frames = [sha(frame.image) for frame in read_frames(video, Sampling(every=1), tally)]
    return frames, "" if tally.status == "ok" else tally.status


def read_set(root: Path, dataset: str | None, split: str | None) -> tuple[Any, str]:
    """The first videos of a labelled set, with all that is known of their hands."""
    from handtool.sources.find import find_videos
    from handtool.sources.frame import Choice, Sampling, Tally
    from handtool.sources.read import read_frames

    forget()
    videos = find_videos([root], choice=Choice(dataset=dataset, split=split)).videos
    found, losses = [], []
    for video in videos[:3]:
        tally = Tally()
        for frame in read_frames(video, Sampling(), tally):
            known = [vars(hand).values() for hand in frame.hands or ()]
            found.append(sha(frame.number, frame.image, *(value for hand in known for value in hand)))
        losses += [tally.status] if tally.status != "ok" else []
    return [len(videos), found], "; ".join(losses)


def forget() -> None:
    """What readers keep of files by their path."""
    for name, module in list(sys.modules.items()):
        if name.startswith("handtool."):
            for value in vars(module).values():
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()


def read_boxes(path: Path) -> tuple[Any, str]:
    from handtool.vision.boxes_file import BoxesFile

    boxes = BoxesFile(str(path))
    boxes.find_hands([np.zeros((64, 64, 3), np.uint8)], ["0001.jpg"])
    return sha(boxes.box, boxes.side, boxes.score, boxes.rows), "; ".join(boxes.left_out)


def read_camera(path: Path) -> tuple[Any, str]:
    from handtool.vision.camera_model import read_camera_model

    lens = read_camera_model(str(path))
    return sha(lens.model, lens.numbers, lens.size), ""


def read_list(path: Path) -> tuple[Any, str]:
    from handtool.cli import inputs

    return inputs.read_list(str(path)), ""


def read_template(path: Path) -> tuple[Any, str]:
    from handtool.sources import submission

    return sha(submission.read_template(path)), ""


def read_tensors(path: Path) -> tuple[Any, str]:
    from handtool.nn.files.weights import read_any

    return {name: sha(value.numpy()) for name, value in read_any(path).items()}, ""


def read_onnx(path: Path) -> tuple[Any, str]:
    from handtool.vision.contracts import HandCrop
    from handtool.vision.onnx_keypoints import OnnxKeypoints

    image = np.zeros((64, 64, 3), np.uint8)
    image[20:40, 24:50, 0] = 255
    return sha(*(OnnxKeypoints(path, ()).find_keypoints([HandCrop(image)])[0] or ())), ""
