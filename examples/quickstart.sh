#!/usr/bin/env bash
# The whole method on synthetic hands, in a few minutes on two CPU cores: no data, no download, no GPU.
#   examples/quickstart.sh [OUT]       OUT: a folder for the results (default: demo). Run it again: it goes on where it stopped.
# Needs handtool installed (pip install .).
set -euo pipefail
out=${1:-demo}
small=(--gpus 0 --arch resnet18 --input-size 64 --init scratch)
mkdir -p "$out"

echo "== a world of hands: 24 videos to learn from without labels, 24 labelled ones of other people in other places"
handtool synth --num-videos 24 --frames 30 --size 128 --seed 5 -o "$out/crops.h5"
handtool synth --num-videos 24 --frames 20 --size 128 --seed 6 -o "$out/labelled.h5"

echo "== similar hands in other videos"
handtool keypoints "$out/crops.h5" -o "$out/keypoints.h5"
handtool embed "$out/keypoints.h5" -o "$out/embeddings.h5"
handtool mine "$out/embeddings.h5" --topk 5 -o "$out/pairs.h5"

echo "== an encoder from pairs, a pose model from labels"
handtool pretrain "$out/pairs.h5" "${small[@]}" --epochs 6 -o "$out/encoder.h5"
handtool split "$out/labelled.h5" --by video --shares 75,25 --seed 5 -o "$out/train.h5" -o "$out/test.h5"
handtool finetune "$out/train.h5" --encoder "$out/encoder.h5" --gpus 0 --input-size 64 --epochs 20 -o "$out/pose.h5"

echo "== its number, and pictures"
handtool eval "$out/test.h5" --model "$out/pose.h5" -o "$out/result.h5"
handtool show "$out/keypoints.h5" -o "$out/keypoints.png"
handtool show "$out/pairs.h5" -o "$out/pairs.png"
handtool show "$out/result.h5" -o "$out/predictions.png"
handtool report "$out/crops.h5" "$out/pairs.h5" "$out/encoder.h5" "$out/pose.h5" "$out/result.h5" -o "$out/report.html"

cat <<END

Look at   $out/pairs.png         a hand, and the hands most like it in other videos
          $out/predictions.png   truth against prediction
          $out/report.html       all of it on one page
Next      bash examples/real_video.sh VIDEOS LABELLED OUT      with your own videos and labelled hands
END
