"""The job array for Slurm, with this test in the place of the cluster: all that it does here is to set variables."""

import os
import subprocess
from pathlib import Path

from tests.vita_data.builder.made import contents, many_parts, num_records, request
from vita_data.builder import build

SCRIPT = Path(__file__).parents[3] / "pipelines" / "slurm" / "build.sh"


def submit(arguments: list[str], **variables: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    environment |= {"VITA_HOME": str(SCRIPT.parents[2]), **{name: str(value) for name, value in variables.items()}}
    return subprocess.run(["bash", SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_an_array_and_a_last_job_end_in_the_bytes_of_one_build(toy_raw: Path, tmp_path: Path) -> None:
    raw = many_parts(toy_raw / "libero", tmp_path / "raw", num_copies=2)
    arguments = ["--source", "libero", "--raw", str(raw), "--out", str(tmp_path / "slurm"), "--set", "unit_bytes=1"]
    for task in (6, 5):
        done = submit(
            arguments, SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_MIN=5, SLURM_ARRAY_TASK_COUNT=2, SLURM_CPUS_PER_TASK=1
        )
        assert done.returncode == 0, done.stderr
    assert num_records(tmp_path / "slurm" / "libero") == 4
    assert not (tmp_path / "slurm" / "libero" / "dataset.json").exists()
    last = submit(arguments)

    assert last.returncode == 0, last.stderr
    build(request("libero", raw, tmp_path / "one"))
    assert contents(tmp_path / "slurm") == contents(tmp_path / "one")


def test_its_exit_code_is_that_of_the_build(tmp_path: Path) -> None:
    done = submit(["--source", "libero", "--raw", str(tmp_path / "nowhere"), "--out", str(tmp_path)])

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_a_list_of_tasks_is_refused(tmp_path: Path) -> None:
    """`--array=0,5,7`: nothing tells the third task that it is the third."""
    done = submit(
        ["--source", "libero", "--raw", str(tmp_path), "--out", str(tmp_path)],
        SLURM_ARRAY_TASK_ID=5, SLURM_ARRAY_TASK_MIN=0, SLURM_ARRAY_TASK_COUNT=3,
    )  # fmt: skip
    assert done.returncode == 2
    assert "set --array to a range" in done.stderr
