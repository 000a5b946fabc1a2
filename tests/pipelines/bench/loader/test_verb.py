"""The command from end to end on tiny sizes, without peers."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.bench.build.report import this_machine
from pipelines.bench.cli import main
from pipelines.bench.loader import verb
from pipelines.bench.loader.open_index import IndexFigures
from pipelines.bench.loader.report import LoaderReport
from pipelines.bench.loader.sizes import QUICK

_INDEX = IndexFigures(num_windows=1, open_s=99.0, private_mb=1.0, imports_mb=1.0, plan_ms=1.0, worst_plan_ms=1.0)


def test_everything_runs_without_peers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["loader", "--quick", "--json", "--dir", str(tmp_path), "--peers", str(tmp_path / "nowhere")]

    assert main(arguments) == 0

    report = json.loads(capsys.readouterr().out)
    assert [(entry["name"], entry["workers"]) for entry in report["entries"]] == [
        ("raw decode of the same JPEGs", 2), ("read, crc32, decode", 2), ("vita", 2),
    ]  # fmt: skip
    assert all(math.isfinite(entry["cpu_ms"]) and entry["cpu_ms"] > 0 for entry in report["entries"])
    assert len(report["absent"]) == 5
    assert report["index"]["imports_mb"] < report["index_torch"]["imports_mb"]
    assert [check["found"] is None for check in report["checks"]] == [
        *[False, True, True, True, False, True],
        *[False] * 3,
    ]
    assert sorted(path.name.rpartition("-")[0] for path in tmp_path.iterdir()) == ["loader-clips", "loader-index"]


@pytest.mark.parametrize(("flags", "code"), [([], 0), (["--strict"], 1)])
def test_a_missed_target_is_an_error_only_if_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: list[str], code: int
) -> None:
    missed = LoaderReport(
        machine=this_machine(), sizes=replace(QUICK), entries=(), absent=(), index=_INDEX, index_torch=_INDEX
    )
    monkeypatch.setattr(verb, "measure_loader", lambda *sizes, **rest: missed)

    assert main(["loader", "--dir", str(tmp_path), *flags]) == code
