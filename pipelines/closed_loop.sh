#!/usr/bin/env bash
# The closed loop: record scripted demonstrations, build shards, train three stages, evaluate on new initial states.
#   bash pipelines/closed_loop.sh [DIR]    DIR: output folder (default: closed_loop_out/ in the repository);
#                                          after an interruption, run it again with the same settings, and
#                                          it continues
#   VITA_TASKS="lift stack"                tasks (default: lift); each has its own shards, policies and report.html
#   VITA_SEEDS="0 1 2"                     seeds of training (default: 0); the report has intervals over them
#   VITA_DEMOS=200 VITA_EPISODES=50        number of demonstrations and evaluation episodes
#   VITA_WORKERS=N                         processes that share the episodes of an evaluation (default: 1)
#   VITA_STEPS=N                           train each stage only to step N (for a quick test)
#   VITA_BIN=DIR                           use vita-data, vita-train and vita-eval from DIR instead of .venv/bin
set -euo pipefail
start="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-$PWD/closed_loop_out}" in /*) out="${1:-$PWD/closed_loop_out}" ;; *) out="$start/$1" ;; esac
tasks="${VITA_TASKS:-lift}" seeds="${VITA_SEEDS:-0}" workers="${VITA_WORKERS:-1}"
demos="${VITA_DEMOS:-200}" episodes="${VITA_EPISODES:-50}"
mkdir -p "$out"
# Finished steps are not repeated, so other settings would give the results of the old ones.
asked="VITA_TASKS='$tasks' VITA_SEEDS='$seeds' VITA_DEMOS=$demos VITA_EPISODES=$episodes VITA_STEPS=${VITA_STEPS:-}"
began="$(cat "$out/settings.txt" 2> /dev/null || echo "$asked")"
if [ "$began" != "$asked" ]; then
    echo "closed_loop.sh: $out was started with $began, but the request is $asked; choose another DIR or remove it" >&2
    exit 2
fi
echo "$asked" > "$out/settings.txt"
exec > >(tee -a "$out/log.txt") 2>&1

case "${VITA_BIN:-}" in "" | /*) ;; *) VITA_BIN="$start/$VITA_BIN" ;; esac
if [ -z "${VITA_BIN:-}" ]; then
    bash pipelines/setup.sh
    VITA_BIN="$PWD/.venv/bin"
    if ! "$VITA_BIN/python" -c 'import mujoco, robosuite' 2>/dev/null; then
        "$VITA_BIN/python" -m pip install --quiet --constraint pipelines/constraints.txt --editable '.[robosuite]'
        "$VITA_BIN/python" -m pip install --quiet --no-deps robosuite==1.4.0
    fi
fi
export PATH="$VITA_BIN:$PATH" HF_HUB_OFFLINE=1 MUJOCO_GL="${MUJOCO_GL:-egl}"

# Run a step once: NAME COMMAND... Its duration is written to times.txt.
step() {
    local name="$1"; shift
    if [ -f "$out/done/$name" ]; then echo "== $name: already done"; return; fi
    echo "== $name"
    local began=$SECONDS
    "$@"
    mkdir -p "$out/done"
    touch "$out/done/$name"
    echo "$name $((SECONDS - began)) s" | tee -a "$out/times.txt"
}

# Train one stage, or resume it: TASK SEED STAGE [vita-train options]
train() {
    local home="$out/$1" seed="$2" stage="$3" run="$out/$1/seed-$2/runs/$3"; shift 3
    local more=()
    if compgen -G "$run/checkpoints/step-????????" > /dev/null; then more=(--resume); else rm -rf "$run"; fi
    # A short warmup would end in the continuous phase, so it uses codes from the first step.
    [ -n "${VITA_STEPS:-}" ] && more+=(--steps "$VITA_STEPS" --set codebook.continuous_updates=0)
    vita-train "pipelines/recipes/lift_$stage.py" --shards "$home/shards" --out "$run" --set seed="$seed" "$@" \
        "${more[@]}"
}

for task in $tasks; do
    home="$out/$task" shown=()
    step "$task-record" vita-eval robosuite record --task "$task" --out "$home/raw" --num-demos "$demos"
    step "$task-build" vita-data build --source libero --raw "$home/raw" --out "$home/shards" --frames all
    step "$task-verify" vita-data verify "$home/shards/libero"
    step "$task-replay" vita-eval replay --shards "$home/shards/libero" --raw "$home/raw" --simulator robosuite \
        --episodes "$episodes" --out "$home/replay"
    for seed in $seeds; do
        run="$home/seed-$seed"
        step "$task-$seed-warmup" train "$task" "$seed" warmup
        step "$task-$seed-cotrain" train "$task" "$seed" cotrain --set init="$run/runs/warmup"
        step "$task-$seed-finetune" train "$task" "$seed" finetune --set init="$run/runs/cotrain"
        # 5 of the 12 actions per chunk are executed: three trainings lifted 50, 48 and 47 of 50 cubes; 45, 45 and 42 with 10.
        step "$task-$seed-evaluate" vita-eval robosuite evaluate --task "$task" --policy "$run/runs/finetune" \
            --out "$run/evaluation" --episodes "$episodes" --replan-steps 5 --video --workers "$workers" --resume
        shown+=(--run "$run/runs/cotrain" --rollouts "$run/evaluation")
    done
    step "$task-report" vita-data report "$home/shards" --manifest manifests/lift.toml "${shown[@]}" \
        --rollouts "$home/replay" --html "$home/report.html"
done
echo
cat "$out/times.txt"
for task in $tasks; do
    echo "result: $out/$task/report.html; films of all episodes: $out/$task/seed-*/evaluation/videos/index.html"
done
echo "full log: $out/log.txt"
