#!/usr/bin/env bash
# A complete demo: setup, demonstrations on a simulated table, shards, three short training stages, and one HTML page with
# a film of the policy in pipelines/demo_policy, which the same recipes trained for an hour (pipelines/demo_policy.sh).
#   bash pipelines/demo.sh [DIR]      DIR: new or empty output folder (default: demo_out/ in the repository, recreated)
#   VITA_REAL_DATA=DIR                also build the real Bridge episodes in DIR/bridge_rlds
set -euo pipefail
start="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -gt 0 ]; then
    case "$1" in /*) out="$1" ;; *) out="$start/$1" ;; esac
    if [ -d "$out" ] && [ -n "$(ls -A "$out")" ]; then
        echo "demo: $out is not empty; choose a new folder" >&2
        exit 2
    fi
else
    out="$PWD/demo_out"
    rm -rf "$out"
fi
mkdir -p "$out"
bash pipelines/setup.sh
# The model is so small that threads wait for one another: on a busy machine, two of them took a hundred times as long.
export PATH="$PWD/.venv/bin:$PATH" HF_HUB_OFFLINE=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

say() { printf '\n== %s\n' "$*"; }

say "record demonstrations: a scripted expert lifts a cube on a simulated table"
vita-eval tabletop record --task lift_red --num-demos 40 --out "$out/raw"

say "build shards from the recordings, and check every byte"
vita-data build --source libero --raw "$out/raw" --out "$out/shards" --frames all
vita-data verify "$out/shards/libero"
vita-data view "$out/shards" --html "$out/view"

if [ -n "${VITA_REAL_DATA:-}" ]; then
    say "real Bridge episodes (10 steps each: the 13-frame minimum is lowered to 8 by --set)"
    vita-data build --source bridge --raw "$VITA_REAL_DATA/bridge_rlds" --out "$out/real_shards" --set min_frames=8
    vita-data verify "$out/real_shards/bridge"
    vita-data inspect "$out/real_shards/bridge" --html "$out/real_bridge.html"
fi

say "show the mixture"
vita-data mix manifests/lift.toml --shards "$out/shards"

train() {  # STAGE NUM_STEPS [vita-train options]: the recipe of the shipped policy, with fewer steps
    local stage="$1" steps="$2"; shift 2
    vita-train "table_$stage" --shards "$out/shards" --out "$out/runs/$stage" --set num_steps="$steps" \
        --set optimizer.schedule_steps="$steps" "$@"
}
say "warmup: learn codes of motion; stop after 100 steps, then resume to the end"
train warmup 300 --steps 100
train warmup 300 --resume
say "co-train: predict codes, frames and actions"
train cotrain 150 --set init="$out/runs/warmup"
say "fine-tune the action decoder"
train finetune 100 --set init="$out/runs/cotrain"

say "let the shipped policy lift cubes from 20 new initial states"
vita-eval tabletop evaluate --task lift_red --policy pipelines/demo_policy --episodes 20 --replan-steps 10 \
    --out "$out/rollouts"

say "report everything on one page"
vita-data report "$out/shards" --manifest manifests/lift.toml --rollouts "$out/rollouts" --view "$out/view" \
    --run "$out/runs/warmup" --run "$out/runs/cotrain" --run "$out/runs/finetune" --html "$out/report.html"
echo "open $out/report.html, and $out/view/index.html to watch every demonstration"
