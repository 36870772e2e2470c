"""What happens at a command's doors: streams that cannot be written, folders that are gone, signals at any moment,
outputs over inputs. One line and the right exit code, never a traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from footage import make_boxes, make_video, picture, write_image
from making import make_file
from running import package_environment

from handtool.cli import runner
from handtool.cli.runner import run_to_code
from handtool.errors import HandtoolError
from handtool.store import CROPS, file, open_file, read_column

COMMAND = [sys.executable, "-m", "handtool"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full, /proc")


def run(*words, cwd=None, **streams) -> subprocess.CompletedProcess:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(
        [*COMMAND, *map(str, words)], text=True, env=package_environment(NO_COLOR="1"), cwd=cwd, timeout=120, **streams
    )


@linux
@pytest.mark.parametrize(
    "words", [["--help"], ["mine", "--help"], ["--version"], ["info", "f.h5"], ["info", "f.h5", "--json"]], ids=" ".join
)
def test_a_full_standard_output_is_one_line_and_exit_1(tmp_path, words):
    make_file(tmp_path / "f.h5")
    with open("/dev/full", "w") as full:
        done = run(*words, cwd=tmp_path, stdout=full)
        assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith(": no space left on device")
        assert len(done.stderr.splitlines()) == 1
        assert run(*words, cwd=tmp_path, stdout=full, stderr=full).returncode == 1
        assert run(*words, cwd=tmp_path, stderr=full).returncode == 0


@linux
@pytest.mark.parametrize(
    "words",
    [["embed", "f.h5", "-o", "-"], ["export", "f.h5", "--table", "keypoints"], ["show", "f.h5", "-o", "-"]],
    ids=" ".join,
)
def test_a_stream_to_a_full_device_is_one_line_and_exit_1(tmp_path, words):
    make_file(tmp_path / "f.h5", (30, 30))
    with open("/dev/full", "w") as full:
        done = run(*words, cwd=tmp_path, stdout=full)
    assert done.returncode == 1 and "no space left on device" in done.stderr and "Traceback" not in done.stderr
    assert "handtool-" not in done.stderr, "the temporary file is not to blame"


@linux
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_device_is_no_output(tmp_path, force):
    make_file(tmp_path / "f.h5", (30, 30))
    for words in (["embed", "f.h5"], ["show", "f.h5"], ["report", "f.h5"], ["export", "f.h5", "--format", "csv"]):
        done = run(*words, "-o", "/dev/full", *force, cwd=tmp_path)
        assert done.returncode == 1 and "Traceback" not in done.stderr and done.stderr.startswith("handtool ")


def test_a_reader_that_has_seen_enough_is_exit_141(tmp_path):
    make_file(tmp_path / "f.h5")
    for words in (["--help"], ["extract", "--help"], ["info", "f.h5"], ["export", "f.h5", "--table", "keypoints"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = run(*words, cwd=tmp_path, stdout=writer)
        os.close(writer)
        assert done.returncode in (141, -signal.SIGPIPE) and done.stderr == ""


def test_a_removed_folder_is_one_line(tmp_path):
    path = make_file(tmp_path / "f.h5")
    gone = tmp_path / "gone"
    for words in (["info", path], ["info", "g.h5"], ["embed", path, "-o", "e.h5"], ["extract", "x", "-o", "c.h5"]):
        gone.mkdir()
        code = f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); os.execv(sys.argv[1], sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-c", code, *COMMAND, *map(str, words)],
            capture_output=True,
            text=True,
            env=package_environment(NO_COLOR="1"),
        )
        assert done.returncode == (0 if words == ["info", path] else 1), done.stderr
        assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 2


@pytest.fixture
def here(monkeypatch):
    """The command that runs in this process: nothing of its signals stays."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(file, "opened_as", {})
    yield
    runner.arrived.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_input_overwritten_in_place_while_it_is_read_is_told_whatever_that_makes_of_it(tmp_path, here, capsys):
    path = make_file(tmp_path / "f.h5", (120, 80))

    def read():
        with open_file(path) as opened:
            os.truncate(path, 2000)
            for name in opened.tables:
                opened.h5[name]["nothing of this name"]

    assert run_to_code(read) == 3
    assert capsys.readouterr().err.splitlines()[0].endswith("f.h5 was changed while it was read")
    with pytest.raises(KeyError):  # any other error is a bug
        file.opened_as.clear()
        run_to_code(lambda: {}["a"])


def test_what_fails_after_a_signal_fails_for_the_signal(here, capsys):
    def fail():
        try:
            runner.interrupt(signal.SIGTERM, None)
        except BaseException:
            raise ImportError("numpy.core.multiarray failed to import") from None

    assert run_to_code(fail) == 143 and capsys.readouterr().err == "handtool: terminated\n"


def test_ctrl_c_while_a_dataclass_is_made_is_exit_130(tmp_path):
    code = """
import dataclasses, os, signal, sys
from handtool.cli.runner import obey_signals, interrupt, run_to_code
def call():
    obey_signals(interrupt)
    exec("os.kill(os.getpid(), signal.SIGINT)\\nwhile True: pass", globals())
sys.exit(run_to_code(call))
"""
    (tmp_path / "making.py").write_text(code)
    command, env = [sys.executable, "-m", "making"], package_environment()
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "handtool: interrupted\n")


@pytest.mark.parametrize("place", ["a finalizer of multiprocessing", "__del__"])
def test_ctrl_c_where_python_swallows_what_is_raised_is_obeyed_behind_it(tmp_path, place):
    code = f"""
import os, signal, sys, time
from multiprocessing.util import Finalize
from handtool.cli.runner import interrupt, obey_signals, run_to_code
def strike():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0)
class Held:
    def __del__(self):
        if {place!r} == "__del__":
            strike()
def call():
    obey_signals(interrupt)
    held = Held()
    kept = Finalize(held, strike) if {place!r} != "__del__" else None
    del held
    time.sleep(30)
sys.exit(run_to_code(call))
"""
    (tmp_path / "swallowing.py").write_text(code)
    command, env = [sys.executable, "-m", "swallowing"], package_environment()
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "handtool: interrupted\n")


def test_a_folder_that_goes_away_before_the_output_gets_its_name_is_one_line(tmp_path):
    from handtool.store import disk

    (tmp_path / "o").mkdir()
    with pytest.raises(HandtoolError, match="cannot write .*o/a.txt: no such file or directory"):
        with disk.write_whole(tmp_path / "o" / "a.txt") as stream:
            stream.write(b"a")
            for each in (tmp_path / "o").iterdir():
                each.unlink()
            (tmp_path / "o").rmdir()


@pytest.fixture
def footage(tmp_path):
    """A film, and an image beside it, with boxes."""
    make_video(tmp_path / "in" / "clip.mp4" if (tmp_path / "in").mkdir() is None else tmp_path, frames=31)
    write_image(tmp_path / "in" / "a.png", picture(0, 1))
    make_boxes(tmp_path / "boxes.json", {"in/clip.mp4#0": [[10, 10, 30, 30]], "in/a.png": [[10, 10, 30, 30]]})
    return tmp_path


def test_a_source_inside_a_folder_that_is_read_is_never_overwritten(handtool, footage):
    os.link(footage / "in" / "clip.mp4", footage / "hard.mp4")
    (footage / "soft.mp4").symlink_to("in/clip.mp4")
    (footage / "list.txt").write_text("in/clip.mp4\n")
    before = {path: path.read_bytes() for path in footage.rglob("*") if path.is_file()}
    extract = ["extract", "--boxes", "boxes.json", "--force"]
    for words in (
        [*extract, "in", "-o", "in/clip.mp4"],
        [*extract, "in", "-o", "soft.mp4"],
        [*extract, "in", "-o", "in/../in/a.png"],
        [*extract, "in/clip.mp4", "-o", "hard.mp4"],
        [*extract, "in", "-o", "boxes.json"],
        [*extract, "--list", "list.txt", "-o", "hard.mp4"],
        [*extract, "--list", "list.txt", "-o", "list.txt"],
    ):
        done = handtool(*words)
        assert done.returncode == 2 and ("both input and output" in done.stderr or "which is read" in done.stderr)
    assert {path: path.read_bytes() for path in footage.rglob("*") if path.is_file()} == before
    assert handtool(*extract, "in", "-o", "in/crops.h5").returncode == 0, "a new name beside the sources"
    assert handtool(*extract, "in", "-o", "in/crops.h5").returncode == 0, "what the command itself has made"
    assert handtool("keypoints", "in/crops.h5", "-o", "in/crops.h5", "--force").returncode == 2


def test_the_files_that_keep_the_images_of_a_joined_file_are_not_overwritten_by_it(handtool, tmp_path):
    for name in ("a", "b"):
        make_file(tmp_path / f"{name}.h5", seed=ord(name))
    assert handtool("cat", "--link", "a.h5", "b.h5", "-o", "ab.h5").returncode == 0
    assert handtool("cat", "ab.h5", "-o", "a.h5", "--force").returncode == 2


def test_the_state_that_a_kill_after_the_last_rename_left_goes_with_the_next_up_to_date(handtool, footage):
    words = ["extract", "in", "--boxes", "boxes.json", "-o", "c.h5"]
    assert handtool(*words).returncode == 0
    with open_file(footage / "c.h5") as made:
        fingerprint = made.provenance[-1]["fingerprint"]
    partial = footage / "c.h5.partial"
    for left, stays in ((fingerprint, False), ("another", True)):
        partial.mkdir(exist_ok=True)
        (partial / "lock").touch()
        (partial / "job.json").write_text(json.dumps({"fingerprint": left}))
        done = handtool(*words)
        assert done.returncode == 0 and "up to date" in done.stderr and partial.exists() == stays


def hammer(folder: Path, number: int, moment: float, group: bool) -> tuple[int, str]:
    """A signal to an extract with two workers, or to its whole group, `moment` s after its own code has begun."""
    words = ["extract", folder / "in", "--boxes", folder / "boxes.json", "--every", "1", "--workers", "2", "--force"]
    command = subprocess.Popen(
        [*COMMAND, *map(str, words), "-o", str(folder / "c.h5")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=package_environment(NO_COLOR="1"),
        start_new_session=True,
    )
    while not is_caught(command.pid, signal.SIGTERM):
        time.sleep(0.01)
    time.sleep(moment)
    (os.killpg if group else os.kill)(command.pid, number)
    said = command.communicate(timeout=60)[1]
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.killpg(command.pid, 0)
        except ProcessLookupError:
            return command.returncode, said
        time.sleep(0.05)
    return command.returncode, said + "\nan orphan is left"


def is_caught(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal: Python's own start has none."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@linux
def test_a_signal_at_any_moment_is_obeyed_with_one_line_and_leaves_no_process(footage):
    """HANDTOOL_SIGNALS=200 with --timeout=0 sends so many."""
    for moment in np.random.default_rng(0).uniform(0, 1.3, int(os.environ.get("HANDTOOL_SIGNALS", 8))):
        number = signal.SIGINT if int(1000 * moment) % 2 else signal.SIGTERM
        code, said = hammer(footage, number, moment, group=int(10000 * moment) % 2 == 0)
        # Python gives signals back to the system when all is done; the shell calls both 143
        assert code in (0, 128 + number, -signal.SIGTERM), (moment, number, code, said)
        assert "Traceback" not in said and "orphan" not in said and "damaged" not in said, (moment, said)
        assert said.count("interrupted") + said.count("terminated") <= 1, said
    assert not [path for path in footage.iterdir() if path.name.endswith("handtool-tmp")]


def test_what_a_signal_interrupts_goes_on_to_the_same_result(footage, handtool):
    code, _ = hammer(footage, signal.SIGTERM, 1.0, group=False)
    assert code in (0, 143, -signal.SIGTERM)
    done = handtool("extract", "in", "--boxes", "boxes.json", "--every", "1", "-o", "d.h5")
    again = handtool("extract", "in", "--boxes", "boxes.json", "--every", "1", "-o", "c.h5")
    assert done.returncode == again.returncode == 0
    with open_file(footage / "c.h5") as one, open_file(footage / "d.h5") as other:
        assert np.array_equal(read_column(one, CROPS.box), read_column(other, CROPS.box))
