#!/usr/bin/env bash
# Installs handtool into fresh environments, as a newcomer would, and runs all checks and tests.
#   tests/run.sh [FOLDER]             FOLDER: where the environments go (default: a temporary folder, removed afterwards)
#   tests/run.sh --fast [ROOM ...]    In the environment of $PYTHON as it is: all checks, and the tests of some rooms (nn, store, ...) or
#                                     stages (stages/mine). Without a room: the tests of all files that differ from branch main.
# The first environment takes the newest of everything, with MediaPipe's Tasks API; the second one MediaPipe's solutions API (numpy < 2, OpenCV 4.11).
# A third one, on Python 3.13 where that is there, has no torch and runs the tests of MediaPipe. These two are made and tested beside the tests of the
# first, so that no core waits; what they print comes last.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
parallel=(-n auto --maxprocesses 8 --dist worksteal) # each worker may need 2 GB

check() { # check PYTHON
    "$1" -m ruff check handtool tests examples && "$1" -m ruff format --check handtool tests examples && "$1" -m mypy
}

install() { # install NAME EXTRAS, from a copy: two builds in one folder would mix their files
    mkdir -p "$folder/source/$1"
    cp -r pyproject.toml README.md handtool "$folder/source/$1"
    "$python" -m venv "$folder/$1"
    "$folder/$1/bin/pip" install --quiet --disable-pip-version-check "$folder/source/$1[$2]"
    "$folder/$1/bin/handtool" doctor
}

find_newer() { # a Python 3.13 beside $python, which is older
    local candidate
    "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || return 0
    for candidate in python3.13 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13.*/bin/python; do
        if "$candidate" -c '' 2>/dev/null; then echo "$candidate"; return; fi
    done
}

without_torch() { # what handtool needs to look for hands, and the tests of that
    "$1" - <<'END'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
heavy = ("torch", "torchvision", "hnswlib", "tensorboard", "timm", "transformers", "ray", "mypy", "ruff")
wanted = project["dependencies"] + [each for extra in ("mediapipe", "test") for each in project["optional-dependencies"][extra]]
print(*(each for each in wanted if not each.startswith(heavy)), sep="\n")
END
}

changed_files() { # since the branch left main, committed or not
    git diff --name-only "$(git merge-base HEAD main 2>/dev/null || echo HEAD)"
    git ls-files --others --exclude-standard
}

tests_of() { # tests_of ROOM|STAGE|FILE: the tests of it, as paths that exist
    case $1 in
    tests/*test_*.py) compgen -G "$1" ;;
    tests/*) ;; # what several tests share: not seen here
    *)
        local name=${1#handtool/}
        name=${name%.py}
        case $name in
        stages/*) compgen -G "tests/stages/test_${name#stages/}*.py" || echo tests/stages ;;
        */* | cli | engine | hands | nn | render | search | sources | stages | store | synth | vision) compgen -G "tests/${name%%/*}" ;;
        *) compgen -G "tests/test_$name*.py" ;;
        esac
        ;;
    esac || true
}

if [ "${1:-}" = --fast ]; then
    shift
    check "$python"
    if [ $# -gt 0 ]; then asked=("$@"); else mapfile -t asked < <(changed_files); fi
    mapfile -t chosen < <(for one in "${asked[@]}"; do tests_of "$one"; done | sort -u)
    exec "$python" -m pytest "${parallel[@]}" tests/test_house.py "${chosen[@]}"
fi

if [ $# -gt 0 ]; then mkdir -p "$1"; folder=$(cd "$1" && pwd); else folder=$(mktemp -d); fi
others=
trap '[ -z "$others" ] || kill "$others" 2> /dev/null || true; [ $# -gt 0 ] || rm -rf "$folder"' EXIT

export HANDTOOL_CACHE=$folder/cache
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --python-version 3.11 -d "$folder" mediapipe==0.10.21
task=$HANDTOOL_CACHE/hand_landmarker.task

of_mediapipe=(tests/vision/test_mediapipe.py tests/synth/test_synth_mediapipe.py tests/stages/test_doctor.py -m mediapipe)
test_others() {
    if "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then
        install solutions test,mediapipe-solutions
        until [ -e "$task" ]; do sleep 1; done
        "$folder/solutions/bin/pytest" "${of_mediapipe[@]}"
        "$folder/solutions/bin/pytest" tests/{store,hands,search} tests/stages/test_{embed,mine}.py # numpy < 2
    else
        echo "MediaPipe 0.10.21 needs Python < 3.13: its tests are left out"
    fi
    until [ -e "$task" ]; do sleep 1; done
    newer=$(find_newer)
    if [ -n "$newer" ]; then
        "$newer" -m venv "$folder/newer"
        without_torch "$newer" | "$folder/newer/bin/pip" install --quiet --disable-pip-version-check -r /dev/stdin
        "$folder/newer/bin/pip" install --quiet --disable-pip-version-check --no-deps .
        "$folder/newer/bin/pytest" "${of_mediapipe[@]}"
    fi
}
test_others > "$folder/others.log" 2>&1 &
others=$!
failed=0
install newest test,onnx,datasets,mediapipe # keeps one core busy: the other environments are begun before
"$folder/newest/bin/python" tests/assembling.py "$folder"/mediapipe-0.10.21-*.whl "$task"
check "$folder/newest/bin/python" && "$folder/newest/bin/pytest" "${parallel[@]}" tests || failed=$?
wait "$others" || failed=$?
others=
cat "$folder/others.log"
exit "$failed"
