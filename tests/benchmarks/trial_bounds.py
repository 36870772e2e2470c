"""Things that are no such input, in the place of every input of every command: refused in one line, soon and in little
memory?

    python tests/benchmarks/trial_bounds.py [FOLDER [WORD]]

A line each (with WORD only the commands that contain it): exit code, seconds of CPU and MB beyond those of the same
command on an empty file, and its message. Exits with 1 where one takes over 1 s or 500 MB more, has a traceback or
another exit code than 1, 2 and 3.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2])]

from footage import make_video  # noqa: E402
from making import make_file  # noqa: E402

SECONDS, MOST_S, MOST_MB = 60, 1.0, 500
FULL = ("crops", "keypoints", "embeddings", "labels")
ASSEMBLY = "annotations/train/assemblyhands_train_ego_data_v1-1.json"
INPUTS = {  # of each: ending, command with {} for the input; S a sound file, O an output
    "extract image": (".png", "extract {} --whole -o O"),
    "extract tiff": (".tif", "extract {} --whole -o O"),
    "extract jpeg": (".jpg", "extract {} --whole -o O"),
    "extract webp": (".webp", "extract {} --whole -o O"),
    "extract heic": (".heic", "extract {} --whole -o O"),
    "extract pgm": (".pgm", "extract {} --whole -o O"),
    "extract film": (".mp4", "extract {} --whole -o O"),
    "extract labels.npz": ("labels.npz", "extract {} -o O"),
    "extract labels.json": ("labels.json", "extract {} -o O"),
    "extract FreiHAND": ("training_K.json", "extract {} --dataset freihand --split train -o O"),
    "extract AssemblyHands": (ASSEMBLY, "extract {} --dataset assemblyhands --split train -o O"),
    "extract --boxes json": (".json", "extract F --boxes {} -o O"),
    "extract --boxes csv": (".csv", "extract F --boxes {} -o O"),
    "extract --camera": (".json", "extract F --whole --camera {} -o O"),
    "extract --list": (".txt", "extract --list {} --whole -o O"),
    "extract --detector": (".onnx", "extract F --detector {} -o O"),
    "keypoints": (".h5", "keypoints {} -o O"),
    "keypoints --model": (".onnx", "keypoints S --model {} -o O"),
    "keypoints --estimator": (".h5", "keypoints S --estimator {} -o O"),
    "embed": (".h5", "embed {} -o O"),
    "embed --basis": (".h5", "embed S --basis {} -o O"),
    "embed --encoder": (".pth", "embed S --encoder {} -o O"),
    "mine": (".h5", "mine {} -o O"),
    "mine --in": (".h5", "mine S --in {} -o O"),
    "pretrain": (".h5", "pretrain {} -o O"),
    "pretrain --init pth": (".pth", "pretrain S --method simclr --steps 1 --arch resnet18 --init {} -o O"),
    "finetune --init safetensors": (".safetensors", "finetune S --steps 1 --arch resnet18 --init {} -o O"),
    "finetune --encoder": (".h5", "finetune S --steps 1 --encoder {} -o O"),
    "finetune": (".h5", "finetune {} --steps 1 -o O"),
    "finetune --pool": (".h5", "finetune S --steps 1 --init scratch --pool {} -o O"),
    "eval": (".h5", "eval {}"),
    "eval --model": (".h5", "eval S --model {}"),
    "predict": (".h5", "predict {} --model S -o O"),
    "predict --model": (".h5", "predict S --model {} -o O"),
    "show": (".h5", "show {} -o O.png"),
    "report": (".h5", "report {} -o O.html"),
    "info": (".h5", "info {}"),
    "check": (".h5", "check {}"),
    "check --deep": (".h5", "check --deep {}"),
    "cat": (".h5", "cat {} S -o O"),
    "split": (".h5", "split {} --by video --shares 50,50 -o O -o O2"),
    "export": (".h5", "export {} -o O.csv"),
    "export --template": (".json", "export S --format assemblyhands --template {} -o O.json"),
}


def hollow(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(50 << 30)


def zipped(*members: tuple[str, bytes], repeat: int = 1, stated: int | None = None):
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members:
                with archive.open(name, "w", force_zip64=True) as member:
                    for _ in range(repeat):
                        member.write(data)
        if stated is not None:  # the directory's own entry
            content = bytearray(path.read_bytes())
            entry = content.rindex(b"PK\1\2")
            content[entry + 24 : entry + 28] = stated.to_bytes(4, "little")
            path.write_bytes(content)

    return make


def many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(200_000):
            archive.writestr(zipfile.ZipInfo(f"{number}.npy"), b"")


def hdf5(change):
    def make(path: Path) -> None:
        shutil.copy(path.with_name("S.h5"), path)
        with h5py.File(path, "r+") as h5:
            change(h5)

    return make


def trillion(h5: h5py.File) -> None:
    del h5["crops/score"]
    h5.create_dataset("crops/score", (10**12,), "<f4", chunks=(1024,))


def unwritten(h5: h5py.File) -> None:
    rows = h5["crops/score"].shape
    del h5["crops/score"]
    h5.create_dataset("crops/score", rows, "<f4", chunks=rows, maxshape=(None,))


def packed(h5: h5py.File) -> None:
    h5.create_dataset("more", data=np.zeros(200_000_000, "u1"), chunks=(1 << 24,), compression="gzip")


def of_type(value: object):
    def change(h5: h5py.File) -> None:
        step = h5["provenance"]["000"]
        del step["report"]
        text = np.frombuffer(value if isinstance(value, bytes) else json.dumps(value).encode(), np.uint8)
        step.create_dataset("report", data=text).attrs["crc32"] = np.uint32(zlib.crc32(text.tobytes()))

    return change


def variable(h5: h5py.File) -> None:
    h5.attrs["more"] = "of variable length"


def layout(h5: h5py.File) -> None:
    h5.create_virtual_dataset("more", h5py.VirtualLayout((10**9,), "u1"))


def put(name: str, value: object):
    return lambda h5: h5.__setitem__(name, value)


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0"
    rows = zlib.compress(bytes(width * 3 + 1) * min(height, 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def text(data: bytes):
    return lambda path: path.write_bytes(data)


KINDS = {
    "empty": text(b""),
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "/dev/random": lambda path: path.symlink_to("/dev/random"),
    "pipe without a writer": os.mkfifo,
    "folder": os.mkdir,
    "50 GB of holes": hollow,
    "text": text(b"no such file\n"),
    "200 MB in a line": lambda path: path.write_bytes(b"x" * 200_000_000),
    "20 MB of digits": text(b"9" * 20_000_000),
    "nested 100,000 deep": text(b"[" * 100_000 + b"]" * 100_000),
    "1e400, NaN": text(b'{"images": [{"id": 1e400, "file_name": "a"}], "annotations": [NaN], "K": [[Infinity]]}'),
}
ZIPS = {
    "zip: 10 GB in 10 MB": zipped(("a/data.pkl", bytes(1 << 24)), repeat=600),
    "zip: states 1 kB, 1 GB": zipped(("K.npy", bytes(1 << 24)), repeat=64, stated=1000),
    "zip: 200,000 members": many_members,
    "zip: ../ and /": zipped(("../../evil.npy", b"x"), ("/evil/data.pkl", b"x")),
}
HDF5S = {
    "hdf5: 10^12 rows, none stored": hdf5(trillion),
    "hdf5: rows never written": hdf5(unwritten),
    "hdf5: gzip, 1:1000": hdf5(packed),
    "hdf5: variable length": hdf5(variable),
    "hdf5: virtual": hdf5(layout),
    "hdf5: soft loop": hdf5(put("more", h5py.SoftLink("/more"))),
    "hdf5: external link": hdf5(put("more", h5py.ExternalLink("/etc/passwd", "/"))),
    "hdf5: references": hdf5(lambda h5: h5.create_dataset("more", data=[h5["crops"].ref], dtype=h5py.ref_dtype)),
    "hdf5: report null": hdf5(of_type(None)),
    "hdf5: report a number": hdf5(of_type(3)),
    "hdf5: accounting a text": hdf5(of_type({"accounting": "x"})),
    "hdf5: report of 120 MB": hdf5(of_type(b'{"a": "' + b"x" * 120_000_000 + b'"}')),
    "hdf5: report nested": hdf5(of_type(b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}")),
}
IMAGES = {"png: 50,000 x 50,000": text(png(50_000, 50_000)), "png: 16,000 x 8,000": text(png(16_000, 8_000))}
EVERY_HDF5 = ("info", "check --deep", "report")
SOME_HDF5 = ("hdf5: 10^12 rows, none stored", "hdf5: report a number")


def kinds_for(name: str, ending: str) -> dict:
    more: dict = dict(KINDS)
    if ending in (".pth", "labels.npz"):
        more |= ZIPS
    if ending == ".h5":
        more = {kind: KINDS[kind] for kind in ("empty", "/dev/zero", "pipe without a writer", "50 GB of holes")}
        more |= HDF5S if name in EVERY_HDF5 else {kind: HDF5S[kind] for kind in SOME_HDF5}
    return more | (IMAGES if ending in (".png", ".webp", ".tif") else {})


def run(folder: Path, words: list[str]) -> tuple[int, float, float, str]:
    """Exit code (-9: stopped after SECONDS), s of CPU, MB of the largest process, what it said."""
    began, message = time.monotonic(), folder / "said"
    how = {"stdin": subprocess.DEVNULL, "cwd": folder, "start_new_session": True}
    with message.open("w+b") as said:
        command = [sys.executable, "-m", "handtool", *words]
        child = subprocess.Popen(command, stdout=said, stderr=said, preexec_fn=limit_memory, **how)
        done, status, usage = 0, 0, None
        while not done:
            if time.monotonic() - began > SECONDS:
                os.killpg(child.pid, 9)
            done, status, usage = os.wait4(child.pid, os.WNOHANG)
            time.sleep(0.02)
    child.returncode = os.waitstatus_to_exitcode(status)
    return (
        child.returncode,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024,
        message.read_text(errors="replace"),
    )


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))


def give(folder: Path, name: str, kind: str) -> tuple[int, float, float, str]:
    """As run, of the command `name` with an input of that kind."""
    ending, command = INPUTS[name]
    place = folder / "input"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    shutil.copy(folder / "S.h5", place / "S.h5")
    path = place / (ending if "." in ending[1:] else f"a{ending}")
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds_for(name, ending)[kind](path)
    (place / "S.h5").unlink()
    named = {"{}": str(place if "dataset" in command else path)}
    named |= {"S": str(folder / "S.h5"), "F": str(folder / "F.mp4")}
    for word in command.split():
        (folder / word).unlink(missing_ok=True) if word[0] == "O" else None
    return run(folder, [named.get(word, word) for word in command.split()])


def main(argv: list[str]) -> int:
    bad, count, worst = [], 0, [0.0, 0.0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(argv[0] if argv else scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        make_file(folder / "S.h5", (6, 6), FULL)
        make_video(folder / "F.mp4", 10)
        for name in [name for name in INPUTS if len(argv) < 2 or argv[1] in name]:
            basis = give(folder, name, "empty")
            for kind in kinds_for(name, INPUTS[name][0]):
                code, seconds, memory, said = give(folder, name, kind)
                more = seconds - basis[1], memory - basis[2]
                lines = said.replace(f"{folder}/input/", "").replace(str(folder), "").splitlines()
                first = next((line for line in lines if line.startswith("handtool ")), lines[0] if lines else "")
                good = code in (1, 2, 3) and more[0] < MOST_S and more[1] < MOST_MB and "Traceback" not in said
                count, worst = count + 1, [max(pair) for pair in zip(worst, more)]
                line = f"{name:28} {kind:30} {code:3} {more[0]:6.2f} s {more[1]:6.0f} MB  {first[:150]}"
                print(line, flush=True)
                bad += [] if good else [line]
    print(
        f"{count} inputs, at most {worst[0]:.2f} s and {worst[1]:.0f} MB more; to look at: {len(bad)}", *bad, sep="\n"
    )
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
