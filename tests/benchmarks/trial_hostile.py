"""Hostile files, each given to the commands that would read it: refused in one line, soon, in little memory, and with
nothing run and nothing outside read.

    python tests/benchmarks/trial_hostile.py [--only NAME]

Exits with 1 where one takes over 20 s or 1.5 GB, ends in a traceback, or is taken.
"""

import io
import json
import os
import pickle
import resource
import shutil
import struct
import sys
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import fault_runs as runs
import h5py
import numpy as np
from fault_cases import GIVEN, make_box, must

MOST_MEMORY = 1_500_000_000  # bytes above what the process began with
COLUMNS = ["tried", "refused", "taken", "traceback", "hang", "crash", "ran something"]


class Runs:
    """Pickled, it makes a folder where it is read."""

    def __reduce__(self):
        return os.mkdir, (str(Path.cwd() / "ran"),)


def in_hdf5(change: Callable[[h5py.File], object]) -> Callable[[Path, Path], None]:
    """A sound file with something added. Its crops remain."""

    def make(path: Path, given: Path) -> None:
        shutil.copy(given / "crops.h5", path)
        with h5py.File(path, "r+") as h5:
            change(h5)

    return make


def outside(h5: h5py.File) -> None:
    del h5["crops/box"]
    h5["crops/box"] = h5py.ExternalLink("/etc/passwd", "/box")


def loop(h5: h5py.File) -> None:
    h5["crops/again"] = h5["crops"]


def external_storage(h5: h5py.File) -> None:
    del h5["crops/jpeg"]
    h5["crops"].create_dataset("jpeg", (64,), "u1", external=[("/etc/passwd", 0, 64)])


def sparse(h5: h5py.File) -> None:
    rows = h5["crops/score"].shape[0]
    del h5["crops/landmarks"]
    h5["crops"].create_dataset("landmarks", (rows, 21, 2), "f4", chunks=(rows, 21, 2))
    h5.create_dataset("curve/step", (10**12,), "i8", chunks=(1024,))


def virtual(h5: h5py.File) -> None:
    layout = h5py.VirtualLayout((8,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(8,))
    del h5["crops/score"]
    h5.create_virtual_dataset("crops/score", layout)


def variable(h5: h5py.File) -> None:
    h5["crops"].attrs["said"] = ["of", "variable length"]


def deep(h5: h5py.File) -> None:
    group = h5
    for _ in range(2000):
        group = group.create_group("g")


def newer(h5: h5py.File) -> None:
    h5.attrs["format_version"] = 99


def unfinished(h5: h5py.File) -> None:
    h5.attrs["complete"] = False


def compressed(h5: h5py.File) -> None:
    del h5["crops/score"]
    h5["crops"].create_dataset("score", (10**8,), "f4", chunks=(10**6,), compression="gzip")[:10] = 0


def history_of_numbers(h5: h5py.File) -> None:
    step = h5["provenance"][sorted(h5["provenance"])[0]]
    for name in ("config", "inputs", "report"):
        data = np.frombuffer(b"[17, null]", np.uint8)
        del step[name]
        step.create_dataset(name, data=data).attrs["crc32"] = np.uint32(zlib.crc32(data))


def png_bomb(path: Path, _: Path) -> None:
    """30,000 x 30,000 px in 109 kB."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(bytes(30000 * 3751), 9)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def jpeg_of_all_sizes(path: Path, _: Path) -> None:
    import cv2

    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)


def npz_bomb(path: Path, _: Path) -> None:
    """A member that says it unpacks to 4 TB, and one that does to 8 GB."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (2**39,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("K.npy", head.getvalue() + bytes(10_000_000))
        archive.writestr("image.npy", head.getvalue())


def npz_that_runs(path: Path, _: Path) -> None:
    np.savez(path, image=np.array([Runs()], dtype=object), K=np.eye(3), joints_m=np.zeros((1, 21, 3)), side=["left"])


def text(content: str | bytes) -> Callable[[Path, Path], None]:
    return lambda path, _: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def torch_that_runs(path: Path, _: Path) -> None:
    import torch

    torch.save({"conv1.weight": Runs()}, path)


def safetensors_of_lies(path: Path, _: Path) -> None:
    head = json.dumps({"conv1.weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(64))


BOXES = "extract @world --boxes FILE --size 32 --workers 1 -o o.h5"
CAMERA = "extract @world --boxes @world/boxes.json --camera FILE --size 32 --workers 1 -o o.h5"
LABELS = "extract . --size 32 --workers 1 -o o.h5"
IMAGE = "extract FILE --whole --size 32 --workers 1 -o o.h5"
WEIGHTS = "pretrain @pairs.h5 --init FILE --arch resnet18 --input-size 32 --batch-size 4 --steps 1 --gpus 0 -o o.h5"
HDF5 = ("info FILE", "embed FILE -o o.h5", "export FILE -o o.csv", "check --deep FILE")
FILES: dict[str, tuple[str, Callable | None, tuple[str, ...]]] = {
    **{
        f"HDF5: {change.__name__}": ("f.h5", in_hdf5(change), HDF5)
        for change in (
            outside, loop, external_storage, sparse, virtual, variable, deep, newer, unfinished, compressed,
            history_of_numbers,
        )
    },
    "png bomb": ("f.png", png_bomb, (IMAGE,)),
    "jpeg of 65,535 px": ("f.jpg", jpeg_of_all_sizes, (IMAGE,)),
    "npz bomb": ("labels.npz", npz_bomb, (LABELS,)),
    "npz that runs": ("labels.npz", npz_that_runs, (LABELS,)),
    "pickle for torch": ("f.pth", torch_that_runs, (WEIGHTS,)),
    "bare pickle": ("f.pth", lambda path, _: path.write_bytes(pickle.dumps(Runs())), (WEIGHTS,)),
    "safetensors of lies": ("f.safetensors", safetensors_of_lies, (WEIGHTS,)),
    "json 100,000 deep": ("f.json", text("[" * 100_000), (BOXES, CAMERA)),
    "json of a number of 10 MB": ("f.json", text('{"K": 1' + "0" * 10_000_000 + "}"), (BOXES, CAMERA)),
    "csv of one line of 50 MB": ("f.csv", text(b"image,x0,y0,x1,y1\n" + b"a" * 50_000_000), (BOXES,)),
    "/dev/zero": ("/dev/zero", None, (BOXES, CAMERA, "extract --list FILE -o o.h5", WEIGHTS, *HDF5, IMAGE)),
    "a pipe": ("f.fifo", lambda path, _: os.mkfifo(path), (BOXES, CAMERA, WEIGHTS, *HDF5, IMAGE)),
    "html for a video": ("f.mp4", text("<!doctype html><title>404"), (IMAGE,)),
}  # fmt: skip


def try_file(name: str, command: str, folder: Path) -> tuple[Counter, str]:
    place, make, _ = FILES[name]
    make_box(folder)
    path = Path(place) if make is None else folder / "box" / place
    os.chdir(folder / "box")
    if make:
        make(path, folder / "given")
    words = [word.replace("@", "../given/").replace("FILE", str(path)) for word in command.split()]
    ended = runs.run(words, folder, longest=20)
    found, last = Counter(tried=1), ended.said.strip()[-400:]
    if "Traceback" in ended.said:
        found["traceback"] += 1
    elif ended.code is None:
        found["hang"] += 1
    elif ended.code < 0 or ended.code == 1 and "process died" in last and "png" not in name:
        found["crash"] += 1
    else:
        found["taken" if ended.code == 0 else "refused"] += 1
    found["ran something"] += (folder / "box" / "ran").exists()
    return found, f"{name}: {words[0]}: exit {ended.code}, {ended.seconds:.1f} s: {last}"


def main() -> int:
    options, folder = runs.begin(__doc__.splitlines()[0], 0)
    runs.load()
    began, counts, faults = time.monotonic(), {}, 0
    make_box(folder)
    for line in GIVEN[:6]:
        must(runs.run(line.split(), folder), line)
    (folder / "box").rename(folder / "given")
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST_MEMORY, size + MOST_MEMORY))
    for name, (_, _, commands) in FILES.items():
        if options.only in name:
            counts[name] = Counter()
            for command in commands:
                found, told = try_file(name, command, folder)
                counts[name] += found
                print(told, flush=True)
            faults += counts[name].total() - counts[name]["tried"] - counts[name]["refused"]
    runs.print_table("hostile files", COLUMNS, counts, time.monotonic() - began)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
