"""A declared source reads a dataset of the hub as it reads a disk; large files are read in part, or cached."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import COMMIT, Hub, running_hub
from tests.object_store import files_below
from tests.vita_data.sources.test_from_file import MY_ARM
from vita_data.errors import RequestError
from vita_data.formats.raw_tree.hub import HubAddress
from vita_data.sources import load_own

pytest.importorskip("huggingface_hub")
ROOT = "hf://datasets/lab/arm"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with the toy of an own arm; its folder `raw` is what the hub has."""
    (tmp_path / "my_arm.py").write_text(MY_ARM)
    (tmp_path / "raw").mkdir()
    load_own(str(tmp_path / "my_arm.py")).write_toy(str(tmp_path / "raw"))
    with running_hub() as hub:
        hub.is_private["lab/arm"] = False
        hub.files = files_below(tmp_path / "raw")
        yield hub


def python(hub: Hub, folder: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a process of its own: the hub's client reads the environment when it is imported."""
    own = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "hf"), **environment}
    return subprocess.run(
        [sys.executable, *words], env={**os.environ, **own}, capture_output=True, text=True, check=False, timeout=300
    )


def build(hub: Hub, folder: Path, raw: str, out: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    words = ["build", "--source-file", str(folder / "my_arm.py"), "--raw", raw, "--out", str(folder / out), "--quiet"]
    return python(hub, folder, "-m", "vita_data", *words, "--workers", "2", **environment)


def built(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in files_below(folder).items() if not name.endswith(".build/lock")}


def test_from_the_hub_the_bytes_are_those_from_a_disk(hub: Hub, tmp_path: Path) -> None:
    for raw, out in ((str(tmp_path / "raw"), "disk"), (ROOT, "hub"), (f"{ROOT}@{COMMIT}", "commit")):
        done = build(hub, tmp_path, raw, out)
        assert done.returncode == 0, done.stderr
    videos = [path for path, _ in hub.sent if path.endswith(".mp4")]

    assert built(tmp_path / "disk") == built(tmp_path / "hub") == built(tmp_path / "commit")
    assert sorted(videos) == sorted(path for path in hub.files if path.endswith(".mp4"))  # once for both builds


def test_offline_the_cache_is_read(hub: Hub, tmp_path: Path) -> None:
    absent = build(hub, tmp_path, ROOT, "absent", HF_HUB_OFFLINE="1")
    fetch = "import huggingface_hub as hub; hub.snapshot_download('lab/arm', repo_type='dataset')"
    assert python(hub, tmp_path, "-c", fetch).returncode == 0
    hub.sent.clear()
    offline = build(hub, tmp_path, ROOT, "offline", HF_HUB_OFFLINE="1")
    online = build(hub, tmp_path, ROOT, "online")
    disk = build(hub, tmp_path, str(tmp_path / "raw"), "disk")

    assert (absent.returncode, absent.stderr.count("\n")) == (2, 1)
    assert "HF_HUB_OFFLINE is set and the cache has nothing of this dataset" in absent.stderr
    assert [done.returncode for done in (offline, online, disk)] == [0, 0, 0], offline.stderr
    assert built(tmp_path / "offline") == built(tmp_path / "online") == built(tmp_path / "disk")
    assert hub.sent == []


def test_of_a_table_only_the_needed_bytes_are_fetched(hub: Hub, tmp_path: Path) -> None:
    code = f"""
import json
from vita_data.formats.lerobot.dataset import read_table
from vita_data.formats.lerobot.meta import open_lerobot
from vita_data.formats.raw_tree.tree import FsspecTree
tree = FsspecTree("{ROOT}")
table = read_table(tree, open_lerobot(tree, "").episodes[0], ["action"])
print(json.dumps([tree.address, table.num_rows, tree.glob("*"), tree.exists("meta/none"), tree.exists("../other")]))
"""
    done = python(hub, tmp_path, "-c", code)
    cached = {path.name for path in (tmp_path / "hf").rglob("*") if path.is_symlink()}

    assert json.loads(done.stdout) == [f"{ROOT}@{COMMIT}", 30, ["data", "meta", "videos"], False, False]
    assert "info.json" in cached
    assert not any(name.endswith(".parquet") and "data" in name for name in cached)


def test_faults_are_told_in_one_line(hub: Hub, tmp_path: Path) -> None:
    hub.is_private["lab/secret"] = True
    cases = [
        ("hf://lab/arm", "expected hf://datasets/ORG/NAME"),
        ("hf://datasets/lab/none", f"found no dataset lab/none on {hub.address}"),
        ("hf://datasets/lab/secret", "set HF_TOKEN to a token that may read it"),
        (f"{ROOT}@v9", "the dataset has no revision 'v9'"),
        (f"{ROOT}/none", "the folder does not exist in the dataset lab/arm"),
        (f"{ROOT}/meta/info.json", "is a file; give the folder that contains it"),
        (f"{ROOT}/meta", "found no meta/info.json"),
    ]
    code = f"""
from vita_data.cli.main import main
for raw in {[raw for raw, _ in cases]}:
    words = ["build", "--source-file", "{tmp_path / "my_arm.py"}", "--raw", raw, "--out", "{tmp_path / "out"}"]
    assert main(words) == 2
try:
    main(["verify", "{ROOT}"])
except SystemExit as error:
    assert error.code == 2
"""
    done = python(hub, tmp_path, "-c", code)
    lines = done.stderr.splitlines()
    absent = build(hub, tmp_path, ROOT, "out", HF_ENDPOINT="http://127.0.0.1:9")

    assert (done.returncode, done.stdout, len(lines)) == (0, "", len(cases) + 1), done.stderr
    for (_, told), line in zip(cases, lines, strict=False):
        assert told in line
    assert "give a local path or s3://bucket/folder" in lines[-1]
    assert (absent.returncode, absent.stderr.count("\n")) == (1, 1)
    assert "fix this and run the same command" in absent.stderr
    hub.files["data/chunk-000/file-000.parquet"] = b"cut"
    damaged = build(hub, tmp_path, ROOT, "out")

    assert damaged.returncode == 1
    assert "data/chunk-000/file-000.parquet: cannot be read" in damaged.stderr


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("hf://datasets/a/b", "datasets/a/b"),
        ("hf://datasets/a/b@v2.1/sub/x/", "datasets/a/b@v2.1/sub/x"),
        ("hf://datasets/a/b@refs/pr/3", "datasets/a/b@refs%2Fpr%2F3"),
        ("hf://datasets/a/b@refs%2Fpr%2F3/x", "datasets/a/b@refs%2Fpr%2F3/x"),
    ],
)
def test_addresses_name_revision_and_folder(text: str, path: str) -> None:
    assert HubAddress.read(text).path == path
    with pytest.raises(RequestError, match="expected hf://datasets/ORG/NAME"):
        HubAddress.read(text.replace("datasets/", "models/"))
