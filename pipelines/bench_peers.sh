#!/usr/bin/env bash
# Create .venv-peers in the repository, with the loaders that `vita-bench loader` compares with ours. Does nothing if it is
# up to date. Nothing else uses it: the pins of these packages conflict with those of this project and with each other.
#   VITA_PYTHON, VITA_TORCH_INDEX   as in setup.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${VITA_PYTHON:-python3}"
stamp="$(cat pipelines/bench_peers.txt pipelines/bench_peers.sh | sha256sum | cut -d' ' -f1) $("$python" -V) $PWD"
if [ -f .venv-peers/installed ] && [ "$(cat .venv-peers/installed)" = "$stamp" ]; then
    exit 0
fi

echo "bench_peers: installing into .venv-peers (about two minutes)"
"$python" -m venv --clear .venv-peers
pip() { .venv-peers/bin/python -m pip --disable-pip-version-check "$@"; }
# Install torch first, with its dependencies; torchvision without dependencies, or it would install another torch.
pip install --quiet ${VITA_TORCH_INDEX:+--index-url "$VITA_TORCH_INDEX"} "$(grep '^torch==' pipelines/constraints.txt)"
pip install --quiet --no-deps --requirement pipelines/bench_peers.txt
echo "$stamp" > .venv-peers/installed
