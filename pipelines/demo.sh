#!/usr/bin/env bash
# A complete demo: setup, toy raw data, shards, mixture, three training stages with a tiny model, one HTML page.
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
export PATH="$PWD/.venv/bin:$PATH" HF_HUB_OFFLINE=1

say() { printf '\n== %s\n' "$*"; }

say "generate toy raw data for every source, in its original layout"
vita-data toy --source all --raw "$out/raw"

say "build shards from the raw data"
for source in $(ls "$out/raw"); do
    frames=keyframes
    [ "$source" = libero ] && frames=all   # fine-tuning windows start at every row
    vita-data build --source "$source" --raw "$out/raw/$source" --out "$out/shards" --frames "$frames"
    vita-data verify "$out/shards/$source"
done

if [ -n "${VITA_REAL_DATA:-}" ]; then
    say "real Bridge episodes (10 steps each: the 13-frame minimum is lowered to 8 by --set)"
    vita-data build --source bridge --raw "$VITA_REAL_DATA/bridge_rlds" --out "$out/real_shards" --set min_frames=8
    vita-data verify "$out/real_shards/bridge"
    vita-data inspect "$out/real_shards/bridge" --html "$out/real_bridge.html"
fi

say "show the mixture"
vita-data mix manifests/toy.toml --shards "$out/shards"
vita-data mix manifests/toy_finetune.toml --shards "$out/shards"

say "warmup: stop after 40 steps, then resume to the end"
vita-train pipelines/recipes/debug_warmup.py --shards "$out/shards" --out "$out/runs/warmup" --steps 40
vita-train pipelines/recipes/debug_warmup.py --shards "$out/shards" --out "$out/runs/warmup" --resume
say "co-train"
vita-train pipelines/recipes/debug_cotrain.py --shards "$out/shards" --out "$out/runs/cotrain" --set init="$out/runs/warmup"
say "fine-tune"
vita-train pipelines/recipes/debug_finetune.py --shards "$out/shards" --out "$out/runs/finetune" --set init="$out/runs/cotrain"

say "report everything on one page"
vita-data report "$out/shards" --manifest manifests/toy.toml \
    --run "$out/runs/warmup" --run "$out/runs/cotrain" --run "$out/runs/finetune" --html "$out/report.html"
