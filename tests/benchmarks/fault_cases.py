"""Every command that writes, on inputs so small that it takes a fraction of a second, and what its outputs hold."""

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import fault_runs as runs

TINY = (
    "--arch resnet18 --init scratch --input-size 32 --batch-size 4 --steps 2 --gpus 0 --workers 1 --checkpoint-every 1"
)
GIVEN = (  # what makes the inputs, in ../given
    "synth --num-videos 3 --frames 3 --size 32 --workers 1 -o crops.h5",
    "synth --num-videos 2 --frames 3 --size 32 --workers 1 --seed 6 -o other.h5",
    "synth --videos world --num-videos 1 --frames 4 --size 48 --workers 1",
    "keypoints crops.h5 -o keypoints.h5",
    "embed keypoints.h5 --dim 3 -o embeddings.h5",
    "mine embeddings.h5 --topk 1 --index exact -o pairs.h5",
    f"pretrain pairs.h5 {TINY} -o encoder.h5",
    f"finetune crops.h5 {TINY} --head regression -o pose.h5",
    "predict crops.h5 --model pose.h5 -o predictions.h5",
    "extract world --boxes world/boxes.json --every 1 --size 32 --workers 1 -o film.h5",
    "eval predictions.h5 -o result.h5",
)
EXPORTS = {
    **{f"{name}": f"@keypoints.h5 -o o.{name}" for name in ("csv", "json", "npz")},
    **{name: f"@encoder.h5 -o o.{name}" for name in ("safetensors", "pth", "onnx")},
    "freihand": "@predictions.h5 --format freihand -o o.zip",
}


@dataclass
class Case:
    """`resumes`: its state may stay behind a kill. whole: output -> its digest, of a run without faults."""

    name: str
    words: list[str]
    outputs: list[str]
    resumes: bool = False
    seconds: float = 0.0
    calls: int = 0
    whole: dict[str, str] = field(default_factory=dict)
    listing: list[str] = field(default_factory=list)


def list_cases() -> list[Case]:
    lines = {
        "synth": "synth --num-videos 2 --frames 2 --size 32 --workers 1 -o o.h5",
        "synth --videos": "synth --videos world --num-videos 2 --frames 3 --size 48 --workers 1",
        "extract images": "extract @images --whole --size 32 --workers 1 -o o.h5",
        "extract films": "extract @world --boxes @world/boxes.json --every 1 --size 32 --workers 1 -o o.h5",
        "keypoints": "keypoints @crops.h5 -o o.h5",
        "embed": "embed @keypoints.h5 --dim 3 -o o.h5",
        "mine": "mine @embeddings.h5 --topk 1 --index exact -o o.h5",
        "pretrain": f"pretrain @pairs.h5 {TINY} -o o.h5",
        "finetune": f"finetune @crops.h5 {TINY} --head regression -o o.h5",
        "predict": "predict @crops.h5 --model @pose.h5 -o o.h5",
        "predict films": "predict @world --boxes @world/boxes.json --model @pose.h5 --workers 1 -o o.h5",
        "eval": "eval @crops.h5 --model @pose.h5 -o o.h5",
        "split": "split @crops.h5 --shares 2,1 -o o.h5 -o o2.h5",
        "cat": "cat @crops.h5 @other.h5 -o o.h5",
        "show": "show @keypoints.h5 --tile 48 -o o.png",
        "show --video": "show @film.h5 --video -o o.mp4",
        "report": "report @predictions.h5 --tile 48 -o o.html",
    } | {f"export {name}": f"export {line}" for name, line in EXPORTS.items()}
    return [make_case(name, line.split()) for name, line in lines.items()]


def make_case(name: str, words: list[str]) -> Case:
    """@ stands for the folder of the inputs."""
    outputs = [word for before, word in zip(words, words[1:], strict=False) if before == "-o"]
    resumes = words[0] in ("synth", "extract", "keypoints", "pretrain", "finetune", "predict")
    places = [word.replace("@", "../given/") for word in words]
    return Case(name, places, outputs or ["world"], resumes)


def prepare(folder: Path, only: str) -> list[Case]:
    """Loads everything, makes the inputs in folder/given and runs every case once without faults. One that fails there
    ends the trial."""
    runs.load()
    import footage

    make_box(folder)
    for number in range(4):
        footage.write_image(folder / "box" / "images" / f"{number}.jpg", footage.picture(number, 4, (48, 48)))
    for line in GIVEN:
        must(runs.run(line.split(), folder), line)
    (folder / "box").rename(folder / "given")
    cases = [case for case in list_cases() if only in case.name]
    for case in cases:
        make_box(folder)
        ended = must(runs.run(case.words, folder), " ".join(case.words))
        case.seconds, case.calls = ended.seconds, ended.calls
        case.listing = listing(folder)
        case.whole = {name: digest(folder / "box" / name) for name in case.outputs}
        print(f"{case.name}: {case.seconds:.2f} s, {case.calls} calls that change files", flush=True)
    return cases


def must(ended: runs.Ended, line: str) -> runs.Ended:
    if ended.code != 0 or ended.left:
        raise SystemExit(f"handtool {line}: exit {ended.code}, {ended.left} processes left\n{ended.said}")
    return ended


def make_box(folder: Path, earlier: list[str] = ()) -> None:
    """Empty, but for `earlier` outputs of another kind."""
    for name in ("box", "box.tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    for name in earlier:
        (folder / "box" / name).write_bytes(b"of the user's own")


def listing(folder: Path) -> list[str]:
    """Every file and folder of the box and of the folder for temporary files."""
    return sorted(str(path.relative_to(folder)) for name in ("box", "box.tmp") for path in (folder / name).rglob("*"))


def digest(path: Path) -> str:
    """Of what an output holds, its times apart: "" where it is not there, "half-made" where it cannot be read."""
    if not path.exists():
        return ""
    if path.is_dir():
        return json.dumps({p.name: digest(p) for p in sorted(path.iterdir()) if p.is_file()})
    data = path.read_bytes()
    if data.startswith(b"\x89HDF"):
        return digest_hdf5(path)
    return hashlib.sha256(data).hexdigest()


def digest_hdf5(path: Path) -> str:
    """Its uuid, and all its columns but seconds and the history."""
    import h5py

    held = hashlib.sha256()

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if not name.startswith("provenance") and name != "curve/seconds" and isinstance(item, h5py.Dataset):
            held.update(name.encode() + item[...].tobytes())

    try:
        with h5py.File(path, "r", locking=False) as h5:
            h5.visititems(add)
            return f"{h5.attrs['uuid'].decode()} {bool(h5.attrs['complete'])} {held.hexdigest()}"
    except Exception as error:
        return f"half-made: {error}"
