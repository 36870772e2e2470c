#!/usr/bin/env bash
# Installs handtool into fresh environments, as a newcomer would, and runs all tests.
#   tests/run.sh [FOLDER]      FOLDER: where the environments go (default: a temporary folder, removed afterwards)
# The first environment takes the newest of everything, the extras onnx and datasets included; the second one adds MediaPipe (numpy < 2, OpenCV 4.11) and runs the chain on real video.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if [ $# -gt 0 ]; then folder=$1; mkdir -p "$folder"; else folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; fi

install() { # install NAME EXTRAS
    "$python" -m venv "$folder/$1"
    "$folder/$1/bin/pip" install --quiet --disable-pip-version-check ".[$2]"
    "$folder/$1/bin/handtool" doctor
}

install newest test,onnx,datasets
"$folder/newest/bin/pytest" tests

if "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then
    install mediapipe test,mediapipe
    "$folder/mediapipe/bin/pytest" tests -m mediapipe
    "$folder/mediapipe/bin/pytest" tests/{store,hands,search} tests/stages/test_{embed,mine}.py # numpy < 2
else
    echo "MediaPipe 0.10.21 needs Python < 3.13: its tests are left out"
fi
