#!/usr/bin/env bash
# Does what an estimator knows of unlabelled hands help a pose model, and how much? A controlled study on synthetic hands.
#   examples/study.sh small|medium|large [OUT]
# small: two CPU cores, some three hours; medium: one GPU; large: a node with GPUS=8. OUT: a folder (default: study-SCALE).
# For each of SEEDS: an encoder by each of METHODS, then a pose model on it from FRACTIONS of the labels of other people in other
# places; those named NAME+pool are fine-tuned beside the unlabelled hands. All models of a row of BUDGETS took the same time: a step of
# pre-training takes as long as COST steps of fine-tuning, and pre-training is paid for by shorter fine-tuning. Then ABLATIONS, of the
# first seed. Writes tables and OUT/report.html. Run it again to continue where it stopped. TEST_SEED: of the test set; choose it last
# and use it once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scale=${1:-}
case $scale in
small)
    VIDEOS=${VIDEOS:-400} FRAMES=${FRAMES:-12} LABELLED=${LABELLED:-200} STEPS=${STEPS:-200} BATCH=${BATCH:-64}
    BUDGETS=${BUDGETS:-1000 2400} COST=${COST:-3.5} FRACTIONS=${FRACTIONS:-0.1}
    # bf16 takes half the time where the processor has it; without it, small pictures do
    SIZE=64 input=(--input-size 64 --precision bf16) head=(--head regression --batch-size 32 --rotation 15 --colour .3)
    if ! grep -qE 'avx512_bf16|amx_bf16| bf16' /proc/cpuinfo 2> /dev/null; then
        echo "this processor has no bf16: pictures of 32 px instead of 64, so the errors will be larger and the gains smaller" >&2
        input=(--input-size 32 --precision fp32)
    fi
    network=(--arch resnet18 "${input[@]}" --gpus 0)
    JOBS=${JOBS:-2} # one core each, since a small network gains little from a second one
    ;;
medium)
    VIDEOS=${VIDEOS:-1000} FRAMES=${FRAMES:-40} LABELLED=${LABELLED:-200} STEPS=${STEPS:-1000} BATCH=${BATCH:-512}
    BUDGETS=${BUDGETS:-20000} COST=${COST:-16} FRACTIONS=${FRACTIONS:-0.01 0.1} SEEDS=${SEEDS:-1}
    SIZE=96 network=(--arch resnet18 --input-size 64 --gpus 1) head=(--head regression --batch-size 64 --rotation 15 --colour .3)
    ;;
large)
    VIDEOS=${VIDEOS:-20000} FRAMES=${FRAMES:-50} LABELLED=${LABELLED:-1000} STEPS=${STEPS:-60000} BATCH=${BATCH:-8192}
    BUDGETS=${BUDGETS:-8000000 16000000} COST=${COST:-128} FRACTIONS=${FRACTIONS:-0.01 0.1 1}
    SIZE=224 network=(--arch resnet50 --input-size 128 --gpus "${GPUS:-8}") head=(--head heatmap --batch-size 128)
    ;;
*) sed -n '2,9p' "$0" | cut -c3-; exit 2 ;;
esac
out=${2:-study-$scale} JOBS=${JOBS:-1} SEEDS=${SEEDS:-1 2 3}
METHODS=${METHODS-simclr peclr simhand simhand-unweighted keypoints softhand handtool oracle} POOLED=${POOLED-scratch simhand handtool}
# at every budget but the first, which has all: what is compared with the published method there
LATER=${LATER-peclr simhand scratch+pool handtool+pool}
POOLED_STEPS=${POOLED_STEPS:-$((STEPS / 4))} # of pre-training before fine-tuning with the pool: the recipe's division of time
ABLATIONS=${ABLATIONS-contrast-hard contrast-soft temperature-.1 temperature-.2 sigma-.5 longer fresh-head depth-off+pool depth-estimated+pool noisy-handtool noisy-handtool+pool wrong-handtool wrong-handtool+pool mediapipe-keypoints mediapipe-handtool mediapipe-handtool+pool}
TEST_SEED=${TEST_SEED:-303} HANDTOOL=${HANDTOOL:-handtool} PYTHON=${PYTHON:-python3}
mkdir -p "$out"
cd "$out"
[ "$JOBS" = 1 ] || export OMP_NUM_THREADS=1 HANDTOOL_WORKERS=1
quiet() { "$HANDTOOL" "$@" --quiet > /dev/null; }
running=() silence=() # progress bars of several jobs would overwrite each other
[ "$JOBS" = 1 ] || silence=(--quiet)
start() { # start NAME COMMAND...: in the background, JOBS at a time; the next one starts when the first has ended
    echo "   $(date +%H:%M) $1"; shift
    "$HANDTOOL" "$@" ${silence[@]+"${silence[@]}"} > /dev/null &
    running+=($!)
    while [ ${#running[@]} -ge "$JOBS" ]; do finish_one; done
}
finish_one() { # wait until a job has ended; if it failed, end the study
    local place pid
    while :; do
        for place in "${!running[@]}"; do
            pid=${running[place]}
            kill -0 "$pid" 2> /dev/null && continue
            unset "running[place]"
            wait "$pid" || { place=$?; finish; exit $place; }
            return 0
        done
        sleep .3
    done
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

echo "== keypoints, and similar hands in other videos: by keypoints, and by the true joints"
mine() { # mine NAME EMBED-OPTIONS...
    local name=$1; shift
    quiet embed keypoints.h5 "$@" -o "embeddings-$name.h5"
    quiet mine "embeddings-$name.h5" --topk 5 --threads 1 -o "pairs-$name.h5"
}
quiet keypoints pool.h5 -o keypoints.h5
mine mined
case " $METHODS " in *" oracle "*) mine oracle --from joints ;; esac
case $ABLATIONS in
*noisy-* | *wrong-*) # off by 4.5 % of the crop's side in either direction; wrong: 15 % of the hands have another hand's, too
    quiet keypoints pool.h5 --noise "$(awk "BEGIN { print .045 * $SIZE }")" -o keypoints-noisy.h5
    [ keypoints-wrong.h5 -nt keypoints-noisy.h5 ] || "$PYTHON" "$here/study_wrong.py" keypoints-noisy.h5 keypoints-wrong.h5 0.15
    ;;
esac
case $ABLATIONS in
*mediapipe-*)
    if ! quiet keypoints pool.h5 --estimator mediapipe -o keypoints-mediapipe.h5; then
        echo "   (the rows with MediaPipe's keypoints are left out, for the reason above)"
        ABLATIONS=$(printf '%s\n' $ABLATIONS | { grep -v '^mediapipe-' || true; })
    fi
    ;;
esac

teacher() { # the file of keypoints that a row NAME learns from
    case $1 in noisy-* | wrong-* | mediapipe-*) echo "keypoints-${1%%-*}.h5" ;; *) echo keypoints.h5 ;; esac
}
source_of() { # the name of the encoder of row NAME; scratch: none
    case $1 in
    depth-*) echo handtool-short ;; # differ in fine-tuning alone
    scratch+pool) echo scratch ;;
    fresh-head) echo handtool ;;
    *handtool+pool) echo "${1%+pool}-short" ;;
    *) echo "${1%+pool}" ;;
    esac
}
steps_of() { # steps of pre-training of encoder NAME
    case $1 in scratch) echo 0 ;; *-short) echo "$POOLED_STEPS" ;; longer) echo $((3 * STEPS)) ;; *) echo "$STEPS" ;; esac
}
encode() { # encode NAME SEED
    local options
    case $1 in
    scratch) return ;;
    handtool) ! shares || return 0; options="keypoints.h5 --method handtool" ;;
    oracle) options="pairs-oracle.h5 --method simhand --weights none" ;; # against simhand-unweighted: what perfect mining would bring
    simhand-unweighted) options="pairs-mined.h5 --method simhand --weights none" ;;
    contrast-*) options="pairs-mined.h5 --method handtool --contrast ${1#contrast-}" ;;
    temperature-*) options="pairs-mined.h5 --method softhand --temperature ${1#temperature-}" ;;
    sigma-*) options="pairs-mined.h5 --method softhand --soft-sigma ${1#sigma-}" ;;
    noisy-* | wrong-* | mediapipe-*) options="$(teacher "$1") --method $(name=${1%-short}; echo "${name#*-}")" ;;
    keypoints) options="keypoints.h5 --method keypoints" ;;
    handtool-short | longer) options="keypoints.h5 --method handtool" ;;
    *) options="pairs-mined.h5 --method $1" ;;
    esac
    start "$1, seed $2" pretrain $options "${network[@]}" --init scratch --batch-size "$BATCH" --steps "$(steps_of "$1")" --seed "$2" \
        -o "encoder-$1-$2.h5"
}
tune() { # tune NAME FRACTION BUDGET SEED: row NAME with what its encoder left of the time
    local from left result=$1-$2-$3-$4 encoder
    encoder=$(source_of "$1") from=(--init scratch)
    [ "$encoder" = scratch ] || from=(--encoder "encoder-$encoder-$4.h5")
    left=$(awk "BEGIN { printf \"%d\", $3 - $COST * $(steps_of "$encoder") }")
    [ "$1" != longer ] || left=$(awk "BEGIN { printf \"%d\", $3 - $COST * $STEPS }") # as long as the others: the one row that took more
    case $1 in *+pool) from+=(--pool "$(teacher "$1")") ;; esac
    case $1 in
    depth-off+pool) ;;
    depth-estimated+pool) from[3]=keypoints-mediapipe.h5; from+=(--pool-depth estimated) ;;
    *+pool) from+=(--pool-depth lifted) ;;
    fresh-head) from+=(--fresh-head) ;;
    esac
    start "$1, $2 of the labels, $left steps, seed $4" finetune labelled.h5 "${from[@]}" "${network[@]}" "${head[@]}" --steps "$left" \
        --label-fraction "$2" --seed "$4" -o "pose-$result.h5"
}
score() { # score RESULT
    [ "result-$1.h5" -nt "pose-$1.h5" ] || start "error of $1" eval test.h5 --model "pose-$1.h5" --bone truth -o "result-$1.h5"
}

shares() { case " $METHODS " in *" keypoints "*) case " $METHODS " in *" handtool "*) return 0 ;; esac ;; esac; return 1; }
share_rows() { # exact keypoints know no depth, and without depth the method handtool is keypoints, to the bit: it is trained once
    local file
    shares || return 0
    for file in "$1"-keypoints-[0-9.]*.h5; do [ ! -e "$file" ] || ln -sf "$file" "${file/-keypoints-/-handtool-}"; done
}

pooled=$(printf ' %s+pool' $POOLED | sed 's/^ +pool$//')
first=${SEEDS%% *} least=${BUDGETS%% *} fraction=${FRACTIONS%% *}
encoders=$METHODS
case " $POOLED " in *" handtool "*) encoders="$encoders handtool-short" ;; esac
echo "== an encoder by each method, for each seed: $STEPS steps of $BATCH pairs (before fine-tuning with the pool: $POOLED_STEPS)"
for seed in $SEEDS; do for name in $encoders; do encode "$name" "$seed"; done; done
finish
share_rows encoder
echo "== before fine-tuning: poses predicted from frozen features"
"$PYTHON" "$here/study_probe.py" . peclr,simhand "$FRACTIONS" "$SEEDS" $METHODS | tee probe.txt

echo "== pose models, at label fractions $FRACTIONS; budgets, in steps of fine-tuning: $BUDGETS"
rows=()
for budget in $BUDGETS; do
    names="scratch $METHODS$pooled"
    [ "$budget" = "$least" ] || names=$LATER
    ! shares || names=$(printf '%s\n' $names | grep -vx handtool)
    for share in $FRACTIONS; do for name in $names; do for seed in $SEEDS; do rows+=("$name $share $budget $seed"); done; done; done
done
for row in "${rows[@]}"; do tune $row; done
finish
for row in "${rows[@]}"; do score "${row// /-}"; done
finish
share_rows result
"$PYTHON" "$here/study_table.py" . peclr,simhand scratch $METHODS $pooled | tee table.txt

if [ -n "$ABLATIONS" ]; then
    echo "== ablations, seed $first"
    case " $ABLATIONS " in *" mediapipe-"*) ;; *) ABLATIONS=${ABLATIONS/depth-estimated+pool/} ;; esac
    for name in $ABLATIONS; do
        encoder=$(source_of "$name")
        [ "$encoder" = handtool-short ] || [ "$encoder" = handtool ] || [ -e "encoder-$encoder-$first.h5" ] || encode "$encoder" "$first"
    done
    finish
    for name in $ABLATIONS; do tune "$name" "$fraction" "$least" "$first"; done
    finish
    for name in $ABLATIONS; do score "$name-$fraction-$least-$first"; done
    finish
    "$PYTHON" "$here/study_table.py" . handtool,handtool+pool handtool handtool+pool softhand $ABLATIONS | tee ablations.txt
fi

quiet report $(printf "encoder-%s-$first.h5 " $METHODS) $(for name in scratch $METHODS $pooled; do echo "result-$name-$fraction-$least-$first.h5"; done) -o report.html
echo "$out/probe.txt, $out/table.txt, $out/ablations.txt and $out/report.html"
