#!/usr/bin/env bash
# All that only a GPU can say, in eight minutes of one: correctness first, then speed, then a small study. Prints a table; safe to stop.
#   tests/benchmarks/gpu.sh [SECONDS]     SECONDS: what all parts may take together (default 480)
# PYTHON: the interpreter with handtool's dependencies. What was not reached in time is said.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} left=${1:-480} out=$(mktemp -d)
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
trap 'rm -rf "$out"' EXIT
trap 'echo "stopped"; exit 130' INT TERM
rows=()

part() { # part NAME SECONDS PATTERN COMMAND...: run it, keep the last line that fits the pattern
    local name=$1 most=$2 pattern=$3 begun=$SECONDS said; shift 3
    if [ "$left" -lt 10 ]; then rows+=("| $name | not reached |"); return; fi
    [ "$most" -le "$left" ] || most=$left
    timeout --signal=INT "$most" "$@" 2>&1 | tee "$out/log" | tail -3
    said=$(grep -E "$pattern" "$out/log" | tail -1)
    left=$((left - SECONDS + begun))
    rows+=("| $name | ${said:-nothing found (see above)}, $((SECONDS - begun)) s |")
}

training=("$python" tests/benchmarks/bench_pretrain.py --gpus 1 --pairs 1024 --input-size 128 --only training --rounds 2 --steps 30)
part "tests of CUDA" 120 'passed|failed|error' "$python" -m pytest -q tests/nn/test_cuda.py
part "pre-training, ResNet-50, 128 px, bf16, 1,024 pairs, against bare" 90 'ratio' "${training[@]}"
part "the same, compiled" 120 'ratio' "${training[@]}" --compile
mine() { # seconds of `handtool mine` for 2 M hands by exact search on the GPU
    "$python" - "$out/embeddings.h5" << 'END'
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, "tests/benchmarks")
from bench_mine import make_hands, write_embeddings
write_embeddings(Path(sys.argv[1]), *make_hands("clustered-0.3", 2_000_000, 14, np.random.default_rng(1)))
END
    local begun=$(date +%s.%N)
    "$python" -m handtool mine "$out/embeddings.h5" --topk 5 --index exact --device cuda -o "$out/pairs.h5" --quiet &&
        echo "$(date +%s.%N) $begun" | awk '{printf "%.1f s for 2 M hands, start and file included\n", $1 - $2}'
}
export -f mine
export python out
part "exact mining on the GPU" 120 'for 2 M hands' bash -c mine
export HANDTOOL="$out/handtool"
printf '#!/bin/sh\nexec "%s" -m handtool "$@"\n' "$python" > "$HANDTOOL"
chmod +x "$HANDTOOL"
part "study of medium size, cut" 300 '.' env VIDEOS=300 STEPS=600 FINETUNE=300 FRACTIONS=0.1 SEEDS=1 METHODS="peclr simhand handtool" \
    bash examples/study.sh medium "$out/study"
[ ! -e "$out/study/table.txt" ] || cat "$out/study/table.txt"
printf '%s\n' "| what | figure |" "|---|---|" "${rows[@]}"
