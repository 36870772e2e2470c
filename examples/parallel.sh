#!/usr/bin/env bash
# Many videos on several machines with GNU parallel: each job extracts one shard of the videos; the shards are joined at the end.
#   examples/parallel.sh VIDEOS OUT [OPTIONS of handtool extract...]
# Optional variables: SHARDS=8, JOBS=2 (at a time on each machine), NODES=FILE (machines with the same folders, one a line: parallel's
# --sshloginfile). On one machine `handtool extract --workers` does the same. Run it again to continue where it stopped.
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,5p' "$0" | cut -c3-; exit 2; fi
videos=$(realpath "$1") out=$2 shards=${SHARDS:-8}
shift 2
mkdir -p "$out"
out=$(realpath "$out")

parallel --quote --jobs "${JOBS:-2}" ${NODES:+--sshloginfile "$NODES"} --joblog "$out/parallel.log" --line-buffer --tag \
  handtool extract "$videos" "$@" --shard "{}/$shards" --workers 1 -o "$out/shard-{}-of-$shards.h5" ::: $(seq "$shards")
handtool cat "$out"/shard-*-of-"$shards".h5 -o "$out/crops.h5"
