"""A declared source reads an object store as it reads a disk, and only what it needs of a table."""

from pathlib import Path

import pytest

from tests.object_store import ObjectStore, files_below
from tests.vita_data.sources.test_from_file import MY_ARM
from vita_data.builder import BuildRequest, build
from vita_data.formats.lerobot.dataset import read_table
from vita_data.formats.lerobot.meta import open_lerobot
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.sources import load_own
from vita_data.types import SourceSettings


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "my_arm.py").write_text(MY_ARM)
    (tmp_path / "raw").mkdir()
    load_own(str(tmp_path / "my_arm.py")).write_toy(str(tmp_path / "raw"))
    return tmp_path


def test_from_a_store_the_bytes_are_those_from_a_disk(made: Path, store: ObjectStore) -> None:
    bucket = store.make_bucket()
    store.upload(made / "raw", f"{bucket}/raw")
    built = {}
    for place, raw in (("disk", str(made / "raw")), ("store", f"{bucket}/raw")):
        request = BuildRequest(
            source="my_arm", source_file=str(made / "my_arm.py"), raw=raw, out=made / place, settings=SourceSettings()
        )
        result = build(request)
        assert result.card is not None
        assert result.card["outcomes"] == {"ok": 3}
        found = files_below(made / place)
        built[place] = {name: data for name, data in found.items() if not name.endswith(".build/lock")}

    assert built["disk"] == built["store"]


def test_rows_of_a_store_are_the_same(made: Path, store: ObjectStore) -> None:
    bucket = store.make_bucket()
    store.upload(made / "raw", f"{bucket}/raw")
    local, remote = FsspecTree(str(made / "raw")), FsspecTree(f"{bucket}/raw")

    for here, there in zip(open_lerobot(local, "").episodes, open_lerobot(remote, "").episodes, strict=True):
        assert here == there
        assert read_table(local, here).equals(read_table(remote, there))
