#!/usr/bin/env bash
# Make pipelines/demo_policy, the policy of the demo: demonstrations, shards, three stages, export. Takes about an hour on
# one core.
#   bash pipelines/demo_policy.sh DIR      DIR: working folder; run it again after an interruption, and it continues
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: bash pipelines/demo_policy.sh DIR" >&2; exit 2; }
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/pipelines/setup.sh"
export PATH="$root/.venv/bin:$PATH" HF_HUB_OFFLINE=1
mkdir -p "$1"
cd "$1"  # the policy keeps the paths below, so they are relative

train() {  # STAGE [vita-train options]
    local stage="$1" run="runs/$1"; shift
    local more=()
    if compgen -G "$run/checkpoints/step-????????" > /dev/null; then more=(--resume); else rm -rf "$run"; fi
    vita-train "table_$stage" --shards shards --out "$run" "$@" "${more[@]}"
}

vita-eval tabletop record --task lift_red --num-demos 120 --out raw
vita-data build --source libero --raw raw --out shards --frames all
train warmup
train cotrain --set init=runs/warmup
train finetune --set init=runs/cotrain
vita-eval tabletop evaluate --task lift_red --policy runs/finetune --episodes 50 --replan-steps 10 --out evaluation
rm -rf "$root/pipelines/demo_policy"
vita-train export runs/finetune "$root/pipelines/demo_policy"
