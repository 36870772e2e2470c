#!/usr/bin/env bash
# The whole method on synthetic hands, in a few minutes on two CPU cores. Needs no data and no GPU.
#   examples/quickstart.sh [OUT]
# OUT: a folder for the results (default: demo). The first run makes a Python environment in OUT/env and installs handtool there;
# HANDTOOL=handtool uses an installed one. Run it again to continue where it stopped. VIDEOS, FRAMES, STEPS, EPOCHS: sizes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-demo}
case $out in -*) sed -n '2,5p' "$0" | cut -c3-; exit 2 ;; esac
mkdir -p "$out"
if [ -n "${HANDTOOL:-}" ]; then
    python=${PYTHON:-python3}
else
    HANDTOOL=$out/env/bin/handtool python=$out/env/bin/python
    if [ ! -e "$out/env/installed" ]; then
        echo "== installing into $out/env (once; up to 6 GB, mostly torch)"
        "${PYTHON:-python3}" -m venv "$out/env"
        "$python" -m pip install --quiet --disable-pip-version-check "$here/.."
        touch "$out/env/installed"
    fi
fi
handtool() { command "$HANDTOOL" "$@"; }
VIDEOS=${VIDEOS:-32} FRAMES=${FRAMES:-30} STEPS=${STEPS:-600} EPOCHS=${EPOCHS:-24}
SECONDS=0

echo; echo "== synthetic hands: $VIDEOS videos without labels, $VIDEOS labelled ones of other people in other places"
handtool synth --num-videos "$VIDEOS" --frames "$FRAMES" --size 128 --seed 5 -o "$out/crops.h5"
handtool synth --num-videos "$VIDEOS" --frames "$FRAMES" --size 128 --seed 6 -o "$out/labelled.h5"

echo; echo "== for every hand, the most similar hands in other videos"
handtool keypoints "$out/crops.h5" -o "$out/keypoints.h5"
handtool embed "$out/keypoints.h5" -o "$out/embeddings.h5"
handtool mine "$out/embeddings.h5" --topk 5 -o "$out/pairs.h5"

echo; echo "== pre-train an encoder on these pairs, fine-tune a pose model on top"
small=(--gpus 0 --input-size 32) # for two CPU cores; on a GPU use --input-size 128, resnet50 and the default epochs
handtool pretrain "$out/pairs.h5" "${small[@]}" --arch resnet18 --init scratch --learning-rate 1e-3 --steps "$STEPS" -o "$out/encoder.h5"
handtool split "$out/labelled.h5" --by video --shares 75,25 --seed 5 -o "$out/train.h5" -o "$out/test.h5"
handtool finetune "$out/train.h5" "${small[@]}" --head regression --encoder "$out/encoder.h5" --epochs "$EPOCHS" -o "$out/pose.h5"

echo; echo "== its errors on people and places that were not in the training"
handtool eval "$out/test.h5" --model "$out/pose.h5" -o "$out/result.h5"
echo
"$python" "$here/mean_pose.py" "$out/train.h5" "$out/test.h5" "$out/result.h5"

echo; echo "== pictures"
for kind in labels pairs embeddings; do handtool show "$out/pairs.h5" --kind $kind -o "$out/$kind.png" -q > /dev/null; done
handtool show "$out/encoder.h5" -o "$out/pretraining.png" -q > /dev/null
handtool show "$out/result.h5" -o "$out/predictions.png" -q > /dev/null
handtool show "$out/result.h5" --kind metrics -o "$out/scores.png" -q > /dev/null
handtool show "$out/result.h5" --video -o "$out/predictions.mp4"
handtool report "$out/crops.h5" "$out/pairs.h5" "$out/encoder.h5" "$out/pose.h5" "$out/result.h5" -o "$out/report.html"

cat <<END

Done in $((SECONDS / 60)) min $((SECONDS % 60)) s, without the installation. The sizes are small (pictures, hands, minutes of training); the steps are the real ones.

Look at   $out/labels.png        the hands with their joints; open rings are hidden joints
          $out/pairs.png         a hand, and the most similar hands from other videos
          $out/embeddings.png    a map of all hands by pose
          $out/pretraining.png   the contrastive loss, and the similarity of positive and negative pairs
          $out/predictions.png   prediction and truth of the worst, median and best hands; predictions.mp4 shows all
          $out/report.html       all of it on one page
          handtool info $out/result.h5     what is in a file, and the commands that made it

Next      bash $here/real_video.sh VIDEOS LABELLED OUT
          the same steps with your own videos and labelled hands (format of LABELLED: handtool/docs/DATA.md; needs: pip install '.[mediapipe]')
          handtool show OUT/keypoints.h5 --video -o overlay.mp4     shows the hands found in your videos
END
