"""The command from end to end on tiny sizes, and what its report says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.bench.build.report import this_machine
from pipelines.bench.cli import main
from pipelines.bench.store.ranges import RangeFigures
from pipelines.bench.store.report import Pace, StoreReport, as_markdown
from pipelines.bench.store.sizes import QUICK

pytest.importorskip("obstore")


@pytest.mark.slow
def test_everything_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["store", "--quick", "--json", "--dir", str(tmp_path)]) == 0

    report = json.loads(capsys.readouterr().out)
    assert [one["client"] for one in report["ranges"]] == ["obstore", "s3fs"]
    assert all(one["ranges_per_s"] > 0 and one["cpu_us"] > 0 for one in report["ranges"])
    assert [one["where"] for one in report["paces"]] == ["disk"] * 3 + ["store"] * 3
    assert all(0 <= one["waiting"] <= 1 for one in report["paces"])
    assert report["paces"][2]["step_s"] == 1.5 * report["bounds_s"]["disk"]


def pace(where: str, step_s: float, data_s: float) -> Pace:
    return Pace(where=where, step_s=step_s, data_s=data_s, waiting=0.25, samples_per_s=1000.0)


@pytest.mark.parametrize(("cpu_us", "is_met"), [(1000.0, True), (900.0, False)])
def test_the_report_says_where_data_is_the_bound(cpu_us: float, is_met: bool) -> None:
    fast = RangeFigures(client="obstore", connections=4, ranges_per_s=90.0, cpu_us=100.0)
    slow = replace(fast, client="s3fs", cpu_us=cpu_us)
    other = (replace(fast, connections=2), replace(slow, connections=2, cpu_us=1.0))
    paces = (pace("disk", 0.0, 0.5), pace("disk", 0.25, 0.3), pace("store", 0.0, 0.7))
    report = StoreReport(machine=this_machine(), sizes=QUICK, ranges=(*other, fast, slow), paces=paces)

    assert report.is_met is is_met
    text = as_markdown(report)
    assert "shorter than 0.50 s (disk), 0.70 s (store)" in text
    assert f"takes {cpu_us / 100:.1f} times less CPU" in text
    assert "| disk | 0.25 s | 1,000 | 25% |" in text
