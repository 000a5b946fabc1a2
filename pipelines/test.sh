#!/usr/bin/env bash
# All checks: setup, style, types, import direction, tests. CI runs this file. Extra arguments are passed to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash pipelines/setup.sh
export PATH="$PWD/.venv/bin:$PATH"

# Several test processes share the cores, so more threads per process would not help.
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TF_CPP_MIN_LOG_LEVEL=3

echo "== ruff";         ruff check .
echo "== ruff format";  ruff format --check .
echo "== mypy";         mypy --num-workers 2
echo "== lint-imports"; lint-imports
echo "== pytest";       pytest -n "${VITA_TEST_WORKERS:-2}" --dist worksteal "$@"
