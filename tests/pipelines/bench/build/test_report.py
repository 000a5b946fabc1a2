"""What is printed: the table of the README, and the same as JSON."""

import json
from pathlib import Path

from pipelines.bench.build.measure import Measurement
from pipelines.bench.build.memory import Peak
from pipelines.bench.build.report import Report, as_json, as_markdown, this_machine
from pipelines.bench.build.workload import Workload


def _row(**changes: object) -> Measurement:
    values: dict[str, object] = {
        "what": "video",
        "other": "limit",
        "unit": "frames per CPU second",
        "our_rate": 1234.4,
        "other_rate": 61.72,
        "ratio": 20.0,
    }
    return Measurement(**{**values, **changes})  # type: ignore[arg-type]


def _report(*rows: Measurement, peak_mb: float = 300.0) -> Report:
    return Report(
        machine=this_machine(),
        num_rounds=3,
        rows=rows,
        peaks=(Peak(what="build", peak_mb=peak_mb),),
        workloads=(Workload(name="clips", folder=Path("/secret"), num_frames=1200, num_bytes=2_500_000),),
    )


def test_the_table_has_a_line_a_row() -> None:
    rows = (_row(target=0.9, same_pixels=True), _row(target=21.0), _row(other_rate=None, ratio=None))
    lines = as_markdown(_report(*rows)).splitlines()

    assert lines[0] == "| what | ours | limit or peer | ratio | target | met |"
    assert lines[2] == "| video | 1,234 frames per CPU second | limit: 61.7, same pixels | 20.00 | 0.9 | yes |"
    assert lines[3] == "| video | 1,234 frames per CPU second | limit: 61.7 | 20.00 | 21 | no |"
    assert lines[4] == "| video | 1,234 frames per CPU second | limit: absent |  |  |  |"
    assert "| build | 300 MB | 1,500 MB | yes |" in lines


def test_under_the_table_stands_what_the_figures_depend_on() -> None:
    text = as_markdown(_report(_row()))

    assert f"{this_machine().num_cores} cores" in text
    assert f"PyAV {this_machine().pyav}" in text
    assert "3 rounds" in text
    assert "clips 1,200 frames, 2.5 MB" in text


def test_json_says_the_same_and_no_path() -> None:
    text = json.dumps(as_json(_report(_row(target=0.9))))

    assert "secret" not in text
    assert json.loads(text)["rows"][0]["is_met"] is True
    assert json.loads(text)["workloads"] == [{"name": "clips", "num_frames": 1200, "num_bytes": 2500000}]


def test_one_missed_target_or_limit_is_a_miss() -> None:
    assert _report(_row(target=0.9), _row()).is_met
    assert not _report(_row(target=0.9), _row(target=21.0)).is_met
    assert not _report(_row(), peak_mb=1600.0).is_met
