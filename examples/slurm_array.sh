#!/usr/bin/env bash
# Many videos on a SLURM cluster: an array of jobs, each of which extracts one shard of the videos and gives its hands keypoints, and one
# job that joins the shards.
#   examples/slurm_array.sh VIDEOS OUT [OPTIONS of handtool extract...]
# Run it on the login node: it submits itself. Optional variables: SHARDS=16 CPUS=8 HOURS=4 SBATCH="--partition=…"
# KEYPOINTS="--estimator hands.onnx" (options of handtool keypoints). Run it again after a failure: finished shards are up to date, the
# others continue video by video, block by block. A requeued job continues by itself.
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,7p' "$0" | cut -c3-; exit 2; fi
videos=$1 out=$2 shards=${SHARDS:-16}

if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
  mkdir -p "$out"
  array=$(sbatch --parsable ${SBATCH:-} --job-name=extract --array=1-"$shards" --cpus-per-task="${CPUS:-8}" --time="${HOURS:-4}:00:00" \
    --requeue --output="$out/shard-%a.log" --open-mode=append "$0" "$@")
  sbatch --parsable ${SBATCH:-} --job-name=join --dependency=afterok:"${array%%;*}" --output="$out/join.log" \
    --wrap="handtool cat $(printf '%q' "$out")/keypoints-*-of-$shards.h5 -o $(printf '%q' "$out/keypoints.h5")"
  exit
fi

shift 2
shard=$SLURM_ARRAY_TASK_ID-of-$SLURM_ARRAY_TASK_COUNT workers=${SLURM_CPUS_PER_TASK:-0}
handtool extract "$videos" "$@" --shard auto --workers "$workers" -o "$out/crops-$shard.h5"
handtool keypoints "$out/crops-$shard.h5" ${KEYPOINTS:-} --workers "$workers" -o "$out/keypoints-$shard.h5"
