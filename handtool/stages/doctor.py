"""doctor: whether this machine has what handtool needs. Every package is imported in its own process, which may
crash."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from handtool.progress import Progress, silent

TIMEOUT_S = 120  # importing mediapipe and torch from a slow network disk
LOW_DISK_GIB = 2.0
OLDEST_PYTHON, MEDIAPIPE_BELOW = (3, 11), (3, 13)
OK, MISSING = "ok", "missing"

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
import os
os.environ["GLOG_minloglevel"] = "2"
import mediapipe
both = hasattr(mediapipe, "solutions")
found = f"mediapipe {mediapipe.__version__}" + ("" if both else ", Tasks API only")
mediapipe.solutions.hands if both else mediapipe.tasks.vision.HandLandmarker
remedy = "" if both else "it brings no model: --detector hand_landmarker.task, from MediaPipe's page of models"
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
    "mediapipe": "pip install 'handtool[mediapipe]' (mediapipe==0.10.21, Python below 3.13); without it: extract "
    "--whole, known keypoints",
    "onnx": "pip install 'handtool[onnx]'; without it: no detector or estimator as ONNX, no export to ONNX",
    "tables": "pip install --force-reinstall handtool",
}
NEEDED = {"python", "torch", "hnswlib", "opencv", "av", "tables", "disk"}


@dataclass
class Finding:
    """One line of the report. With status `ok` the `remedy` is advice."""

    name: str
    status: str
    needed: bool
    found: str
    remedy: str = ""


def doctor(progress: Progress = silent) -> dict:
    """{"ready", "findings": [{"name", "status", "needed", "found", "remedy"}]}; ready: no needed package is missing."""
    findings = [check_python(), check_disk()]
    with ThreadPoolExecutor(max(2, (os.cpu_count() or 2))) as pool:
        for done, finding in enumerate(pool.map(check_import, PROBES), 1):
            findings.append(finding)
            progress("look at packages", done, len(PROBES))
    findings.insert(2, check_compiler(hnswlib_there=next(f.status == OK for f in findings if f.name == "hnswlib")))
    ready = not any(finding.needed and finding.status != OK for finding in findings)
    return {"ready": ready, "findings": [asdict(finding) for finding in findings]}


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
    needed = name in NEEDED
    if name == "mediapipe" and sys.version_info[:2] >= MEDIAPIPE_BELOW:
        return Finding(
            name,
            MISSING,
            needed,
            f"there is none for Python {platform.python_version()}",
            "use Python 3.12 or older for --detector mediapipe",
        )
    try:
        done = run_probe(f"found = remedy = ''\nmissing = False\n{PROBES[name]}\n{PRINT}")
    except subprocess.TimeoutExpired:
        return Finding(name, MISSING, needed, f"no answer within {TIMEOUT_S} s", REMEDIES[name])
    if done.returncode == 0:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        return Finding(name, MISSING if answer["missing"] else OK, needed, answer["found"], answer["remedy"])
    if done.returncode < 0:
        return Finding(
            name, MISSING, needed, f"its import crashed ({signal.Signals(-done.returncode).name})", REMEDIES[name]
        )
    reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return Finding(name, MISSING, needed, reason[:300], remedy_for(name, reason))


def run_probe(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S
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
