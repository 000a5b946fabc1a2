#!/usr/bin/env bash
# Train on a Slurm cluster, by default on 2 nodes with 8 GPUs each. Takes vita-train's arguments.
#   sbatch pipelines/slurm/train.sh pipelines/recipes/cotrain.py --shards /shards --out /runs/cotrain \
#       --set init=/runs/warmup --set parallel=fsdp --set recompute=true
#   sbatch --nodes=1 --gpus-per-node=4 pipelines/slurm/train.sh ...
# Ten minutes before the time limit, the run saves a checkpoint and the job is requeued. Every start resumes from the
# newest checkpoint in --out, if there is one. Preempted jobs are also requeued; jobs that fail or are cancelled are not.
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
# Slurm runs a copy of this file from its spool folder, so the repository is where sbatch was called, or VITA_HOME.
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
    # Signal the ranks, not this shell. They finish their step, save a checkpoint and exit.
    scancel --signal=TERM "$SLURM_JOB_ID"
}
trap save_and_queue_again USR1

# torchrun forwards SIGTERM; give the ranks the time of Slurm's notice, instead of torchrun's default of 30 seconds.
srun --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --kill-on-bad-exit=1 \
    torchrun --nnodes="$SLURM_NNODES" --nproc-per-node="$gpus" \
    --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="${hosts[0]}:$((20000 + SLURM_JOB_ID % 20000))" \
    --shutdown-timeout=540 -m vita_model.cli "$@" --resume &
step=$!
status=0
wait "$step" || status=$?
# A signal interrupts `wait` before the step has ended, so wait again.
while kill -0 "$step" 2>/dev/null; do
    status=0
    wait "$step" || status=$?
done
if [ -n "$again" ]; then
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
