#!/usr/bin/env bash
# The three light stages joined by pipes, without files between crops and pairs. The tables are those of the chain with files
# (exactly, with `mine --threads 1`: several threads build a slightly different graph each time).
#   examples/piped.sh CROPS OUT
# CROPS: a file of `handtool extract` or `handtool synth`. OUT: a folder for pairs.h5.
set -euo pipefail
if [ $# -ne 2 ]; then sed -n '2,5p' "$0" | cut -c3-; exit 2; fi
mkdir -p "$2"
handtool keypoints "$1" | handtool embed | handtool mine --topk 5 -o "$2/pairs.h5"
handtool info "$2/pairs.h5"
