#!/usr/bin/env bash
# Build one source on a Slurm cluster: a job array whose tasks build shares of the units, then a job that completes it.
#   sbatch --array=0-15 pipelines/slurm/build.sh --source bridge --raw /data/bridge --out /shards
#   sbatch --dependency=afterany:ARRAY_JOB pipelines/slurm/build.sh --source bridge --raw /data/bridge --out /shards
# Both take the arguments of `vita-data build`. A preempted task, or an array of another size, skips finished units. The
# second job builds the remaining units and writes statistics and card; its exit code is that of the build.
#SBATCH --job-name=vita-build
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=2G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=vita-build-%A-%a.log
set -euo pipefail
# Slurm runs a copy of this file from its spool folder, so the repository is the folder where sbatch was called, or
# VITA_HOME. Relative paths in the arguments are relative to the folder where sbatch was called.
home="${VITA_HOME:-${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/../..}}"
export PATH="$(cd "$home" && pwd)/.venv/bin:$PATH"
share=()
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    rank=$(((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN) / ${SLURM_ARRAY_TASK_STEP:-1}))
    if [ "$rank" -ge "$SLURM_ARRAY_TASK_COUNT" ]; then
        echo "build.sh: task $SLURM_ARRAY_TASK_ID is outside a range of $SLURM_ARRAY_TASK_COUNT tasks; set --array to a range, such as 0-15" >&2
        exit 2
    fi
    share=(--rank "$rank" --num-ranks "$SLURM_ARRAY_TASK_COUNT")
fi
exec vita-data build --workers "${SLURM_CPUS_PER_TASK:-1}" "$@" "${share[@]}"
