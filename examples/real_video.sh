#!/usr/bin/env bash
# From real videos and a folder of labelled hands to a 3D-pose error, step by step, one file per step.
#   examples/real_video.sh VIDEOS LABELLED OUT [MORE_SOURCES...]
# VIDEOS and MORE_SOURCES: videos, or folders of videos or images; at least two videos, since a hand's positive is from another video.
# LABELLED: hands with known joints (format: handtool/docs/DATA.md). Needs the extra `mediapipe` and its model (handtool
# doctor --download). Run it again to continue where it stopped.
# The defaults suit two CPU cores; for real work set FPS, ARCH, SIZE, EPOCHS, FINETUNE_EPOCHS and GPUS.
set -euo pipefail
if [ $# -lt 3 ]; then sed -n '2,7p' "$0" | cut -c3-; exit 2; fi
videos=$1 labelled=$2 out=$3
shift 3
FPS=${FPS:-5} GPUS=${GPUS:-0} ARCH=${ARCH:-resnet18} SIZE=${SIZE:-64} EPOCHS=${EPOCHS:-30} FINETUNE_EPOCHS=${FINETUNE_EPOCHS:-60}
mkdir -p "$out"

handtool extract "$videos" "$@" --fps "$FPS" -o "$out/crops.h5"
handtool keypoints "$out/crops.h5" -o "$out/keypoints.h5"
handtool embed "$out/keypoints.h5" -o "$out/embeddings.h5"
handtool mine "$out/embeddings.h5" --topk 5 -o "$out/pairs.h5"
handtool pretrain "$out/pairs.h5" --gpus "$GPUS" --arch "$ARCH" --input-size "$SIZE" --epochs "$EPOCHS" --init scratch -o "$out/encoder.h5"

handtool extract "$labelled" -o "$out/labelled.h5"
handtool split "$out/labelled.h5" --by row --shares 67,33 --in-order -o "$out/train.h5" -o "$out/test.h5"
handtool finetune "$out/train.h5" --head "${HEAD:-regression}" --encoder "$out/encoder.h5" --gpus "$GPUS" --input-size "$SIZE" --epochs "$FINETUNE_EPOCHS" -o "$out/pose.h5"
handtool eval "$out/test.h5" --model "$out/pose.h5" -o "$out/result.h5"

handtool show "$out/keypoints.h5" -o "$out/keypoints.png"
handtool show "$out/pairs.h5" -o "$out/pairs.png"
handtool show "$out/result.h5" -o "$out/predictions.png"
handtool report "$out/crops.h5" "$out/pairs.h5" "$out/encoder.h5" "$out/pose.h5" "$out/result.h5" -o "$out/report.html"
echo
echo "Look at $out/pairs.png (a hand and the most similar hands from other videos), $out/predictions.png and $out/report.html."
echo "See the hands in your videos: handtool show $out/keypoints.h5 --video -o $out/overlay.mp4"
