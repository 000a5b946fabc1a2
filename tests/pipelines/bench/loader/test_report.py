"""Targets: each side of them, who the best peer is, and what is absent."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.bench.build.report import this_machine
from pipelines.bench.loader.contestants import LIMIT, OURS, Absent, Contestant
from pipelines.bench.loader.drive import Turn
from pipelines.bench.loader.open_index import IndexFigures
from pipelines.bench.loader.report import Check, LoaderReport, as_json, as_markdown
from pipelines.bench.loader.rounds import Entry
from pipelines.bench.loader.sizes import QUICK

_INDEX = IndexFigures(num_windows=9, open_s=4.0, private_mb=200.0, imports_mb=36.0, plan_ms=9.0, worst_plan_ms=15.0)


def _entries(name: str, *turns: tuple[int, float, float]) -> list[Entry]:
    """Entries of one contestant, each with its workers, CPU ms per sample and samples per second."""
    contestant = Contestant(
        name=name, module="m", python=Path("/secret/python"), data=Path("/secret/data"), num_bytes=2_000_000,
        workers=tuple(workers for workers, _, _ in turns), is_peer=name not in (LIMIT, OURS),
    )  # fmt: skip
    return [
        Entry(contestant=contestant, workers=workers, turns=[
            Turn(version="1.0", start_s=0.5, num_samples=1000, cpu_s=cpu_ms, wall_s=1000 / rate)
        ])
        for workers, cpu_ms, rate in turns
    ]  # fmt: skip


def _report(*, ours_cpu_ms: float = 0.66, ours_rate: float = 2000.0, peers: bool = True) -> LoaderReport:
    entries = [
        *_entries(LIMIT, (1, 0.6, 1000.0), (2, 0.6, 2000.0)),
        *_entries(OURS, (1, ours_cpu_ms, 900.0), (2, ours_cpu_ms, ours_rate)),
    ]
    if peers:
        for name in ("webdataset", "mosaicml-streaming", "megatron-energon", "litdata"):
            entries += _entries(name, (0, 1.0, 900.0), (2, 2.0, 1000.0 if name == "litdata" else 800.0))
    absent = () if peers else (Absent(name="webdataset", why="not here"),)
    return LoaderReport(
        machine=this_machine(), sizes=QUICK, entries=tuple(entries), absent=absent, index=_INDEX, index_torch=_INDEX
    )


def _found(report: LoaderReport) -> list[float | None]:
    return [None if check.found is None else round(check.found, 3) for check in report.checks]


def test_each_target_compares_what_it_says() -> None:
    assert _found(_report()) == [1.1, 0.66, 0.66, 0.66, 1.0, 2.0, 4.0, 200.0, 9.0]
    assert [check.target for check in _report().checks] == [1.15, 0.7, 0.7, 0.7, 0.9, 1.8, 10, 300, 20]
    assert _report().is_met


def test_the_best_peer_is_named_at_its_best() -> None:
    assert any("the best peer (litdata, 2 workers)" in check.what for check in _report().checks)


@pytest.mark.parametrize(
    "report",
    [
        _report(ours_cpu_ms=0.71),
        _report(ours_rate=1700.0),
        replace(_report(), index=replace(_INDEX, open_s=11.0)),
        replace(_report(), index=replace(_INDEX, private_mb=301.0)),
        replace(_report(), index=replace(_INDEX, plan_ms=21.0)),
    ],
)
def test_one_missed_target_is_a_miss(report: LoaderReport) -> None:
    assert not report.is_met


def test_without_peers_their_targets_are_open_and_no_miss() -> None:
    report = _report(peers=False)

    assert _found(report) == [1.1, None, None, None, 1.0, None, 4.0, 200.0, 9.0]
    assert report.is_met
    assert "| webdataset | absent: not here |" in as_markdown(report)


@pytest.mark.parametrize(("at_least", "is_met"), [(True, [False, True, True]), (False, [True, True, False])])
def test_a_target_is_met_up_to_its_value(*, at_least: bool, is_met: list[bool]) -> None:
    checks = [Check(what="w", found=found, target=2.0, at_least=at_least) for found in (1.9, 2.0, 2.1)]

    assert [check.is_met for check in checks] == is_met


def test_the_table_has_a_line_a_loader_and_a_line_a_target() -> None:
    lines = as_markdown(_report()).splitlines()

    assert "| litdata 1.0 | 1.00 | 1.67 | 0: 900; 2: 1,000 | 0.5 s | 2 MB |" in lines
    assert f"| CPU time per sample, ours relative to {LIMIT} | 1.1 | at most 1.15 | yes |" in lines
    assert "| no torch imported | 4.00 s | 200 MB | 36 MB | 9.0 ms | 15.0 ms |" in lines


def test_json_says_the_same_and_no_path() -> None:
    text = json.dumps(as_json(_report()))

    assert "secret" not in text
    assert json.loads(text)["is_met"] is True
    assert [check["is_met"] for check in json.loads(text)["checks"]] == [True] * 9
