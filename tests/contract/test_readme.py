"""The README's commands run as a newcomer would type them, and its tables are true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vita_data import sources

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    found = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    # The two launchers install and test everything; they are run by hand and by CI, not from inside a test.
    return [block for block in found if "pipelines/demo.sh" not in block]


@pytest.mark.parametrize("block", blocks(), ids=[block.split("\n")[0][:40] for block in blocks()])
def test_commands_run(block: str, tmp_path: Path) -> None:
    script = "set -euo pipefail\n" + block.replace("source .venv/bin/activate\n", "")
    for name in ("manifests", "pipelines"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]


def test_the_table_of_sources_is_what_the_command_prints() -> None:
    cells = {
        row[0]: row[1:]
        for row in (
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in README.splitlines()
            if line.startswith("| ")
        )
        if len(row) == 7
    }

    for name in sources.names():
        info = sources.load(name).INFO
        assert cells[name] == [
            "per file" if info.hz is None else f"{info.hz:g}",
            info.modality,
            ", ".join(sorted(info.cameras)),
            info.action_origin or "none",
            "allowed" if info.redistributable else "forbidden",
            info.access,
        ]
    assert set(cells) - {"source"} == set(sources.names())


def test_every_path_that_the_readme_names_exists() -> None:
    for path in re.findall(r"`((?:vita_data|vita_model|pipelines|manifests|tests)/[\w./]*)`", README):
        assert (ROOT / path).exists() or "NAME" in path, path


def test_the_top_level_is_what_the_layout_says() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] for line in tracked.splitlines()}

    assert {name for name in top if not name.startswith(".")} <= {
        "vita_data",
        "vita_model",
        "pipelines",
        "manifests",
        "tests",
        "pyproject.toml",
        "README.md",
    }
