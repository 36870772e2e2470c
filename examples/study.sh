#!/usr/bin/env bash
# Does pre-training on similar hands from other videos help, and how much? A controlled study on synthetic hands.
#   examples/study.sh small|medium|large [OUT]
# small: two CPU cores, an hour and a half (FINETUNE=1000: about three hours, which shows the effect of mining); medium: one GPU;
# large: a node with GPUS=8. OUT: a folder (default: study-SCALE). Trains an encoder by each method, with the same steps, network and
# hands; then pose models on few and on all labels of other people in other places. Writes tables and OUT/report.html. Run it again to
# continue where it stopped. TEST_SEED: of the test set; choose it last and use it once. METHODS: which encoders; also keypoints, softhand,
# handtool. POOLED: which of them, and of scratch, are fine-tuned with the unlabelled hands, too; their rows are called METHOD+pool.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scale=${1:-}
case $scale in
small)
    VIDEOS=${VIDEOS:-400} FRAMES=${FRAMES:-12} LABELLED=${LABELLED:-200} STEPS=${STEPS:-450} BATCH=${BATCH:-64} FINETUNE=${FINETUNE:-400}
    FRACTIONS=${FRACTIONS:-0.1 1} SEEDS=${SEEDS:-1 2 3} SIZE=64 network=(--arch resnet18 --input-size 64 --gpus 0) head=(--head regression --batch-size 32 --rotation 15 --colour .3) ablations=
    JOBS=${JOBS:-2} # one core each, since a small network gains little from a second one
    ;;
medium)
    VIDEOS=${VIDEOS:-1000} FRAMES=${FRAMES:-40} LABELLED=${LABELLED:-200} STEPS=${STEPS:-6000} BATCH=${BATCH:-512} FINETUNE=${FINETUNE:-1500}
    FRACTIONS=${FRACTIONS:-0.01 0.05 0.1 0.4 1} SEEDS=${SEEDS:-1 2 3} SIZE=96 network=(--arch resnet18 --input-size 64 --gpus 1) head=(--head regression --batch-size 64) ablations=yes
    ;;
large)
    VIDEOS=${VIDEOS:-20000} FRAMES=${FRAMES:-50} LABELLED=${LABELLED:-1000} STEPS=${STEPS:-60000} BATCH=${BATCH:-8192} FINETUNE=${FINETUNE:-15000}
    FRACTIONS=${FRACTIONS:-0.01 0.05 0.1 0.4 1} SEEDS=${SEEDS:-1 2 3} SIZE=224 network=(--arch resnet50 --input-size 128 --gpus "${GPUS:-8}") head=(--head heatmap --batch-size 128) ablations=yes
    ;;
*) sed -n '2,9p' "$0" | cut -c3-; exit 2 ;;
esac
out=${2:-study-$scale} JOBS=${JOBS:-1} METHODS=${METHODS:-simclr peclr simhand-unweighted simhand oracle} POOLED=${POOLED:-}
reference=${METHODS%% *} # the others' gains are over it: peclr, where it is among them
case " $METHODS " in *" peclr "*) reference=peclr ;; esac
TEST_SEED=${TEST_SEED:-303} HANDTOOL=${HANDTOOL:-handtool} PYTHON=${PYTHON:-python3}
mkdir -p "$out"
cd "$out"
[ "$JOBS" = 1 ] || export OMP_NUM_THREADS=1 HANDTOOL_WORKERS=1
quiet() { "$HANDTOOL" "$@" --quiet > /dev/null; }
running=() silence=() # progress bars of several jobs would overwrite each other
[ "$JOBS" = 1 ] || silence=(--quiet)
start() { # start NAME COMMAND...: in the background, JOBS at a time
    echo "   $(date +%H:%M) $1"; shift
    "$HANDTOOL" "$@" ${silence[@]+"${silence[@]}"} > /dev/null &
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
world() { quiet synth --num-videos "$1" --frames "$FRAMES" --size "$SIZE" --difficulty medium --seed "$2" -o "$3"; }

echo "== hands without labels; labelled hands of other people in other places, for training and for testing"
world "$VIDEOS" 101 pool.h5
world "$LABELLED" 202 labelled.h5
world "$LABELLED" "$TEST_SEED" test.h5

echo "== similar hands in other videos: by keypoints, and by the true joints"
mine() { # mine NAME EMBED-OPTIONS... [-- MINE-OPTIONS...]
    local name=$1 options=() ; shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
    [ $# -eq 0 ] || shift
    quiet embed "${KEYPOINTS:-keypoints.h5}" ${options[@]+"${options[@]}"} -o "embeddings-$name.h5"
    quiet mine "embeddings-$name.h5" --topk 5 --threads 1 "$@" -o "pairs-$name.h5"
}
quiet keypoints pool.h5 -o keypoints.h5
mine mined
mine oracle --from joints

train() { # train NAME PAIRS METHOD-OPTIONS...
    local name=$1 pairs=$2; shift 2
    start "$name" pretrain "$pairs" "${network[@]}" --init scratch --batch-size "$BATCH" --steps "$STEPS" --seed 5 "$@" -o "encoder-$name.h5"
}
tune() { # tune NAMES FRACTIONS: pose models on top of encoder-NAME.h5 (scratch: without an encoder), and their errors
    local name fraction seed from results=() result
    for name in $1; do for fraction in $2; do for seed in $SEEDS; do
        from=(--encoder "encoder-$name.h5") result=$name-$fraction-$seed
        [ "${name%+pool}" = "$name" ] || from=(--encoder "encoder-${name%+pool}.h5" --pool keypoints.h5)
        [ "$name" != scratch ] || from=(--init scratch)
        [ "$name" != scratch+pool ] || from=(--init scratch --pool keypoints.h5)
        start "$name, $fraction of the labels, seed $seed" finetune labelled.h5 "${from[@]}" "${network[@]}" "${head[@]}" --steps "$FINETUNE" \
            --label-fraction "$fraction" --seed "$seed" -o "pose-$result.h5"
        results+=("$result")
    done; done; done
    finish
    for result in "${results[@]}"; do
        [ "result-$result.h5" -nt "pose-$result.h5" ] || start "error of $result" eval test.h5 --model "pose-$result.h5" --bone truth -o "result-$result.h5"
    done
    finish
}

echo "== an encoder by each method: $STEPS steps of $BATCH pairs"
for method in $METHODS; do
    case $method in
    simhand-unweighted) train "$method" pairs-mined.h5 --method simhand --weights none ;;
    oracle) train "$method" pairs-oracle.h5 --method simhand --weights none ;; # against simhand-unweighted: what perfect mining would bring
    *) train "$method" pairs-mined.h5 --method "$method" ;;
    esac
done
finish
methods="scratch $METHODS"

echo "== before fine-tuning: poses predicted from frozen features"
"$PYTHON" "$here/study_probe.py" . "$reference" "$FRACTIONS" "$SEEDS" ${methods#scratch } | tee probe.txt

echo "== pose models: $FINETUNE steps, at label fractions $FRACTIONS, seeds $SEEDS"
methods="$methods$(printf ' %s+pool' $POOLED | sed 's/^ +pool$//')"
tune "$methods" "$FRACTIONS"
"$PYTHON" "$here/study_table.py" . "$reference" $methods | tee table.txt

if [ -n "$ablations" ]; then
    echo "== ablations: rank of the positive, excluded hands, noise of the keypoints, size of the pool"
    train rank-5 pairs-mined.h5 --method simhand --positives 5
    train rank-any pairs-mined.h5 --method simhand --positives sample
    mine same-video -- --exclude none
    train same-video pairs-same-video.h5 --method simhand
    for noise in 2 8; do
        quiet keypoints pool.h5 --noise "$noise" -o "keypoints-noise-$noise.h5"
        KEYPOINTS=keypoints-noise-$noise.h5 mine "noise-$noise"
        train "noise-$noise" "pairs-noise-$noise.h5" --method simhand
    done
    if quiet keypoints pool.h5 --estimator mediapipe -o keypoints-estimated.h5; then
        KEYPOINTS=keypoints-estimated.h5 mine estimated
        train estimated pairs-estimated.h5 --method simhand
    else
        echo "   (the ablation with estimated keypoints is left out, for the reason above)"
    fi
    quiet split pool.h5 --by video --shares 25,75 -o quarter.h5 -o rest.h5
    quiet keypoints quarter.h5 -o keypoints-quarter.h5
    KEYPOINTS=keypoints-quarter.h5 mine quarter
    train quarter-of-pool pairs-quarter.h5 --method simhand
    finish
    varied=$(for file in encoder-{rank-5,rank-any,same-video,noise-2,noise-8,estimated,quarter-of-pool}.h5; do [ ! -e "$file" ] || { file=${file#encoder-}; echo "${file%.h5}"; }; done)
    tune "$varied" 0.1
    "$PYTHON" "$here/study_table.py" . simhand simhand $varied | tee ablations.txt
fi

first=$(echo $SEEDS | cut -d' ' -f1) least=$(echo $FRACTIONS | cut -d' ' -f1)
quiet report pairs-mined.h5 $(printf 'encoder-%s.h5 ' $METHODS) $(for method in $reference ${methods/ $reference/}; do echo "result-$method-$least-$first.h5"; done) -o report.html
echo "$out/probe.txt, $out/table.txt and $out/report.html"
