"""Footage made for the tests: little videos whose every frame can be told by its colour, images, and a way to run a
stage on them."""

import dataclasses
import json
import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from handtool import store


def make_video(
    path: Path,
    frames: int = 90,
    fps: int = 30,
    size: tuple[int, int] = (96, 64),
    times: list[float] | None = None,
    options: dict | None = None,
) -> Path:
    """A ball that travels from left to right; frame i is as bright as i. size: (width, height) px. times: s, one per
    frame."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"g": "15", "bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, frames, size), format="rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = round(1000 * (times[number] if times else number / fps))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def picture(number: int, of: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """(h, w, 3) uint8: a ground that brightens with the number, noise that makes packets large, a red corner at the
    upper left."""
    width, height = size
    image = np.full((height, width, 3), 40 + 150 * number // max(of, 1), np.uint8)
    image[:, :, 2] += np.random.default_rng(number).integers(0, 30, (height, width), dtype=np.uint8)
    image[: height // 4, : width // 4] = 230, 20, 20
    return image


def number_of(image: np.ndarray, of: int) -> int:
    """Which frame of `picture` this is (to within the coder's noise)."""
    height, width = image.shape[:2]
    return round((np.median(image[height // 2 :, width // 2 :, 0]) - 40) * of / 150)


def make_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn_video(path: Path, degrees: int) -> Path:
    """Writes a rotation into the display matrix of an mp4 (ISO 14496-12, 8.3.2): what a phone held on its side does."""
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    matrix = (cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    data[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)
    return path


def damage(path: Path, count: int = 60, first: float = 0.3, last: float = 0.9, seed: int = 5) -> Path:
    """Flips bytes between two shares of the file's length."""
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(int(first * len(data)), int(last * len(data)), count):
        data[place] ^= int(rng.integers(1, 256))
    path.write_bytes(data)
    return path


def write_image(path: Path, image: np.ndarray, quality: int = 95) -> Path:
    """image: RGB or with whatever channels and depth it has (three channels are RGB). Any file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    done, data = cv2.imencode(path.suffix, np.ascontiguousarray(stored), options)
    assert done
    path.write_bytes(data.tobytes())
    return path


def add_orientation(path, orientation: int) -> None:
    """Puts an EXIF header with one tag, the orientation, behind the JPEG's first marker."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:])


def add_focal_length(path, focal_mm: int, order: str = "<") -> None:
    """Puts an EXIF header behind the JPEG's first marker whose Exif directory states the 35 mm equivalent. order: of
    the bytes, "<" or ">"."""
    tiff = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    tiff += struct.pack(order + "HHHIII", 1, 0x8769, 4, 1, 26, 0)
    tiff += struct.pack(order + "HHHIHHI", 1, 0xA405, 3, 1, focal_mm, 0, 0)
    body, data = b"Exif\0\0" + tiff, path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:])


def make_labelled(folder: Path, count: int = 6, size: int = 224, as_json: bool = False, **changes: object) -> Path:
    """A labelled set of plain pictures; `changes` replaces columns (None: leaves one out). Returns its folder."""
    rng = np.random.default_rng(3)
    names = [f"{number:03d}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        write_image(folder / "images" / name, picture(number, count, (size, size)))
    joints = rng.uniform(-0.04, 0.04, (count, 21, 3)) + (0, 0, 0.5)
    joints[:, 9] = joints[:, 0] + (0, -0.09, 0)
    camera = np.array([[400.0, 0, size / 2], [0, 400.0, size / 2], [0, 0, 1]])
    columns = {
        "image": np.array(names),
        "K": np.tile(camera, (count, 1, 1)),
        "joints_m": joints,
        "side": np.array(["left", "right"] * count)[:count],
    }
    columns = {name: values for name, values in {**columns, **changes}.items() if values is not None}
    if as_json:
        (folder / "labels.json").write_text(
            json.dumps({name: np.asarray(values).tolist() for name, values in columns.items()})
        )
    else:
        np.savez(folder / "labels.npz", **columns)
    return folder


def make_freihand(root: Path, truth: str | None = "here", num_hands: int = 5, num_exams: int = 3) -> Path:
    """FreiHAND's layout: hands before 4 backgrounds, others to be examined on. truth of these: "here", "beside" (in
    <root>_eval) or None."""
    rng = np.random.default_rng(11)
    for split, images, hands in (("training", 4 * num_hands, num_hands), ("evaluation", num_exams, num_exams)):
        for number in range(images):
            coarse = rng.integers(0, 90, (7, 7, 3), dtype=np.uint8)  # dark: a negative would be bright
            write_image(root / split / "rgb" / f"{number:08d}.jpg", cv2.resize(coarse, (224, 224)))
        xyz = rng.uniform(-0.05, 0.05, (hands, 21, 3)) + (0, 0, 0.7)
        xyz[:, 9] = xyz[:, 0] + (0, -0.09, 0)
        camera = np.tile([[470.0, 0, 112], [0, 471, 113], [0, 0, 1]], (hands, 1, 1)) + rng.uniform(
            0, 9, (hands, 1, 1)
        ) * np.diag((1, 1, 0))
        content = {"K": camera, "xyz": xyz, "scale": np.linalg.norm(xyz[:, 9] - xyz[:, 10], axis=1)}
        if split == "evaluation":
            content |= {"verts": rng.uniform(-0.05, 0.05, (hands, 778, 3)) + (0, 0, 0.7)}
        for name, values in content.items():
            apart = split == "evaluation" and name in ("xyz", "verts")
            folder = root if not apart or truth == "here" else root.with_name(root.name + "_eval")
            if not apart or truth:
                folder.mkdir(exist_ok=True)
                (folder / f"{split}_{name}.json").write_text(json.dumps(values.tolist()))
    return root


def make_boxes(path: Path, hands: dict[str, list[list[float]]], **more: object) -> Path:
    """COCO json: file name -> boxes x, y, width, height."""
    images = [{"id": number, "file_name": name} for number, name in enumerate(hands)]
    annotations = [
        {"image_id": number, "bbox": box, **more} for number, boxes in enumerate(hands.values()) for box in boxes
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def run_stage(
    stage, source: list[Path] | Path, output: Path, config, keep_job: bool = False, **keywords: object
) -> dict:
    """Runs a resumable stage as `handtool.cli` does, and returns its report. source: raw paths, or a handtool file."""
    record = store.Record(f"handtool {stage.__name__}", dataclasses.asdict(config), [])
    files = [] if isinstance(source, list) else [store.open_file(source)]
    with store.open_job(output, record) as job, store.create_file(output, record, files) as sink:
        report = stage(source if isinstance(source, list) else files[0], sink, config, job=job, **keywords)
        sink.finish(report)
        if not keep_job:
            job.remove()
    for file in files:
        file.close()
    return report


def tables_of(path: Path, *tables: store.Table) -> dict[str, np.ndarray]:
    """Every column of some tables, to be compared."""
    with store.open_file(path) as file:
        columns = [
            column
            for table in tables or file.tables
            for column in (store.TABLES[table] if isinstance(table, str) else table).columns
        ]
        return {
            column.path: store.read_column(file, column)
            for column in columns
            if file.has(column) and column.name != "jpeg"
        }
