"""The Slurm script of a training run, with commands in the path that stand for Slurm's and for torchrun."""

import os
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "pipelines" / "slurm" / "train.sh"
STAND_INS = {
    # What follows srun's own options is run, once.
    "srun": 'echo "srun $*" >> "$SAID"\nwhile [[ "$1" == --* ]]; do shift; done\nexec "$@"',
    "torchrun": 'echo "torchrun OMP_NUM_THREADS=$OMP_NUM_THREADS $*" >> "$SAID"\necho $$ > "$SAID.pid"\n'
    'trap "echo saved >> $SAID; exit 143" TERM\nfor _ in $(seq "$TENTHS"); do sleep 0.1; done\nexit "$ENDS_WITH"',
    "scontrol": 'if [ "$1" = show ]; then printf "node7\\nnode8\\n"; else echo "scontrol $*" >> "$SAID"; fi',
    "scancel": 'echo "scancel $*" >> "$SAID"\nkill -TERM "$(cat "$SAID.pid")"',
}


@pytest.fixture
def start(tmp_path):
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in STAND_INS.items():
        (commands / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (commands / name).chmod(0o755)

    def begin(*arguments: str, tenths: int = 0, ends_with: int = 0) -> subprocess.Popen:
        environment = {
            "PATH": f"{commands}:/usr/bin:/bin", "VITA_HOME": str(tmp_path), "SAID": str(tmp_path / "said"),
            "TENTHS": str(tenths), "ENDS_WITH": str(ends_with), "SLURM_JOB_ID": "40123", "SLURM_NNODES": "2",
            "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_GPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "64",
        }  # fmt: skip
        return subprocess.Popen(["bash", str(SCRIPT), *arguments], env=environment)

    return begin


def said(tmp_path) -> list[str]:
    file = tmp_path / "said"
    return file.read_text().splitlines() if file.exists() else []


def test_the_script_is_bash_that_can_be_run():
    assert subprocess.run(["bash", "-n", SCRIPT], capture_output=True, check=True).stderr == b""
    assert os.access(SCRIPT, os.X_OK)


def test_sixteen_gpus_meet_at_the_first_node_and_a_run_always_goes_on(start, tmp_path):
    arguments = ["cotrain.py", "--shards", "/the shards", "--out", "run", "--set", "parallel=fsdp"]
    assert start(*arguments).wait(20) == 0

    step, torchrun = said(tmp_path)
    assert step.startswith("srun --ntasks=2 --ntasks-per-node=1 --kill-on-bad-exit=1 torchrun ")
    assert torchrun == (
        "torchrun OMP_NUM_THREADS=8 --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-id=40123 "
        "--rdzv-endpoint=node7:20123 --shutdown-timeout=540 -m vita_model.cli cotrain.py --shards /the shards "
        "--out run --set parallel=fsdp --resume"
    )
    asked = {line.split()[1] for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")}
    assert {"--nodes=2", "--gpus-per-node=8", "--signal=B:USR1@600", "--requeue"} <= asked


def test_before_its_time_is_up_the_run_saves_and_queues_again(start, tmp_path):
    job = start("cotrain.py", tenths=200)
    _wait_for(lambda: any(line.startswith("torchrun") for line in said(tmp_path)))
    job.send_signal(10)  # SIGUSR1

    assert job.wait(20) == 0
    assert said(tmp_path)[2:] == ["scancel --signal=TERM 40123", "saved", "scontrol requeue 40123"]


def test_a_run_that_fails_is_not_queued_again(start, tmp_path):
    assert start("cotrain.py", ends_with=3).wait(20) == 3
    assert not any(line.startswith("scontrol") for line in said(tmp_path))


def _wait_for(holds) -> None:
    end_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)
    time.sleep(0.2)  # the stand-in's trap is set right after it speaks
