#!/usr/bin/env bash
# The closed loop: record scripted Lift demonstrations, build shards, train three stages, evaluate on new initial states.
#   bash pipelines/closed_loop.sh [DIR]    DIR: output folder (default: closed_loop_out/ in the repository);
#                                          after an interruption, run it again with the same VITA_DEMOS,
#                                          VITA_EPISODES and VITA_STEPS, and it continues
#   VITA_DEMOS=200 VITA_EPISODES=50        number of demonstrations and evaluation episodes
#   VITA_STEPS=N                           train each stage only to step N (for a quick test)
#   VITA_BIN=DIR                           use vita-data, vita-train and vita-eval from DIR instead of .venv/bin
set -euo pipefail
start="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-$PWD/closed_loop_out}" in /*) out="${1:-$PWD/closed_loop_out}" ;; *) out="$start/$1" ;; esac
demos="${VITA_DEMOS:-200}" episodes="${VITA_EPISODES:-50}"
mkdir -p "$out"
# Finished steps are not repeated, so other settings would give the results of the old ones.
asked="VITA_DEMOS=$demos VITA_EPISODES=$episodes VITA_STEPS=${VITA_STEPS:-}"
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

# Train one stage, or resume it: STAGE [vita-train options]
train() {
    local stage="$1" run="$out/runs/$1"; shift
    local more=()
    if compgen -G "$run/checkpoints/step-????????" > /dev/null; then more=(--resume); else rm -rf "$run"; fi
    # A short warmup would end in the continuous phase, so it uses codes from the first step.
    [ -n "${VITA_STEPS:-}" ] && more+=(--steps "$VITA_STEPS" --set codebook.continuous_updates=0)
    vita-train "pipelines/recipes/lift_$stage.py" --shards "$out/shards" --out "$run" "$@" "${more[@]}"
}

step record vita-eval robosuite record --task lift --out "$out/raw" --num-demos "$demos"
step build vita-data build --source libero --raw "$out/raw" --out "$out/shards" --frames all
step verify vita-data verify "$out/shards/libero"
step warmup train warmup
step cotrain train cotrain --set init="$out/runs/warmup"
step finetune train finetune --set init="$out/runs/cotrain"
# 10 of the 12 actions per chunk are executed: on other states (--seed 1), 2, 10 and 12 lifted 16, 22 and 21 of 25 cubes.
step evaluate vita-eval robosuite evaluate --task lift --policy "$out/runs/finetune" --out "$out/evaluation" \
    --episodes "$episodes" --replan-steps 10
echo
cat "$out/times.txt"
echo "result: $out/evaluation/result.json, pictures: $out/evaluation/rollouts.jpg, full log: $out/log.txt"
