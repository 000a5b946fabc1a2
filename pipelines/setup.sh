#!/usr/bin/env bash
# Create .venv in the repository and install everything with pinned versions. Does nothing if it is up to date.
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

# The stamp identifies what was installed; a changed pin or dependency triggers a new installation.
stamp="$(cat pyproject.toml pipelines/constraints.txt pipelines/setup.sh | sha256sum | cut -d' ' -f1) $("$python" -V) $PWD ${VITA_TORCH_INDEX:-}"
if [ -f .venv/installed ] && [ "$(cat .venv/installed)" = "$stamp" ]; then
    exit 0
fi

echo "setup: installing into .venv (a few minutes the first time)"
# An existing .venv keeps the Python that it was made with; with another one's standard library it would not start.
base="$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')"
[ .venv/bin/python -ef "$base" ] || rm -rf .venv
"$python" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
# Install pinned torch first; otherwise other packages would install its newest build with gigabytes of CUDA.
pip install --quiet ${VITA_TORCH_INDEX:+--index-url "$VITA_TORCH_INDEX"} "$(grep '^torch==' pipelines/constraints.txt)"
# Remove the distribution's old name; uninstalling it later would also remove the commands of the new one.
pip uninstall --quiet --yes vita 2> /dev/null
rm -rf vita.egg-info
pip install --quiet --constraint pipelines/constraints.txt --editable '.[train,serve,s3,ray,dev]'
# Only tests use openpi-client; its pins would downgrade numpy by a year.
pip install --quiet --no-deps --constraint pipelines/constraints.txt openpi-client
# The benchmarks are part of the checkout, but of no package.
cat > .venv/bin/vita-bench << EOF
#!/bin/sh
PYTHONPATH="\${PYTHONPATH:+\$PYTHONPATH:}$PWD" exec "$PWD/.venv/bin/python" -m pipelines.bench "\$@"
EOF
chmod +x .venv/bin/vita-bench
echo "$stamp" > .venv/installed
echo "setup: done; source .venv/bin/activate"
