#!/usr/bin/env bash
# Few labels of real hands: networks trained on them in several ways, beside MediaPipe's own 3D, as it is and corrected.
#   examples/study_real.sh FOLDER LABELLED [OUT]
# FOLDER: films and images; all hands in them are the unlabelled pool (labels beside them are not read). LABELLED: a labelled set that
# `handtool extract` reads; its last third is the test. OUT: a folder (default: study-real). Needs MediaPipe (the extra `mediapipe` or
# `mediapipe-solutions`). An hour of one core for 1,700 hands. Run it again to continue where it stopped. LABELS: how many;
# SEEDS; STEPS, FINETUNE: of pre-training and of fine-tuning; JOBS: trainings at a time; EXTRACT, MINE: options of these; GPUS.
# Rows +pool train beside all unlabelled hands, +own beside those of LABELLED alone, the test's among them, without their labels. A network
# without pre-training trains for as long as pre-training and fine-tuning of the others take together.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -lt 2 ]; then sed -n '2,9p' "$0" | cut -c3-; exit 2; fi
folder=$(realpath "$1") labelled=$(realpath "$2") out=${3:-study-real}
LABELS=${LABELS:-10 30 100 200} SEEDS=${SEEDS:-1} STEPS=${STEPS:-200} FINETUNE=${FINETUNE:-400} SIZE=${SIZE:-48} ARCH=${ARCH:-resnet18} FPS=${FPS:-15}
EXTRACT=${EXTRACT:-} MINE=${MINE:-} JOBS=${JOBS:-1} GPUS=${GPUS:-0} HANDTOOL=${HANDTOOL:-handtool} PYTHON=${PYTHON:-python3}
mkdir -p "$out"
cd "$out"
[ "$JOBS" = 1 ] || export OMP_NUM_THREADS=1 HANDTOOL_WORKERS=1
quiet() { "$HANDTOOL" "$@" --quiet > /dev/null; }
running=()
start() { # start NAME COMMAND...: in the background, JOBS at a time
    echo "   $(date +%H:%M) $1"; shift
    "$HANDTOOL" "$@" --quiet > /dev/null &
    running+=($!)
    [ ${#running[@]} -lt "$JOBS" ] || finish
}
finish() { # wait for all jobs; if one failed, end the study
    local pid failed=0
    for pid in ${running[@]+"${running[@]}"}; do wait "$pid" || failed=$?; done
    running=()
    [ $failed = 0 ] || exit $failed
}
trap 'kill ${running[@]+"${running[@]}"} 2> /dev/null || true; wait; exit 130' INT TERM # each job saves its state

echo "== labelled hands; in file order, two thirds are for training, the others for the test"
quiet extract "$labelled" -o labelled.h5
quiet keypoints labelled.h5 --estimator mediapipe -o labelled-keypoints.h5
quiet split labelled-keypoints.h5 --by row --in-order --shares 66.667,33.333 -o train.h5 -o test.h5
size() { "$PYTHON" -c 'import h5py, sys; f = h5py.File(sys.argv[1]); print(f["crops"].attrs["box_scale"] if sys.argv[2:] else len(f["crops/side"]))' "$@"; }

echo "== unlabelled hands, cut as the labelled ones are"
films=(-iname '*.mp4' -o -iname '*.mov' -o -iname '*.mkv' -o -iname '*.avi' -o -iname '*.webm')
images=(-iname '*.jpg' -o -iname '*.jpeg' -o -iname '*.png' -o -iname '*.webp')
if [ ! -e footage ]; then # links to the films and images alone: labels beside them stay outside
    rm -rf footage.new
    (cd "$folder" && find -L . -type f ! -path '*/.*/*' ! -path '*/footage.new/*' \( "${films[@]}" -o "${images[@]}" \)) | while IFS= read -r file; do
        mkdir -p "footage.new/$(dirname "$file")"
        ln -s "$folder/$file" "footage.new/$file"
    done
    mv footage.new footage
fi
frames=() # images alone have no time
[ -z "$(find -L footage \( "${films[@]}" \) -print -quit)" ] || frames=(--fps "$FPS")
quiet extract footage ${frames[@]+"${frames[@]}"} --box-scale "$(size labelled.h5 box_scale)" $EXTRACT -o pool.h5
quiet keypoints pool.h5 -o keypoints.h5
quiet embed keypoints.h5 -o embeddings.h5
quiet mine embeddings.h5 --topk 5 --threads 1 $MINE -o pairs.h5
echo "   $(size pool.h5) of them; $(size train.h5) labelled ones for training, $(size test.h5) for the test"

precision=fp32
! grep -qs avx512_bf16 /proc/cpuinfo || precision=bf16
[ "$GPUS" = 0 ] || precision=auto
network=(--arch "$ARCH" --input-size "$SIZE" --gpus "$GPUS" --precision "$precision" --batch-size 32)
echo "== encoders: $STEPS steps of 32 pairs"
for method in simhand handtool; do start "$method" pretrain pairs.h5 --method "$method" --init scratch "${network[@]}" --seed 5 --steps "$STEPS" -o "encoder-$method.h5"; done
finish

echo "== poses: $FINETUNE steps after pre-training, $((FINETUNE + 2 * STEPS)) without it (a step on 32 pairs costs as much as two on 32 hands)"
results=()
for count in $LABELS; do for seed in $SEEDS; do
    [ "$count" -le "$(size train.h5)" ] || continue
    fraction=$("$PYTHON" -c 'import sys; print(int(sys.argv[1]) / int(sys.argv[2]))' "$count" "$(size train.h5)")
    few=() # all of them need no choice
    [ "$count" = "$(size train.h5)" ] || few=(--label-fraction "$fraction")
    for name in scratch simhand handtool scratch+pool handtool+pool scratch+own correction; do
        method=${name%+*} steps=$FINETUNE how=(--head regression --rotation 45 --colour .3 "${network[@]}")
        case $method in
        scratch) how+=(--init scratch) steps=$((FINETUNE + 2 * STEPS)) ;;
        *) how+=(--encoder "encoder-$method.h5") ;;
        esac
        case $name in *+pool) how+=(--pool keypoints.h5) ;; *+own) how+=(--pool labelled-keypoints.h5) ;; esac
        how+=(--steps "$steps")
        [ "$name" != correction ] || how=(--correct mediapipe)
        results+=("$name-$count-$seed")
        start "$name, $count labels, seed $seed" finetune train.h5 "${how[@]}" ${few[@]+"${few[@]}"} --seed "$seed" -o "pose-$name-$count-$seed.h5"
    done
done; done
finish

echo "== errors on the test"
quiet eval test.h5 --model mediapipe -o result-mediapipe-0-1.h5
for result in "${results[@]}"; do
    bone=(--bone mean) # of the training hands
    case $result in correction-*) bone=() ;; esac
    quiet eval test.h5 --model "pose-$result.h5" ${bone[@]+"${bone[@]}"} -o "result-$result.h5"
done
"$PYTHON" "$here/study_real_table.py" . | tee table.txt
last=${results[${#results[@]} - 1]}
quiet show "result-$last.h5" -o corrected.png
quiet report pairs.h5 encoder-simhand.h5 encoder-handtool.h5 result-mediapipe-0-1.h5 $(printf 'result-%s.h5 ' "${results[@]: -7}") -o report.html
echo "$out/table.txt, $out/corrected.png and $out/report.html"
