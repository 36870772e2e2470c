#!/usr/bin/env bash
# Installs handtool into fresh environments, as a newcomer would, and runs all checks and tests.
#   tests/run.sh [FOLDER]             FOLDER: where the environments go (default: a temporary folder, removed afterwards)
#   tests/run.sh --fast [ROOM ...]    In the environment of $PYTHON as it is: all checks, and the tests of some rooms (nn, store, ...) or
#                                     stages (stages/mine). Without a room: the tests of all files that differ from branch main.
# The first environment takes the newest of everything, with the extras onnx and datasets; the second one adds MediaPipe (numpy < 2, OpenCV 4.11)
# and runs the chain on real video.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
parallel=(-n auto --maxprocesses 8 --dist worksteal) # each worker may need 2 GB

check() { # check PYTHON
    "$1" -m ruff check handtool tests examples
    "$1" -m ruff format --check handtool tests examples
    "$1" -m mypy
}

install() { # install NAME EXTRAS
    "$python" -m venv "$folder/$1"
    "$folder/$1/bin/pip" install --quiet --disable-pip-version-check ".[$2]"
    "$folder/$1/bin/handtool" doctor
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

if [ $# -gt 0 ]; then folder=$1; mkdir -p "$folder"; else folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; fi

install newest test,onnx,datasets
check "$folder/newest/bin/python"
"$folder/newest/bin/pytest" "${parallel[@]}" tests

if "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then
    install mediapipe test,mediapipe
    "$folder/mediapipe/bin/pytest" "${parallel[@]}" tests -m mediapipe
    "$folder/mediapipe/bin/pytest" "${parallel[@]}" tests/{store,hands,search} tests/stages/test_{embed,mine}.py # numpy < 2
else
    echo "MediaPipe 0.10.21 needs Python < 3.13: its tests are left out"
fi
