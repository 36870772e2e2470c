"""An option that does nothing where it is given is refused: exit 2, the option by name, and what to do about it."""

import functools
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from making import make_file

from handtool.cli.app import HELPERS, VERBS, make_app
from handtool.cli.effects import refuse_idle
from handtool.errors import WrongCommand

COMMANDS = (*VERBS, *HELPERS)
CASES = """
extract: --fps 2              | a.mp4 --every 3                       | a.mp4
extract: --track-fps 9        | a.mp4 --every 1                       | a.mp4 --every 2
extract: --keyframes          | a.mp4 --every 3                       | a.mp4
extract: --decode all         | a.mp4 --every 1                       | a.mp4
extract: --boxes b.json       | images --whole                        | images
extract: --camera auto        | images --whole                        | images
extract: --hands t.npz        | images --boxes b.json                 | images
extract: --hands-as labels    | images                                | images --hands t.npz
extract: --detector onnx      | images --whole                        | images
extract: --detector mediapipe | images --boxes b.json                 | images
extract: --model d.task       | images --whole                        | images
extract: --min-score 0.2      | images --whole                        | images
extract: --onnx size=320      | images                                | images --detector hands.onnx
extract: --device cpu         | images --detector hands.task          | images --model hands.onnx
extract: --retry-failed       | images -o c.h5 --force                | images -o c.h5
keypoints: --onnx size=256    | c.h5                                  | c.h5 --estimator hands.onnx
keypoints: --device cuda      | c.h5                                  | c.h5 --model pose.h5
keypoints: --workers 2        | c.h5 --estimator labels               | c.h5
keypoints: --engine ray       | c.h5 --estimator labels               | c.h5
keypoints: --gpus-per-worker 1 | c.h5 --engine ray                    | c.h5 --engine ray --estimator pose.h5
extract: --gpus-per-worker 1  | images --detector hands.onnx          | images --detector hands.onnx --engine ray
predict: --engine ray         | c.h5 --model pose.h5                  | c.h5 --model mediapipe
predict: --gpus-per-worker 1  | a.mp4 --model pose.h5 --engine ray    | a.mp4 --model h.onnx --engine ray
synth: --gpus-per-worker 1    | --engine ray --device cpu             | --engine ray
keypoints: --min-score 0.2    | c.h5 --estimator pose.h5              | c.h5
keypoints: --seed 5           | c.h5                                  | c.h5 --noise 2
embed: --dim 14               | k.h5 --basis e.h5                     | k.h5
embed: --from joints          | k.h5 --encoder e.h5                   | k.h5
embed: --normalization crop   | k.h5 --basis e.h5                     | k.h5
embed: --batch-size 8         | k.h5                                  | k.h5 --encoder e.h5
embed: --device cpu           | k.h5                                  | k.h5 --encoder e.h5
embed: --workers 2            | k.h5 --basis e.h5                     | k.h5 --encoder e.h5
mine: --min-gap 2             | e.h5                                  | e.h5 --exclude track
mine: --min-gap 2             | e.h5 --exclude subject                | e.h5 --exclude none
mine: --m 16                  | e.h5 --index exact                    | e.h5
mine: --ef-construction 100   | e.h5 --index exact                    | e.h5
mine: --ef 64                 | e.h5 --index exact                    | e.h5
mine: --device cpu            | e.h5                                  | e.h5 --index exact
mine: --seed 5                | e.h5 --index exact                    | e.h5
mine: --threads 2             | e.h5 --index exact --device cuda      | e.h5 --index exact
mine: --all                   | e.h5 --json                           | e.h5
mine: --in p.h5               | e.h5 --pairs s.json                   | e.h5
mine: --max-in-degree 9       | e.h5 --pairs s.json                   | e.h5
mine: --exclude track         | e.h5 --pairs s.json                   | e.h5
mine: --same-side             | e.h5 --pairs s.json                   | e.h5
mine: --metric cosine         | e.h5 --pairs s.json                   | e.h5
mine: --index exact           | e.h5 --pairs s.json                   | e.h5
mine: --parts 2               | e.h5 --pairs s.json                   | e.h5
mine: --engine ray            | e.h5 --pairs s.json                   | e.h5
pretrain: --inverse exact     | p.h5 --method simclr                  | p.h5 --method peclr
pretrain: --temperature 0.2   | p.h5 --method keypoints               | p.h5 --method softhand
pretrain: --negatives local   | p.h5 --method keypoints               | p.h5 --method keypoints --contrast soft
pretrain: --weights none      | p.h5 --method softhand                | p.h5
pretrain: --soft-sigma 2      | p.h5                                  | p.h5 --method softhand
pretrain: --pretrain-head heatmap | p.h5                              | p.h5 --method keypoints
pretrain: --positives all     | p.h5 --method peclr                   | p.h5
pretrain: --weight-side pos   | p.h5 --weights none                   | p.h5
pretrain: --weight-keypoints original | p.h5 --method peclr           | p.h5 --method peclr --weights linear
pretrain: --lambda-pos 2      | p.h5                                  | p.h5 --weights sigmoid
pretrain: --lambda-neg 0.1    | p.h5 --weights sigmoid --weight-side pos | p.h5 --weights sigmoid --weight-side neg
pretrain: --epochs 100        | p.h5 --steps 10                       | p.h5
pretrain: --processes 2       | p.h5 --gpus 2                         | p.h5 --gpus 0
finetune: --init imagenet     | t.h5 --encoder e.h5                   | t.h5
finetune: --encoder e.h5           | t.h5 --correct mediapipe                | t.h5
finetune: --arch resnet18          | t.h5 --correct mediapipe                | t.h5
finetune: --head heatmap           | t.h5 --correct mediapipe                | t.h5
finetune: --normalization encoder  | t.h5 --correct mediapipe                | t.h5
finetune: --freeze                 | t.h5 --correct mediapipe                | t.h5
finetune: --input-size 64          | t.h5 --correct mediapipe                | t.h5
finetune: --val-share 0.1          | t.h5 --correct mediapipe                | t.h5
finetune: --pool k.h5              | t.h5 --correct mediapipe                | t.h5
finetune: --rotation 9             | t.h5 --correct mediapipe                | t.h5
finetune: --shift 0.2              | t.h5 --correct mediapipe                | t.h5
finetune: --zoom 0.2               | t.h5 --correct mediapipe                | t.h5
finetune: --colour 0.2             | t.h5 --correct mediapipe                | t.h5
finetune: --blur 1                 | t.h5 --correct mediapipe                | t.h5
finetune: --mirror 0.5             | t.h5 --correct mediapipe                | t.h5
finetune: --batch-size 8           | t.h5 --correct mediapipe                | t.h5
finetune: --steps 9                | t.h5 --correct mediapipe                | t.h5
finetune: --learning-rate 0.1      | t.h5 --correct mediapipe                | t.h5
finetune: --precision bf16         | t.h5 --correct mediapipe                | t.h5
finetune: --gpus 0                 | t.h5 --correct mediapipe                | t.h5
finetune: --workers 2              | t.h5 --correct mediapipe                | t.h5
finetune: --accumulate 2           | t.h5 --correct mediapipe                | t.h5
finetune: --checkpoint-every 2     | t.h5 --correct mediapipe                | t.h5
finetune: --compile                | t.h5 --correct mediapipe                | t.h5
finetune: --tensorboard b          | t.h5 --correct mediapipe                | t.h5
finetune: --optimizer adam         | t.h5 --correct mediapipe                | t.h5
finetune: --dry-run                | t.h5 --correct mediapipe                | t.h5
finetune: --checkpoint-activations | t.h5 --correct mediapipe                | t.h5
finetune: --restart           | t.h5 --correct mediapipe -o p.h5      | t.h5 -o p.h5
finetune: --pool-share 0.3    | t.h5                                  | t.h5 --pool k.h5
finetune: --pool-weight 2     | t.h5                                  | t.h5 --pool k.h5
finetune: --pool-depth lifted | t.h5                                  | t.h5 --pool k.h5
finetune: --depth-weight 5 | t.h5 | t.h5 --head regression
finetune: --pool-depth-weight 2 | t.h5 --pool k.h5 | t.h5 --pool k.h5 --pool-depth lifted
finetune: --fresh-head        | t.h5 --init scratch                   | t.h5 --encoder e.h5
finetune: --loss hand         | t.h5 --head regression                | t.h5
finetune: --label-choice head | t.h5                                  | t.h5 --label-fraction 0.5
finetune: --val-by row        | t.h5                                  | t.h5 --val-share 0.1
finetune: --patience 3        | t.h5 --val-share 0                    | t.h5 --val-share 0.1
finetune: --epochs 3          | t.h5 --steps 10                       | t.h5
finetune: --layer-decay 0.7   | t.h5 --freeze                         | t.h5
finetune: --processes 1       | t.h5 --gpus 1                         | t.h5
eval: --per finger            | p.h5 --json                           | p.h5
eval: --all                   | p.h5 --json                           | p.h5
eval: --seed 5                | p.h5 --resamples 0                    | p.h5
eval: --bone mean             | p.h5                                  | p.h5 --model m.h5
eval: --batch-size 64         | p.h5 --model mediapipe                | p.h5 --model m.h5
eval: --precision auto        | p.h5 --model hands.task               | p.h5 --model m.h5
eval: --device cpu            | p.h5                                  | p.h5 --model m.h5
eval: --workers 1             | p.h5                                  | p.h5 --model mediapipe
synth: -o c.h5                | --videos world                        |
synth: --fps 25               | -o c.h5                               | --videos world
predict: --flip               | c.h5 --model mediapipe                | c.h5 --model m.h5
predict: --batch-size 9       | a.mp4 --model mediapipe               | a.mp4 --model m.h5
predict: --precision auto     | c.h5 --model hands.task               | c.h5 --model m.h5
predict: --device cpu         | a.mp4 --model mediapipe               | a.mp4 --model mediapipe --detector d.onnx
predict: --min-cutoff 2       | c.h5                                  | c.h5 --smooth
predict: --beta 2             | a.mp4                                 | a.mp4 --smooth
predict: --derivative-cutoff 2 | c.h5                                 | c.h5 --smooth
predict: --fps 2              | c.h5                                  | a.mp4
predict: --whole              | -                                     | images
predict: --stream 1           | c.h5                                  | a.mp4
predict: --camera 9,9,9,9     | c.h5                                  | images
predict: --trust-labels       | c.h5                                  | images
predict: --min-hand 20        | c.h5                                  | images
predict: --limit 2            | c.h5                                  | images
predict: --detector onnx      | images --whole                        | images
predict: --boxes b.json       | images --whole                        | images
predict: --min-score 0.2      | images --whole                        | images --boxes b.json
predict: --onnx size=320      | images                                | images --detector hands.onnx
predict: --track-fps 30       | a.mp4                                 | a.mp4 --fps 10
predict: --decode all         | a.mp4                                 | a.mp4 --fps 10
predict: --restart            | c.h5 --model m.h5 -o p.h5             | c.h5 --model mediapipe -o p.h5
predict: --show a.mp4         | a.mp4                                 | a.mp4 -o p.h5
predict: --export a.csv       | c.h5                                  | c.h5 -o p.h5
show: --kind crops            | c.h5                                  | c.h5 --video -o a.mp4
show: --order video           | c.h5 --kind pairs -o a.png            | c.h5 -o a.png
show: --rows 2                | c.h5 --kind curve -o a.png            | c.h5 --kind pairs -o a.png
show: --columns 2             | c.h5 --video -o a.mp4                 | c.h5 --kind predictions -o a.png
show: --tile 90               | c.h5                                  | c.h5 --kind embeddings -o a.png
show: --seed 3                | c.h5 --kind metrics -o a.png          | c.h5 -o -
show: --fps 9                 | c.h5 -o a.png                         | c.h5 --video -o a.mp4
show: --frames 9              | c.h5 -o a.png                         | c.h5 --video -o a.mp4
show: --videos films          | c.h5 -o a.png                         | c.h5 --video -o a.mp4
split: --seed 5               | c.h5 --in-order -o a.h5 -o b.h5       | c.h5 -o a.h5 -o b.h5
export: --template t.json     | p.h5 --format dexycb                  | p.h5 --format assemblyhands
export: --in crop             | p.h5 -o w.safetensors                  | p.h5 -o k.csv
export: --no-video            | p.h5 -o k.csv                          | p.h5 --format lerobot -o set
export: --videos films        | p.h5 --format lerobot -o s --no-video  | p.h5 --format lerobot -o set
cat: --link                   | p.h5 --merge-pairs                    | e.h5
"""
COMMON_CASES = {
    "verbose": ("--verbose", "--quiet", ""),
    "force": ("--force", "-o -", "-o out.h5"),
    "restart": ("--restart", "-o -", "-o out.h5"),
}


def read_cases() -> list[tuple[str, list[str], list[str], list[str]]]:
    """(command, option and value, arguments beside which it does nothing, arguments beside which it has an effect)."""
    cases = []
    for line in CASES.strip().splitlines():
        option, idle, useful = line.split("|")
        command, option = option.split(":")
        cases.append((command, option.split(), idle.split(), useful.split()))
    for command in COMMANDS:
        for name, words in COMMON_CASES.items():
            if name in parameters(command) and (command, name) not in (("predict", "restart"), ("finetune", "restart")):
                option, idle, useful = (word.split() for word in words)
                if command == "split" and name == "force":
                    idle = []
                cases.append((command, option, idle, useful))
    return cases


@functools.cache
def load(command: str):
    return typer.main.get_command(make_app(command)).commands[command]


def parameters(command: str) -> dict:
    return {each.name: each for each in load(command).params if each.param_type_name == "option"}


def effects_of(command: str) -> dict:
    return sys.modules[f"handtool.cli.{command}"].EFFECTS


def check(command: str, arguments: list[str]) -> None:
    with load(command).make_context(command, list(arguments)) as context:
        refuse_idle(context, effects_of(command))


@pytest.mark.parametrize("command", COMMANDS)
def test_of_every_option_it_is_said_when_it_has_an_effect(command):
    options, effects = parameters(command), effects_of(command)
    assert set(options) <= set(effects), "say in EFFECTS when this option has an effect, or that it always has one"
    conditional = {name for name in options if effects[name]}
    shown = {
        name
        for of, (option, *_), *_ in read_cases()
        if of == command
        for name, parameter in options.items()
        if option in parameter.opts
    }
    assert conditional == shown, "one line of CASES for each option that can do nothing"


@pytest.mark.parametrize(
    ("command", "option", "idle", "useful"),
    read_cases(),
    ids=lambda part: part if isinstance(part, str) else " ".join(part),
)
def test_an_option_is_refused_where_it_does_nothing_and_only_there(command, option, idle, useful):
    with pytest.raises(WrongCommand, match=r"^--[\w-]+ does nothing (w|except)") as caught:
        check(command, [*idle, *option])
    assert "leave --" in caught.value.hint and " out" in caught.value.hint
    check(command, idle)
    check(command, [*useful, *option])


def test_the_refusal_is_one_line_and_a_hint_before_anything_is_opened(handtool):
    done = handtool("mine", "nothing.h5", "--index", "exact", "--ef", "64", "-o", "p.h5")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines() == [
        "handtool mine: --ef does nothing with --index exact, which builds no graph, or with --pairs",
        "  hint: leave --ef out, or add --index hnsw",
    ]


def test_a_device_that_is_none_is_refused_everywhere(handtool):
    for command in ("mine", "synth", "embed", "predict"):
        done = handtool(command, "nothing.h5", "--device", "banana")
        assert done.returncode == 2 and "banana" in done.stderr, command


def test_an_environment_variable_is_never_refused(tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    import handtool

    done = subprocess.run(
        [sys.executable, "-m", "handtool", "embed", "k.h5", "-o", "e.h5"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HANDTOOL_DEVICE": "cpu", "PYTHONPATH": str(Path(handtool.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr


def test_a_moved_file_is_named_by_linked_and_still_by_the_former_name(handtool, tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    handtool("embed", "k.h5", "-o", "e.h5")
    (tmp_path / "k.h5").rename(tmp_path / "moved.h5")
    assert handtool("check", "e.h5").returncode == 1
    for option in ("--linked", "--crops"):
        assert handtool("check", "e.h5", option, "moved.h5").returncode == 0
    assert "--crops" not in handtool("check", "--help").stdout


def readme_lines() -> list[str]:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    blocks = text.split("```")[1::2]
    return [line for block in blocks for line in block.splitlines() if line.startswith("handtool ")]


@pytest.mark.parametrize("line", readme_lines())
def test_the_commands_of_the_readme_are_accepted_as_they_stand(line):
    for part in line.partition(" #")[0].split("|"):
        command, *arguments = shlex.split(part)[1:]
        check(command, arguments)
