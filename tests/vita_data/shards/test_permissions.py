"""What this user may not open is said to be so; nobody is told to remove it or to build it again."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.raw_trees import locked, same_files
from vita_data.builder import status
from vita_data.errors import StorageError
from vita_data.pages.report import report_page
from vita_data.shards.index import read_card
from vita_data.shards.stats import load_stats
from vita_data.shards.verify import verify


@pytest.fixture
def shards(toy_shards: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:  # those of pytest may not be entered by every user
        Path(folder).chmod(0o755)
        yield same_files(toy_shards / "bridge", Path(folder) / "bridge").parent


READERS: list[tuple[str, Callable[[Path], object]]] = [
    ("", verify),
    ("", lambda source: report_page(source.parent, manifest=None, runs=())),
    ("dataset.json", read_card),
    ("dataset.json", lambda source: report_page(source.parent, manifest=None, runs=())),
    ("stats.json", load_stats),
    ("train", verify),
    ("train/bridge-train-000000.tar", verify),
    ("train/bridge-train-000000.arrow", verify),
    ("train/bridge-train-000000.tar", lambda source: report_page(source.parent, manifest=None, runs=())),
    (".build/plan.json", status),
]


@pytest.mark.parametrize(("barred", "read"), READERS)
def test_what_cannot_be_opened_is_not_called_damaged_or_absent(
    barred: str, read: Callable[[Path], object], shards: Path
) -> None:
    path = shards / "bridge" / barred
    if path.is_file():  # its other name keeps its rights
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    with locked(path), pytest.raises((StorageError, PermissionError)) as raised:
        read(shards / "bridge")
    said = str(raised.value)
    assert str(path) in said
    assert "ermission denied" in said
    if isinstance(raised.value, StorageError):
        assert said.endswith("permission denied; change its permissions (chmod u+rwX), then run the same command again")
    assert not {"remove", "build"} & set(said.split())
