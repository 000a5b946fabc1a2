#!/usr/bin/env bash
# One training run on a Slurm cluster: 2 nodes of 8 GPUs unless sbatch is told otherwise. Takes vita-train's arguments.
#   sbatch pipelines/slurm/train.sh pipelines/recipes/cotrain.py --shards /shards --out /runs/cotrain \
#       --set init=/runs/warmup --set parallel=fsdp --set recompute=true
#   sbatch --nodes=1 --gpus-per-node=4 pipelines/slurm/train.sh ...
# Ten minutes before its time is up the run saves and the job queues again; every start goes on from the newest
# checkpoint in --out, if it has one. A job that Slurm takes off its nodes is queued again likewise; one that fails, or
# that scancel ends, is not.
#SBATCH --job-name=vita-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=vita-train-%j.log
set -euo pipefail
# Slurm runs a copy of this file from its spool: the repository is where sbatch was called, or VITA_HOME.
home="${VITA_HOME:-${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/../..}}"
home="$(cd "$home" && pwd)"
export PATH="$home/.venv/bin:$PATH"
gpus="${SLURM_GPUS_ON_NODE:-8}"
threads=$((${SLURM_CPUS_PER_TASK:-$gpus} / gpus))
export OMP_NUM_THREADS="$((threads > 0 ? threads : 1))"
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")

again=""
save_and_queue_again() {
    again=1
    # To the ranks, not to this shell. They finish their step, save, and end.
    scancel --signal=TERM "$SLURM_JOB_ID"
}
trap save_and_queue_again USR1

# torchrun passes SIGTERM on, and gives the ranks as long as Slurm's own notice leaves, instead of its 30 seconds.
srun --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --kill-on-bad-exit=1 \
    torchrun --nnodes="$SLURM_NNODES" --nproc-per-node="$gpus" \
    --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="${hosts[0]}:$((20000 + SLURM_JOB_ID % 20000))" \
    --shutdown-timeout=540 -m vita_model.cli "$@" --resume &
step=$!
status=0
wait "$step" || status=$?
# A signal ends `wait` before the step has ended.
while kill -0 "$step" 2>/dev/null; do
    status=0
    wait "$step" || status=$?
done
if [ -n "$again" ]; then
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
