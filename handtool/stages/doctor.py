"""doctor: whether this machine has what handtool needs. Every package is imported in its own process, which may
crash."""

import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from handtool.errors import HandtoolError
from handtool.progress import Progress, silent
from handtool.vision.mediapipe_package import find_api, how_to_install
from handtool.vision.task_file import HAND_LANDMARKER, cached_task, download, sha256_of

TIMEOUT_S = 120  # importing mediapipe and torch from a slow network disk
SLOW_S = 30
LOW_DISK_GIB = 2.0
SHORTAGES = (  # what libraries say where a machine or its limits (ulimit, containers) leave no room
    "MemoryError",
    "Cannot allocate memory",
    "failed to map segment",
    "can't start new thread",
    "Resource temporarily unavailable",
    "Too many open files",
)
DRAWN_SEED = 5  # of a hand that both APIs find
OLDEST_PYTHON = (3, 11)
OK, SLOW, MISSING = "ok", "slow", "missing"

PRINT = "import json; print(json.dumps({'found': found, 'missing': missing, 'remedy': remedy}))"
PROBES = {  # each sets `found`; also `missing` and `remedy` if the import works but something else is wrong
    "torch": """
import torch, torchvision
from torchvision.extension import _has_ops
found = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
missing = not _has_ops()
remedy = "torchvision was built for another torch: pip install --upgrade torch torchvision" if missing else ""
""",
    "cuda": """
import torch
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
missing = not names
built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
found = f"{len(names)} x {names[0]}, {built}" if names else f"no GPU (torch is {built})"
build = "its driver (nvidia-smi) and a CUDA build of torch (https://pytorch.org)"
remedy = "" if names else f"fine on the CPU (--gpus 0); with a GPU: {build}"
""",
    "hnswlib": """
import hnswlib, numpy
from importlib.metadata import version
index = hnswlib.Index("l2", 2)
index.init_index(8)
index.add_items(numpy.eye(2, dtype="f4"), num_threads=1)
index.knn_query(numpy.eye(2, dtype="f4"), k=1, num_threads=1)
found = version("hnswlib")
""",
    "opencv": """
import cv2
from importlib.metadata import PackageNotFoundError, version
packages = []
for name in ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"):
    try:
        packages.append(f"{name} {version(name)}")
    except PackageNotFoundError:
        pass
gui = [line.split(":")[1].strip() for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")]
kind = "with contrib" if hasattr(cv2, "ximgproc") else "without contrib"
kind += ", headless" if gui and gui[0] in ("", "NONE") else ""
found = f"cv2 {cv2.__version__} ({kind}) from {cv2.__file__}; installed: {', '.join(packages) or 'not by pip'}"
if len(packages) > 1:
    remedy = "several OpenCV packages share one folder (mediapipe brings opencv-contrib-python); "
    remedy += "the one installed last is what is imported"
""",
    "av": """
import av
av.codec.Codec("h264", "r")
found = f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
""",
    "mediapipe": """
from handtool.stages.doctor import find_drawn_hand
found, missing, remedy = find_drawn_hand()
""",
    "onnx": """
import onnx, onnxruntime, onnxscript
devices = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
found = f"onnxruntime {onnxruntime.__version__} ({devices}), onnx {onnx.__version__}, "
found += f"onnxscript {onnxscript.__version__}"
""",
    "tables": """
import h5py, numpy, scipy, safetensors, rich, typer
found = ", ".join(f"{package.__name__} {package.__version__}" for package in (numpy, scipy, h5py, safetensors, typer))
found += f", HDF5 {h5py.version.hdf5_version}"
""",
}
REMEDIES = {
    "torch": "pip install --upgrade torch torchvision",
    "cuda": "pip install --upgrade torch torchvision",
    "hnswlib": "PyPI has only its source: apt-get install g++ (a C++ compiler), then pip install --force-reinstall "
    "--no-cache-dir hnswlib",
    "opencv": "pip install --force-reinstall opencv-python",
    "av": "pip install --upgrade av",
    "mediapipe": how_to_install(),
    "onnx": "pip install 'handtool[onnx]'; without it: no detector or estimator as ONNX, no export to ONNX",
    "tables": "pip install --force-reinstall handtool",
}
MODULES = {"cuda": "torch", "opencv": "cv2", "onnx": "onnxruntime", "tables": "h5py"}  # where the name is another
NEEDED = {"python", "torch", "hnswlib", "opencv", "av", "tables", "disk"}


@dataclass
class Finding:
    """One line of the report. With status `ok` or `slow` the `remedy` is advice."""

    name: str
    status: str
    needed: bool
    found: str
    remedy: str = ""


def doctor(progress: Progress = silent, *, fetch: bool = False) -> dict:
    """{"ready", "findings": [{"name", "status", "needed", "found", "remedy"}]}; ready: no needed package is missing.

    fetch: MediaPipe's task file is downloaded first. Raises HandtoolError if that fails.
    """
    fetched = {"task_file": fetch_task(progress)} if fetch else {}
    findings = [check_python(), check_disk()]
    with ThreadPoolExecutor(max(2, (os.cpu_count() or 2))) as pool:
        for done, finding in enumerate(pool.map(check_import, PROBES), 1):
            findings.append(finding)
            progress("look at packages", done, len(PROBES))
    findings = [check_import(each.name) if in_doubt(each) else each for each in findings]  # once more, alone
    findings.insert(2, check_compiler(hnswlib_there=next(f.status == OK for f in findings if f.name == "hnswlib")))
    ready = not any(finding.needed and finding.status == MISSING for finding in findings)
    return {"ready": ready, "findings": [asdict(finding) for finding in findings]} | fetched


def fetch_task(progress: Progress) -> str:
    """Downloads MediaPipe's task file into the cache, where it is not there; whole or not at all. Returns what was
    done."""
    from handtool.store import write_whole  # h5py, which may be what is broken

    place = cached_task()
    if place.exists():
        same = sha256_of(place) == HAND_LANDMARKER.sha256
        return f"{place} is there already" + ("" if same else "; it is not the published file, and is left as it is")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HandtoolError(
            f"cannot make {place.parent}: {(error.strerror or str(error)).lower()}", hint="HANDTOOL_CACHE=FOLDER"
        ) from None
    with write_whole(place) as file:
        download(HAND_LANDMARKER, place, file, progress)
    return f"{place}, {HAND_LANDMARKER.size:,} bytes, with the published sha256"


def check_python() -> Finding:
    version = sys.version_info[:2]
    good = version >= OLDEST_PYTHON
    found = f"Python {platform.python_version()}, {platform.machine()}"
    return Finding("python", OK if good else MISSING, True, found, "" if good else "Python 3.11 or newer")


def check_disk() -> Finding:
    folder = tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
        free = shutil.disk_usage(folder).free / 2**30
    except OSError as error:
        return Finding(
            "disk", MISSING, True, f"{folder}: {error.strerror}", "set TMPDIR to a folder that can be written"
        )
    advice = (
        f"pipes are kept there until they are read: set TMPDIR to a folder with more than {LOW_DISK_GIB:g} GiB"
        if free < LOW_DISK_GIB
        else ""
    )
    return Finding("disk", OK, True, f"{free:.1f} GiB free in {folder} (TMPDIR)", advice)


def check_compiler(hnswlib_there: bool) -> Finding:
    """A C++ compiler; needed only to install hnswlib."""
    named = [name for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name]
    path = next((found for name in named if (found := shutil.which(name.split()[0]))), None)
    remedy = (
        ""
        if path
        else "apt-get install g++ (or your system's C++ compiler)"
        + ("; not needed while hnswlib works" if hnswlib_there else "")
    )
    return Finding("compiler", OK if path else MISSING, False, path or "no C++ compiler on PATH", remedy)


def check_import(name: str) -> Finding:
    """Runs the probe in a child process and turns its result into a finding."""
    needed, began = name in NEEDED, time.monotonic()
    try:
        done = run_probe(f"found = remedy = ''\nmissing = False\n{PROBES[name]}\n{PRINT}")
    except subprocess.TimeoutExpired:
        return without_answer(name, f"no answer within {TIMEOUT_S:g} s")
    except OSError as error:  # too many processes or files
        return without_answer(name, f"no process could be started ({(error.strerror or str(error)).lower()})")
    if done.returncode == -signal.SIGKILL:
        return without_answer(name, "killed while it was looked at")
    if done.returncode > 0 and (short := next((words for words in SHORTAGES if words in done.stderr), None)):
        return without_answer(name, f"it could not be loaded ({short})")
    if done.returncode == 0:
        answer, took = json.loads(done.stdout.strip().splitlines()[-1]), time.monotonic() - began
        status = MISSING if answer["missing"] else SLOW if took > SLOW_S else OK
        found = answer["found"] + (f" (took {took:.0f} s)" if took > SLOW_S else "")
        return Finding(name, status, needed, found, answer["remedy"])
    if done.returncode < 0:
        return Finding(
            name, MISSING, needed, f"its import crashed ({signal.Signals(-done.returncode).name})", REMEDIES[name]
        )
    reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return Finding(name, MISSING, needed, reason[:300], remedy_for(name, reason))


def in_doubt(finding: Finding) -> bool:
    """Whether it gave no answer, perhaps because others were looked at beside it."""
    return finding.name in PROBES and finding.status == SLOW and finding.found.startswith("installed, but ")


def without_answer(name: str, why: str) -> Finding:
    """A package that is there is not called broken where the machine may be the reason."""
    there, needed = importlib.util.find_spec(MODULES.get(name, name)) is not None, name in NEEDED
    if not there:
        return Finding(name, MISSING, needed, why, REMEDIES[name])
    advice = "this machine is busy or short of memory, or its disk is slow: look again when it is not"
    return Finding(name, SLOW, needed, f"installed, but {why}", advice)


def find_drawn_hand() -> tuple[str, bool, str]:
    """Whether MediaPipe works: it is shown a drawn hand. Returns what is found, whether something is missing, and a
    remedy."""
    import numpy as np

    from handtool.hands.skeleton import LEFT
    from handtool.synth.crops import make_video
    from handtool.vision.contracts import HandCrop
    from handtool.vision.cropping import decode_jpeg
    from handtool.vision.mediapipe import MediaPipeKeypoints

    try:
        api = find_api()
    except HandtoolError as error:
        return error.message, True, error.hint or ""
    said = f"mediapipe {api.version}, {'Tasks API with ' + str(api.task) if api.task else 'solutions API'}"
    drawn = make_video(DRAWN_SEED, 0, 1, 224, "easy", "left")
    answer = MediaPipeKeypoints(0.5).find_keypoints([HandCrop(decode_jpeg(drawn["jpeg"][0]), side=LEFT)])[0]
    truth, off = drawn["keypoints"][0], np.inf
    if answer is not None:
        off = np.linalg.norm(answer.xy - truth, axis=1).mean() / np.ptp(truth, axis=0).max()
    if off > 0.2:
        return f"{said}: it does not find a drawn hand", True, f"install it anew: {how_to_install()}"
    return f"{said}; finds a drawn hand", False, ""


def run_probe(code: str) -> subprocess.CompletedProcess:
    package = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": package},
    )


def remedy_for(name: str, reason: str) -> str:
    """If libGL is missing, as on servers, the remedy is the headless OpenCV."""
    if name in ("opencv", "mediapipe") and any(
        library in reason for library in ("libGL", "libgthread", "libSM", "libX", "libxcb")
    ):
        return (
            "pip uninstall -y opencv-python opencv-contrib-python && pip install opencv-python-headless (or "
            "apt-get install libgl1)"
        )
    return REMEDIES[name]
