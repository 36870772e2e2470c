"""Every kind of input that handtool reads, as small as it can be, for the trial of mutants."""

import functools
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fault_runs as runs
from fault_cases import GIVEN, make_box, must
from fault_readers import (
    read_boxes,
    read_camera,
    read_footage,
    read_hdf5,
    read_list,
    read_onnx,
    read_part,
    read_set,
    read_template,
    read_tensors,
)  # fmt: skip

Read = Callable[[Path], tuple[Any, str]]
LABELS = (".npz", ".json", ".pickle", ".pkl", ".yml", ".txt")
HDF5 = "crops keypoints embeddings pairs encoder pose predictions film result"


@dataclass
class Kind:
    """checksums: whether the format has them for all that is read, so that no other value may come in silence.
    files: those that are spoilt, one at a time; `read` is given the file, or with `root` the folder."""

    name: str
    files: list[Path]
    read: Read
    checksums: bool = False
    root: Path | None = None
    share: float = 1.0


def make_hdf5_kinds(folder: Path) -> list[Kind]:
    """Made in a process of its own, since all that a training needs would make every fork slow."""
    if (maker := os.fork()) == 0:
        code = 1
        try:
            make_hdf5(folder)
            code = 0
        except (Exception, SystemExit) as error:
            print(error)
        finally:
            os._exit(code)
    assert os.waitpid(maker, 0)[1] == 0
    given = folder / "given"
    kinds = [Kind(f"{name}.h5", [given / f"{name}.h5"], read_hdf5, True) for name in HDF5.split()]
    return [*kinds, Kind("checkpoints, parts", sorted((given / "parts").iterdir()), read_part, True)]


def make_hdf5(folder: Path) -> None:
    """What GIVEN makes, and the parts of a training and of an extraction that were killed."""
    runs.load()
    make_box(folder)
    for line in GIVEN:
        must(runs.run(line.split(), folder), line)
    (folder / "box").rename(folder / "given")
    (folder / "given" / "parts").mkdir()
    for words in (GIVEN[6], GIVEN[9]):
        line = words.replace(" pairs.h5", " ../given/pairs.h5").replace("world", "../given/world").split()
        make_box(folder)
        calls = must(runs.run(line, folder), words).calls
        make_box(folder)
        runs.run(line, folder, runs.Fault(runs.STRIKE_COMMAND, int(0.65 * calls), 9))
        for part in (folder / "box").glob("*.partial/*.part.h5"):
            part.rename(folder / "given" / "parts" / f"{line[0]} {part.name}")


def make_footage_kinds(folder: Path) -> list[Kind]:
    import cv2
    from footage import add_orientation, make_video, picture, write_image

    folder.mkdir()
    kinds = []
    for suffix in ("jpg", "png", "webp", "bmp", "tiff"):
        path = write_image(folder / f"a.{suffix}", picture(2, 4, (48, 40)))
        if suffix == "jpg":
            add_orientation(path, 6)
        kinds.append(Kind(suffix, [path], functools.partial(read_footage, kind="images"), suffix == "png"))
    if hasattr(cv2, "IMWRITE_AVIF_QUALITY") and cv2.imencode(".avif", picture(0, 4, (48, 40)))[0]:
        path = write_image(folder / "a.avif", picture(2, 4, (48, 40)))
        kinds.append(Kind("avif", [path], functools.partial(read_footage, kind="images")))
    for suffix in ("mp4", "avi", "mkv", "mov", "webm", "ts")[:4]:
        path = make_video(folder / f"a.{suffix}", 12, size=(48, 32))
        kinds.append(Kind(suffix, [path], functools.partial(read_footage, kind="video")))
    return kinds


def make_text_kinds(folder: Path) -> list[Kind]:
    import json

    from footage import make_boxes

    folder.mkdir()
    coco = make_boxes(
        folder / "coco.json", {"0001.jpg": [[1, 2, 20, 30], [30, 5, 9, 9]], "a/2.jpg": [[0, 0, 5, 5]]}, side="left"
    )
    dohs = folder / "100doh.json"
    dohs.write_text(
        json.dumps({"0001.jpg": [{"x1": 0.1, "y1": 0.2, "x2": 0.3, "y2": 0.5, "hand_side": "l", "score": 1}]})
    )
    boxes = folder / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1,side,score\n0001.jpg,1,2,20,30,left,0.9\na/2.jpg,0,0,5,5,right,\n")
    camera = folder / "camera.json"
    camera.write_text(
        json.dumps(
            {"model": "pinhole", "K": [[400.0, 0, 32], [0, 401, 30], [0, 0, 1]], "distortion": [0.1, 0, 0, 0, 0]}
        )
    )
    listed = folder / "list.txt"
    listed.write_bytes(b"# films\nfilms/a.mp4\nfilms/b.mp4\n")
    template = folder / "template.json"
    template.write_text(json.dumps({"annotations": {"nusar": {"000001": {}, "000002": {}}}}))
    return [
        Kind("boxes: COCO, 100DOH, csv", [coco, dohs, boxes], read_boxes),
        Kind("camera json", [camera], read_camera),
        Kind("list", [listed], read_list),
        Kind("submission template", [template], read_template),
    ]


def make_set_kinds(folder: Path) -> list[Kind]:
    from footage import make_freihand, make_labelled

    for room in ("sources",):
        sys.path.insert(0, str(runs.HERE.parents[1] / room))
    import test_assemblyhands
    import test_dexycb
    import test_ho3d
    import test_interhand
    import test_rhd
    import test_youtube3d

    folder.mkdir()
    made: list[tuple[str, Path, str | None]] = []
    for name, make, split in (
        ("labels.npz", lambda root: make_labelled(root, size=48), None),
        ("labels.json", lambda root: make_labelled(root, size=48, as_json=True), None),
        ("freihand", lambda root: (root.mkdir(), make_freihand(root, num_hands=2)), "training"),
        ("ho3d", test_ho3d.make_ho3d, "train"),
        ("interhand", test_interhand.make_interhand, "train"),
        ("rhd", test_rhd.make_rhd, "training"),
        ("youtube3d", test_youtube3d.make_set, "train"),
        ("assemblyhands", test_assemblyhands.make_assembly, "val"),
        ("dexycb", make_dexycb(test_dexycb), "s1_val"),
    ):
        make(folder / name)
        made.append((name, folder / name, split))
    return [
        Kind(
            f"set {name}",
            some([path for path in sorted(root.rglob("*")) if path.suffix in LABELS]),
            functools.partial(read_set, dataset=None if "." in name else name, split=split),
            root=root,
            share=0.2 if name == "dexycb" else 1.0,  # eight cameras
        )
        for name, root, split in made
    ]


def some(files: list[Path]) -> list[Path]:
    return files if len(files) < 40 else [*files[:30], *files[-10:]]


def make_dexycb(module: types.ModuleType) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for (subject, number), (_, frames) in list(module.make_root(root, subjects=(6,)).items())[:3]:
            module.make_pictures(root, subject, number, frames)

    return make


def make_weight_kinds(folder: Path) -> list[Kind]:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    tensors = {f"layer1.{n}.weight": torch.arange(500.0).reshape(10, 50) + n for n in range(4)}
    torch.save(tensors, folder / "a.pth")
    torch.save({"state_dict": tensors, "epoch": 3}, folder / "b.pth", _use_new_zipfile_serialization=False)
    save_file(tensors, folder / "a.safetensors")
    kinds = [
        Kind(".pth", [folder / "a.pth"], read_tensors, True),
        Kind(".pth of old torch", [folder / "b.pth"], read_tensors),
        Kind(".safetensors", [folder / "a.safetensors"], read_tensors),
    ]
    try:
        from onnx_models import make_onnx
    except ImportError:
        return kinds
    return [*kinds, Kind(".onnx", [make_onnx(folder / "a.onnx", "regression")], read_onnx)]
