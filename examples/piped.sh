#!/usr/bin/env bash
# The light stages joined by pipes: no file between crops and pairs. The tables are the ones that a chain of files gives
# (exactly so with `mine --threads 1`: several threads build another graph each time).
#   examples/piped.sh CROPS OUT
# CROPS: what `handtool extract` or `handtool synth` wrote. OUT: a folder; pairs.h5 appears in it.
set -euo pipefail
if [ $# -ne 2 ]; then sed -n '2,5p' "$0" | cut -c3-; exit 2; fi
mkdir -p "$2"
handtool keypoints "$1" | handtool embed | handtool mine --topk 5 -o "$2/pairs.h5"
handtool info "$2/pairs.h5"
