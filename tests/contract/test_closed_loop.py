"""`pipelines/closed_loop.sh` does each step once, in order, and goes on where it was interrupted."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "pipelines" / "closed_loop.sh"
STUB = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >> "$LOG"
case "$*" in
    *lift_cotrain.py*)
        mkdir -p "$OUT/lift/seed-0/runs/cotrain/checkpoints/step-00000250"
        [ -n "${BREAK:-}" ] && exit 1 ;;
esac
exit 0
"""


@pytest.fixture
def run(tmp_path):
    for name in ("vita-eval", "vita-data", "vita-train"):
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(STUB)
        (tmp_path / "bin" / name).chmod(0o755)
    log, out = tmp_path / "log", tmp_path / "out"

    def go(**environment):
        log.write_text("")
        wanted = {"VITA_BIN": str(tmp_path / "bin"), "LOG": str(log), "OUT": str(out), **environment}
        done = subprocess.run(
            ["bash", str(SCRIPT), str(out)], env={**os.environ, **wanted}, cwd=tmp_path, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        return done, [" ".join(line.split()[:3]) for line in log.read_text().splitlines()], log.read_text()

    return go


def test_every_step_once_and_in_order(run):
    done, calls, said = run()

    assert done.returncode == 0, done.stderr
    assert [call.split("/")[-1].removesuffix(" --shards") for call in calls] == [
        "vita-eval robosuite record",
        "vita-data build --source",
        "libero",
        "vita-eval replay",
        "lift_warmup.py",
        "lift_cotrain.py",
        "lift_finetune.py",
        "vita-eval robosuite evaluate",
        "shards",
    ]
    assert "--frames all" in said
    assert "--set init=" in said
    assert done.stdout.count(" s\n") >= 9

    again, calls, _ = run()
    assert again.returncode == 0
    assert calls == []
    assert "== lift-0-evaluate: already done" in again.stdout


def test_an_interrupted_stage_is_resumed_and_nothing_before_it_is_repeated(run):
    broken, calls, _ = run(BREAK="1")
    assert broken.returncode != 0
    assert "lift_cotrain.py" in calls[-1]

    _, calls, said = run()
    assert "lift_cotrain.py" in calls[0]
    assert "--resume" in said.splitlines()[0]
    assert "evaluate" in calls[-2]


def test_programs_are_found_from_where_the_script_was_called(run):
    done, calls, _ = run(VITA_BIN="bin")
    assert done.returncode == 0, done.stderr
    assert len(calls) == 9


def test_numbers_reach_the_commands(run):
    _, _, said = run(VITA_DEMOS="7", VITA_EPISODES="3", VITA_STEPS="20")
    lines = said.splitlines()
    assert lines[0].endswith("--num-demos 7")
    short = "--steps 20 --set codebook.continuous_updates=0"
    assert all(line.endswith(short) for line in lines if line.startswith("vita-train"))
    assert lines[-2].endswith("--episodes 3 --replan-steps 5 --video --workers 1 --resume")


def test_every_task_has_its_shards_and_every_seed_its_policy(run):
    done, _, said = run(VITA_TASKS="lift stack", VITA_SEEDS="0 7", VITA_WORKERS="2")
    assert done.returncode == 0, done.stderr
    lines, out = said.splitlines(), "/out"
    for task in ("lift", "stack"):
        assert sum(f"record --task {task} " in line for line in lines) == 1
        assert sum(f"evaluate --task {task} " in line and "--workers 2" in line for line in lines) == 2
        trained = [line for line in lines if line.startswith("vita-train") and f"{out}/{task}/shards" in line]
        assert [line.split("--set seed=")[1].split()[0] for line in trained] == ["0"] * 3 + ["7"] * 3
        assert f"init={trained[3].split('--out ')[1].split()[0]} " in trained[4] + " "
        (report,) = [line for line in lines if line.startswith("vita-data report") and f"{out}/{task}/shards" in line]
        shown = ("seed-0/evaluation", "seed-7/evaluation", "replay")
        assert all(f"{out}/{task}/{name}" in report.split("--rollouts", 1)[1] for name in shown)
    assert run(VITA_TASKS="lift")[0].returncode == 2


def test_other_numbers_do_not_go_on_in_the_same_folder(run):
    run(VITA_STEPS="20")
    done, calls, _ = run()

    assert (done.returncode, calls) == (2, [])
    began = "VITA_TASKS='lift' VITA_SEEDS='0' VITA_DEMOS=200 VITA_EPISODES=50 VITA_STEPS=20"
    assert f"was started with {began}" in done.stderr
    assert run(VITA_STEPS="20")[0].returncode == 0
