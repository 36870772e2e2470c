"""What every command promises: light help, exit codes, one clear line, whole outputs, `up to date`."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from making import make_file
from running import package_environment

import handtool
from handtool import __version__
from handtool.cli.app import HELPERS, VERBS

COMMANDS = (*VERBS, *HELPERS)
HEAVY = ("torch", "numpy", "h5py", "cv2", "pydantic", "scipy", "av", "hnswlib", "torchvision", "mediapipe")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(handtool, command):
    done = handtool(command, "--help")
    assert done.returncode == 0 and f"handtool {command}" in done.stdout and "Example" in done.stdout
    assert handtool(command, "-h").stdout == done.stdout
    assert "--quiet" in done.stdout and "--verbose" in done.stdout


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_loads_nothing_heavy(command):
    program = (
        "import sys, runpy\n"
        f"sys.argv = ['handtool', *{[command] if command else []!r}, '--help']\n"
        "try:\n    runpy.run_module('handtool', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=package_environment())
    assert done.returncode == 0 and done.stdout.rstrip().endswith("HEAVY []"), done.stdout[-300:] + done.stderr


def test_the_verbs_stand_first_in_pipeline_order(handtool):
    text = handtool("--help").stdout
    places = [text.index(f" {command} ") for command in COMMANDS]
    assert places == sorted(places)
    assert handtool("--version").stdout == f"handtool {__version__}\n"
    assert handtool("mnie").returncode == 2 and "No such command" in handtool("mnie").stderr
    assert "--topk" in handtool("--", "mine", "--help").stdout, (
        "a command that is not the first word has its options too"
    )


def test_the_list_of_commands_has_a_line_for_each_that_there_is(handtool):
    from handtool.cli.app import make_app

    lines = handtool("--help").stdout.splitlines()
    for name, summary in {**VERBS, **HELPERS}.items():
        assert any(f" {name} " in line and summary in line for line in lines), name
    assert [command.name for command in make_app().registered_commands] == list(COMMANDS)


@pytest.mark.parametrize("command", ["mine", "embed", "keypoints", "pretrain", "info", "finetune"])
def test_an_unknown_option_and_a_missing_file_have_their_exit_codes(handtool, command):
    assert handtool(command, "--no-such-option").returncode == 2
    extra = ["-o", "out.h5"] if command != "info" else []
    done = handtool(command, "nothing.h5", *extra)
    assert done.returncode == 1 and done.stderr.startswith(f"handtool {command}: nothing.h5 does not exist"), (
        done.stderr
    )


@pytest.mark.parametrize("command", ["mine", "embed", "info", "pretrain"])
def test_a_text_file_named_h5_is_refused_with_exit_code_3(handtool, tmp_path, command):
    (tmp_path / "notes.h5").write_text("these are no hands\n")
    done = handtool(command, "notes.h5", *([] if command == "info" else ["-o", "out.h5"]))
    assert done.returncode == 3 and "notes.h5 is not an HDF5 file" in done.stderr and not (tmp_path / "out.h5").exists()


def test_an_output_that_the_same_command_made_is_up_to_date(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    first = handtool("embed", "k.h5", "--dim", "5", "-o", "e.h5")
    data = (tmp_path / "e.h5").read_bytes()
    again = handtool("embed", "k.h5", "--dim", "5", "-o", "e.h5")
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert (
        "e.h5 is up to date" in again.stderr
        and again.stdout == first.stdout
        and (tmp_path / "e.h5").read_bytes() == data
    )


def test_an_output_made_otherwise_is_refused_by_name_and_force_makes_it_anew(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    handtool("embed", "k.h5", "--dim", "5", "-o", "e.h5")
    other = handtool("embed", "k.h5", "--dim", "6", "-o", "e.h5")
    assert other.returncode == 1 and "dim 5 instead of 6" in other.stderr and "--force" in other.stderr
    make_file(tmp_path / "k2.h5", (6, 6), seed=3)
    inputs = handtool("embed", "k2.h5", "--dim", "5", "-o", "e.h5")
    assert inputs.returncode == 1 and "k2.h5 differs" in inputs.stderr
    assert handtool("embed", "k2.h5", "--dim", "5", "-o", "e.h5", "--force").returncode == 0


def test_a_foreign_file_is_never_overwritten_unasked(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    (tmp_path / "thesis.h5").write_text("years of work")
    done = handtool("embed", "k.h5", "-o", "thesis.h5")
    assert done.returncode == 1 and (tmp_path / "thesis.h5").read_text() == "years of work"


def test_input_and_output_cannot_be_the_same_file(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    assert handtool("embed", "k.h5", "-o", "k.h5", "--force").returncode == 2


def test_json_is_json_on_standard_output_and_nothing_else(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    done = handtool("embed", "k.h5", "--json", "-o", "e.h5")
    report = json.loads(done.stdout)
    assert report["command"] == "embed" and report["report"]["accounting"][0]["in"] == 12


def test_standard_output_carries_only_the_stream_and_the_report_goes_to_standard_error(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    done = handtool("embed", "k.h5", binary=True)
    assert done.stdout[:8] == b"\x89HDF\r\n\x1a\n" and "12 in = 12 done" in done.stderr
    assert handtool("embed", "k.h5", "-q", binary=True).stderr == ""


def test_an_empty_pipe_and_a_terminal_are_told_apart(handtool, tmp_path):
    done = handtool("mine", stdin=b"")
    assert done.returncode == 1 and "nothing arrived on standard input" in done.stderr
    main, terminal = pty.openpty()
    ended = subprocess.run(
        [sys.executable, "-m", "handtool", "mine", "-o", "p.h5"],
        stdin=terminal,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=package_environment(),
    )
    os.close(main), os.close(terminal)
    assert ended.returncode == 2 and "standard input is a terminal" in ended.stderr


def test_hdf5_to_a_terminal_is_refused(tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "handtool", "embed", "k.h5"]
    ended = subprocess.run(
        command, stdout=terminal, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=package_environment()
    )
    os.close(main), os.close(terminal)
    assert ended.returncode == 2 and "add -o FILE" in ended.stderr


@pytest.mark.parametrize("arguments", [["show", "k.h5", "-o", "-"], ["export", "k.h5", "--format", "npz"]])
def test_a_picture_or_an_archive_to_a_terminal_is_refused(tmp_path, arguments):
    make_file(tmp_path / "k.h5", (6, 6))
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "handtool", *arguments]
    ended = subprocess.run(
        command, stdout=terminal, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=package_environment()
    )
    os.close(main), os.close(terminal)
    assert ended.returncode == 2 and "would go to the terminal" in ended.stderr


@pytest.mark.parametrize("command", ["check", "cat", "report", "info"])
def test_no_source_is_standard_input(handtool, tmp_path, command):
    data = make_file(tmp_path / "k.h5", (6, 6)).read_bytes()
    done = handtool(command, stdin=data, binary=True)
    assert done.returncode == 0, done.stderr


def test_a_redirected_regular_file_is_opened_where_it_lies(tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    with open(tmp_path / "k.h5", "rb") as file:
        command = [sys.executable, "-m", "handtool", "embed", "-", "-o", "e.h5"]
        done = subprocess.run(
            command, stdin=file, capture_output=True, text=True, cwd=tmp_path, env=package_environment()
        )
    assert done.returncode == 0, done.stderr
    from handtool import store

    with store.open_file(tmp_path / "e.h5") as made:
        assert made.links["crops"]["file"] == "k.h5"


def test_a_full_tmpdir_is_one_line(tmp_path):
    data = make_file(tmp_path / "k.h5", (6, 6)).read_bytes()
    program = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        "sys.argv = ['handtool', 'embed', '-', '-o', 'e.h5']; runpy.run_module('handtool', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=data, capture_output=True, cwd=tmp_path, env=package_environment()
    )
    text = done.stderr.decode()
    assert done.returncode == 1 and "cannot write" in text and "TMPDIR" in text and not (tmp_path / "e.h5").exists(), (
        text
    )


def test_a_missing_folder_for_the_output_is_named(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    done = handtool("embed", "k.h5", "-o", "no/such/folder/e.h5")
    assert done.returncode == 1 and "there is no folder" in done.stderr and "mkdir -p" in done.stderr


def test_a_reader_that_leaves_early_ends_the_writer_with_141(tmp_path):
    make_file(tmp_path / "k.h5", (400, 400))
    writer = subprocess.Popen(
        [sys.executable, "-m", "handtool", "embed", "k.h5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=package_environment(),
    )
    writer.stdout.close()
    error = writer.stderr.read().decode()
    assert writer.wait() == 141 and "Traceback" not in error


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_its_code_and_nothing_half_made(tmp_path, number, code):
    reader = subprocess.Popen(
        [sys.executable, "-m", "handtool", "mine", "-", "-o", "p.h5"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=package_environment(TMPDIR=str(tmp_path)),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # in the background of a script it is ignored
    while not list(tmp_path.glob("handtool-stdin-*")):  # it waits for its input now
        time.sleep(0.05)
    reader.send_signal(number)
    assert reader.wait(timeout=20) == code
    assert "Traceback" not in reader.stderr.read().decode() and list(tmp_path.iterdir()) == []


def test_check_tells_a_sound_file_from_a_cut_one(handtool, tmp_path):
    make_file(tmp_path / "good.h5")
    data = (tmp_path / "good.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[: len(data) // 2])
    assert handtool("check", "--deep", "good.h5").returncode == 0
    done = handtool("check", "good.h5", "cut.h5", "--json")
    assert done.returncode == 3 and [f["sound"] for f in json.loads(done.stdout)["report"]["files"]] == [True, False]


def test_info_tells_tables_and_commands(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    handtool("embed", "k.h5", "-o", "e.h5")
    assert handtool("info", "e.h5", "--commands").stdout.splitlines()[-1] == "handtool embed k.h5 -o e.h5"
    tables = json.loads(handtool("info", "e.h5", "--json").stdout)["report"]["tables"]
    assert tables["embeddings"]["lies_in"] == "here" and tables["crops"]["lies_in"].endswith("k.h5")


def test_info_tells_the_commands_though_what_the_file_links_to_is_gone(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    handtool("embed", "k.h5", "-o", "e.h5")
    (tmp_path / "k.h5").unlink()
    assert handtool("info", "e.h5", "--commands").stdout.splitlines()[-1] == "handtool embed k.h5 -o e.h5"
    assert (
        json.loads(handtool("info", "e.h5", "--commands", "--json").stdout)["report"]["commands"][-1]
        == "handtool embed k.h5 -o e.h5"
    )


@pytest.mark.parametrize("trouble", ["gone", "another", "damaged"])
def test_info_tells_what_can_be_told_of_a_file_whose_upstream_cannot_be_read(handtool, tmp_path, trouble):
    source = make_file(tmp_path / "k.h5", (6, 6))
    handtool("embed", "k.h5", "-o", "e.h5")
    source.unlink() if trouble == "gone" else make_file(
        source, (6, 6), seed=1
    ) if trouble == "another" else source.write_bytes(b"\x89HDF")
    done = handtool("info", "e.h5", "--json")
    report = json.loads(done.stdout)["report"]
    assert done.returncode == 0 and len(report["missing"]) == 1 and "k.h5" in report["missing"][0]["what"]
    assert report["tables"]["embeddings"]["rows"] == 12 and report["tables"]["crops"] == {
        "rows": None,
        "lies_in": str(source),
        "attrs": {},
        "columns": {},
    }
    told = handtool("info", "e.h5")
    assert (
        "normalization: crop" in told.stdout and "handtool embed k.h5 -o e.h5" in told.stdout and "k.h5" in told.stderr
    )


def test_check_tells_missing_from_damaged_and_leaves_no_spool(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    handtool("embed", "k.h5", "-o", "e.h5")
    (tmp_path / "spools").mkdir()
    done = handtool("check", "-", stdin=(tmp_path / "k.h5").read_bytes(), env={"TMPDIR": str(tmp_path / "spools")})
    assert done.returncode == 0 and done.stdout == "-: ok\n" and list((tmp_path / "spools").iterdir()) == []
    (tmp_path / "k.h5").rename(tmp_path / "moved.h5")
    assert handtool("check", "e.h5").returncode == 1
    assert handtool("check", "e.h5", "--linked", "moved.h5").returncode == 0
    missing = handtool("check", "e.h5", "--linked", "nothing.h5")
    assert missing.returncode == 1 and "nothing.h5 does not exist" in missing.stdout
    make_file(tmp_path / "k.h5", (6, 6), seed=1)
    assert handtool("check", "e.h5").returncode == 1


def test_restart_is_no_leave_to_overwrite(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6), ("labels",))
    (tmp_path / "thesis.h5").write_text("years of work")
    done = handtool("keypoints", "k.h5", "--restart", "-o", "thesis.h5")
    assert done.returncode == 1 and (tmp_path / "thesis.h5").read_text() == "years of work"


def test_what_an_input_links_to_is_not_overwritten_even_by_force(handtool, tmp_path):
    data = make_file(tmp_path / "k.h5", (6, 6)).read_bytes()
    handtool("embed", "k.h5", "-o", "e.h5")
    for command in (["mine", "e.h5"], ["show", "e.h5"], ["report", "e.h5"], ["export", "e.h5", "--format", "csv"]):
        done = handtool(*command, "-o", "k.h5", "--force")
        assert done.returncode == 2 and "both input and output" in done.stderr, done.stderr
    assert (tmp_path / "k.h5").read_bytes() == data


def test_an_output_whose_links_are_broken_is_not_up_to_date(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    handtool("embed", "k.h5", "-o", "e.h5")
    (tmp_path / "k.h5").rename(tmp_path / "renamed.h5")
    done = handtool("embed", "renamed.h5", "-o", "e.h5")
    assert done.returncode == 1 and "which is not there" in done.stderr and "--force" in done.stderr


@pytest.mark.parametrize("command", [["embed"], ["show"], ["export", "--format", "csv"]])
def test_a_folder_is_never_replaced_by_a_file(handtool, tmp_path, command):
    make_file(tmp_path / "k.h5", (6, 6))
    (tmp_path / "folder").mkdir()
    done = handtool(*command, "k.h5", "-o", "folder", "--force")
    assert done.returncode == 1 and "it is a folder" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["embed", "info", "export"])
def test_a_full_disk_behind_standard_output_is_one_line(tmp_path, command):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    make_file(tmp_path / "k.h5", (6, 6))
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "handtool", command, "k.h5"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=package_environment(),
        )
    assert done.returncode == 1 and "no space left on device" in done.stderr and "Traceback" not in done.stderr


def test_a_name_that_is_too_long_is_one_line(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    for arguments in (["info", 300 * "a"], ["embed", "k.h5", "-o", 300 * "a"]):
        done = handtool(*arguments)
        assert done.returncode == 1 and "file name too long" in done.stderr and "Traceback" not in done.stderr


def test_a_redirected_input_is_told_as_such(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    with open(tmp_path / "k.h5", "rb") as source, open(tmp_path / "e.h5", "wb") as target:
        subprocess.run(
            [sys.executable, "-m", "handtool", "embed"],
            stdin=source,
            stdout=target,
            cwd=tmp_path,
            env=package_environment(),
            check=True,
        )
    handtool("mine", "e.h5", "-o", "p.h5")
    assert handtool("info", "p.h5", "--commands").stdout.splitlines()[-2:] == [
        f"handtool embed < {tmp_path}/k.h5 > e.h5",
        "handtool mine e.h5 -o p.h5",
    ]


def test_verbose_says_more_and_quiet_nothing(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    said = handtool("embed", "k.h5", "--dim", "14", "-o", "e.h5", "-v").stderr
    assert "settings {" in said and "'dim': 14" in said
    assert handtool("embed", "k.h5", "--dim", "14", "-o", "e.h5", "-q").stderr == ""


def test_an_output_beside_its_videos_is_up_to_date_too(handtool, tmp_path):
    pytest.importorskip("cv2")
    import cv2
    import numpy as np

    cv2.imwrite(str(tmp_path / "hand.png"), np.full((64, 64, 3), 99, np.uint8))
    (tmp_path / "crops.h5.partial").mkdir()
    first = handtool("extract", ".", "--whole", "-o", "crops.h5")
    assert first.returncode == 0, first.stderr
    again = handtool("extract", ".", "--whole", "-o", "crops.h5")
    assert again.returncode == 0 and "crops.h5 is up to date" in again.stderr, again.stderr
    cv2.imwrite(str(tmp_path / "other.png"), np.full((64, 64, 3), 9, np.uint8))
    assert handtool("extract", ".", "--whole", "-o", "crops.h5").returncode == 1


@pytest.mark.parametrize("said", [{}, {"RANK": "1", "WORLD_SIZE": "2"}, {"SLURM_STEP_NUM_TASKS": "4"}])
@pytest.mark.parametrize(
    "words, code", [(["--version"], 0), (["eval", "nothing.h5"], 1), (["mine", "--topk", "many"], 2)]
)
def test_where_others_start_it_a_command_ends_without_the_end_of_python(tmp_path, said, words, code):
    """There, threads of torch's now and then abort a run that has ended well."""
    script = "import atexit, os, sys; atexit.register(os._exit, 66); from handtool.cli.app import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(handtool.__file__).parents[1]), **said}
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == (code if said else 66)
    assert not said or "handtool" in (done.stdout if code == 0 else done.stderr)
