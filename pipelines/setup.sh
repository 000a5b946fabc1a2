#!/usr/bin/env bash
# Makes .venv in the repository and installs everything with pinned versions. Does nothing when that was done.
#   VITA_PYTHON        the Python to use (3.11 or newer; default python3)
#   VITA_TORCH_INDEX   another package index for torch, e.g. https://download.pytorch.org/whl/cpu
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${VITA_PYTHON:-python3}"
if ! command -v "$python" > /dev/null; then
    echo "setup: $python not found; set VITA_PYTHON to Python 3.11 or newer" >&2
    exit 2
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "setup: $python is older than Python 3.11; set VITA_PYTHON to Python 3.11 or newer" >&2
    exit 2
fi

# The stamp names what was installed; a changed pin or dependency installs again.
stamp="$(cat pyproject.toml pipelines/constraints.txt pipelines/setup.sh | sha256sum | cut -d' ' -f1) $("$python" -V) $PWD ${VITA_TORCH_INDEX:-}"
if [ -f .venv/installed ] && [ "$(cat .venv/installed)" = "$stamp" ]; then
    exit 0
fi

echo "setup: installing into .venv (a few minutes the first time)"
"$python" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
# torch first and pinned: with none installed, other packages would pull its newest build and gigabytes of CUDA.
pip install --quiet ${VITA_TORCH_INDEX:+--index-url "$VITA_TORCH_INDEX"} "$(grep '^torch==' pipelines/constraints.txt)"
# The distribution had another name once. Left here, its removal some day would take the commands of this one along.
pip uninstall --quiet --yes vita 2> /dev/null
rm -rf vita.egg-info
pip install --quiet --constraint pipelines/constraints.txt --editable '.[train,serve,s3,ray,dev]'
# Only tests use it; its own pins would take numpy back by a year.
pip install --quiet --no-deps --constraint pipelines/constraints.txt openpi-client
# Measuring belongs to the checkout and is in no package.
cat > .venv/bin/vita-bench << EOF
#!/bin/sh
PYTHONPATH="\${PYTHONPATH:+\$PYTHONPATH:}$PWD" exec "$PWD/.venv/bin/python" -m pipelines.bench "\$@"
EOF
chmod +x .venv/bin/vita-bench
echo "$stamp" > .venv/installed
echo "setup: done; source .venv/bin/activate"
