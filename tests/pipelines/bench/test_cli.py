"""The command: mistakes as one line, and a whole measurement of tiny workloads."""

import json
import math
from pathlib import Path

import pytest

from pipelines.bench import cli
from pipelines.bench.build.report import Report
from pipelines.bench.cli import main


@pytest.mark.parametrize("arguments", [[], ["biuld"], ["build", "--fast"]])
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    captured = capsys.readouterr()
    assert (ended.value.code, captured.out) == (2, "")
    assert captured.err.startswith("vita-bench")
    assert captured.err.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert main(["build", "--quick", "--dir", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("flags", "code"), [([], 0), (["--strict"], 1)])
def test_a_missed_target_is_an_error_only_if_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: list[str], code: int
) -> None:
    from pipelines.bench.build.memory import Peak
    from pipelines.bench.build.report import this_machine

    missed = Report(
        machine=this_machine(), num_rounds=1, rows=(), peaks=(Peak(what="w", peak_mb=9999.0),), workloads=()
    )
    monkeypatch.setattr(cli, "_measure_build", lambda *sizes, **folders: missed)

    assert main(["build", "--dir", str(tmp_path), *flags]) == code


@pytest.mark.slow
def test_every_way_runs_and_every_row_has_a_ratio(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["build", "--quick", "--json", "--dir", str(tmp_path)]) == 0

    report = json.loads(capsys.readouterr().out)
    measured = [row for row in report["rows"] if row["ratio"] is not None]
    absent = [row["other"] for row in report["rows"] if row["ratio"] is None]
    assert all(math.isfinite(row["ratio"]) and row["ratio"] > 0 for row in measured)
    # what other people would pick may not be there
    assert all("ffmpeg process" in name or "LeRobot" in name for name in absent)
    assert [row["target"] for row in report["rows"] if row["target"]] == [0.9, 1.8, 0.9, 0.5, 0.9]
    assert [row["same_pixels"] for row in report["rows"] if "one frame per second" in row["what"]] == [True, True, None]
    assert len(report["peaks"]) == 5
    assert all(50 < peak["peak_mb"] < 1500 for peak in report["peaks"])
    assert not list(tmp_path.glob("scratch-*"))


def test_help_and_an_unknown_verb_list_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for given in ("--help", "frobnicate"):
        with pytest.raises(SystemExit):
            cli.main([given])
        captured = capsys.readouterr()
        assert all(name in captured.out + captured.err for name in ("build", "loader", "latency", "serve", "train"))
        assert given != "--help" or "training steps" in captured.out
