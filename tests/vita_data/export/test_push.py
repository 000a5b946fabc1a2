"""`vita-data push` uploads an export as it is, and nothing that may not be passed on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import Hub, running_hub
from vita_data.export.lerobot.dataset import export_lerobot
from vita_data.export.opened import ExportRequest
from vita_data.export.parquet import export_parquet
from vita_data.types import Split

pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub that has no repository."""
    with running_hub() as hub:
        yield hub


def push(hub: Hub, folder: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own: the hub's client reads the environment when it is imported."""
    own = {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "secret",
        "HF_HOME": str(folder.parent / "hf"),
    }
    command = [sys.executable, "-m", "vita_data", "push", str(folder), "lab/arm", *words]
    return subprocess.run(
        command, env={**os.environ, **own, **environment}, capture_output=True, text=True, check=False, timeout=120
    )


def test_an_export_is_uploaded_with_card_and_tag(hub: Hub, every_row: Path, tmp_path: Path) -> None:
    export_lerobot(ExportRequest(folder=every_row / "bridge", out=tmp_path / "out", splits=(Split.VAL,)))
    for _ in range(2):
        done = push(hub, tmp_path / "out", "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{hub.address}/datasets/lab/arm\n", "")
    files = {str(path.relative_to(tmp_path / "out")): path for path in (tmp_path / "out").rglob("*") if path.is_file()}

    assert hub.files == {name: path.read_bytes() for name, path in files.items()}
    assert hub.is_private == {"lab/arm": False}
    assert hub.tags == ["v3.0"]


def test_a_closed_licence_needs_a_private_repository(hub: Hub, toy_shards: Path, tmp_path: Path) -> None:
    export_parquet(ExportRequest(folder=toy_shards / "ssv2", out=tmp_path / "out", in_house=True))
    for words in ((), ("--private",)):
        done = push(hub, tmp_path / "out", *words)
        assert done.returncode == 2
        assert "forbids passing the data on" in done.stderr
    hub.is_private["lab/arm"] = False
    done = push(hub, tmp_path / "out", "--in-house")
    assert done.returncode == 2
    assert "exists and is public; make it private on the hub" in done.stderr
    assert hub.files == {}

    hub.is_private.clear()
    assert push(hub, tmp_path / "out", "--in-house", "--quiet").returncode == 0
    assert hub.is_private == {"lab/arm": True}
    assert (hub.tags, "README.md" in hub.files) == ([], True)


def test_faults_are_told_in_one_line(hub: Hub, every_row: Path, tmp_path: Path) -> None:
    export_parquet(ExportRequest(folder=every_row / "bridge", out=tmp_path / "out"))
    refused = push(hub, tmp_path / "out", HF_TOKEN="other")
    offline = push(hub, tmp_path / "out", HF_HUB_OFFLINE="1")
    absent = push(hub, tmp_path / "out", HF_ENDPOINT="http://127.0.0.1:9")
    shards = push(hub, every_row / "bridge")

    for done, code, told in (
        (refused, 2, "set HF_TOKEN to a token that may write"),
        (offline, 2, "HF_HUB_OFFLINE is set"),
        (absent, 1, "the hub does not answer"),
        (shards, 2, "vita_export.json is missing; give a folder that `vita-data export --out` wrote"),
    ):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
        assert told in done.stderr
