"""The README's commands run as a newcomer would type them, and its tables are true."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vita_data import sources
from vita_data.builder import BuildRequest, build
from vita_data.shards.index import open_source, read_clip
from vita_data.shards.reader import ShardFiles
from vita_data.shards.verify import verify
from vita_data.types import Split

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    found = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    # The two launchers install and test everything; they are run by hand and by CI, not from inside a test.
    return [block for block in found if "pipelines/demo.sh" not in block]


@pytest.mark.parametrize("block", blocks(), ids=[block.split("\n")[0][:40] for block in blocks()])
def test_commands_run(block: str, tmp_path: Path) -> None:
    # The environment is there already.
    script = "set -euo pipefail\n" + re.sub(r"(bash pipelines/setup\.sh|source \.venv/bin/activate).*\n", "", block)
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
        if len(row) == 8
    }

    for name in sources.names():
        info = sources.load(name).INFO
        assert cells[name] == [
            "per file" if info.hz is None else f"{info.hz:g}",
            info.modality,
            ", ".join(sorted(info.cameras)),
            info.action_origin or "none",
            info.licence,
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
        "LICENSE",
        "README.md",
    }


def test_the_worked_example_is_a_source_that_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of the README, put in a file of its own, goes through toy, parts, episodes, build and verify."""
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code) == 1
    path = tmp_path / "mylab.py"
    path.write_text(code[0], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("vita_data.sources.mylab", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.setattr(sources, "names", lambda: ["mylab"])
    (tmp_path / "raw").mkdir()
    module.write_toy(str(tmp_path / "raw"))

    result = build(BuildRequest(source="mylab", raw=str(tmp_path / "raw"), out=tmp_path, settings=module.Settings()))
    assert result.card["outcomes"] == {"ok": 2}
    assert verify(tmp_path / "mylab").problems == ()
    index = open_source(tmp_path / "mylab", Split.TRAIN)
    clip = read_clip(ShardFiles(), index.shards[0], index.tables[0].to_pylist()[0])
    assert clip.action is not None
    assert clip.state is not None
    moved = clip.state.values[1:, 24:27] - clip.state.values[:-1, 24:27]
    np.testing.assert_allclose(clip.action.track.values[:-1, 16:19], moved, atol=1e-6)
    assert clip.action.track.values[0, 22] == 1
