#!/usr/bin/env bash
# Many videos on a Ray cluster: crops and their keypoints, each made by the workers of all nodes, in one file.
#   examples/ray_cluster.sh VIDEOS OUT [OPTIONS of handtool extract...]
# Needs pip install 'handtool[ray]' on every node, the same everywhere, and VIDEOS and OUT under the same path. Which cluster:
#   RAY_ADDRESS=HOST:6379             one that runs
#   NODES=FILE                        machines that ssh reaches, one a line: a cluster of this machine and those is started, and stopped at the end
#   neither                           a Ray of this machine alone
# Optional: KEYPOINTS="--estimator hands.onnx" (options of handtool keypoints), GPUS="--gpus-per-worker 0.25" (with ONNX models). Run it
# again after a failure, also of this machine: it continues video by video, block by block.
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,9p' "$0" | cut -c3-; exit 2; fi
videos=$(realpath "$1") out=$2
shift 2
mkdir -p "$out"
out=$(realpath "$out")

if [ -z "${RAY_ADDRESS:-}" ] && [ -n "${NODES:-}" ]; then
  export RAY_ADDRESS="$(hostname):${PORT:-6379}" RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
  mapfile -t nodes < "$NODES"
  stop() { for node in "${nodes[@]}"; do ssh -n "$node" ray stop; done; ray stop; } > /dev/null 2>&1
  trap stop EXIT
  token=$(ray get-auth-token --generate 2> /dev/null) # else whoever reaches the port runs what they like
  ray start --head --port="${PORT:-6379}" --include-dashboard=false > /dev/null
  for node in "${nodes[@]}"; do
    ssh "$node" "umask 077; mkdir -p ~/.ray; cat > ~/.ray/auth_token; RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 ray start --address=$RAY_ADDRESS" \
      <<< "$token" > /dev/null
  done
fi

handtool extract "$videos" "$@" --engine ray ${GPUS:-} -o "$out/crops.h5"
handtool keypoints "$out/crops.h5" ${KEYPOINTS:-} --engine ray ${GPUS:-} -o "$out/keypoints.h5"
