"""What was learnt of each source, on a run's page: bars first, then its errors beside those that say what they mean."""

import json
from pathlib import Path

import pytest

from tests.vita_data.pages.conftest import FIGURES, SOURCE_FIGURES
from tests.vita_data.pages.page_parser import PageParser
from vita_data.pages.drawing.html import page
from vita_data.pages.runs.training import run_section

HEADING = "What was learnt of each source"


def html_of(run: Path, figures: dict[str, float]) -> str:
    (run / "evaluation.json").write_text(json.dumps({"step": 40, **FIGURES, **figures}))
    return page("t", "i", [run_section(run)])


def test_each_source_has_a_row_beside_other_latents_and_the_trivial_predictor(run_folder: Path) -> None:
    parsed = PageParser(html_of(run_folder, SOURCE_FIGURES))
    assert parsed.faults == []
    frames = [row for row in parsed.rows if row and row[0] == "Frames: L1"]
    assert frames == [["Frames: L1", "windows", "own latents", "another sample's latents",
                       "mean of the latents", "copied frame"]]  # fmt: skip
    rows = {tuple(row[:2]): row[2:] for row in parsed.rows}
    assert rows["arm", "24"] == ["0.03", "0.06", "0.05", "0.05"]
    assert rows["film", "72"] == ["0.09", "0.09", "0.09", "0.06"]
    assert rows["arm", "12"] == ["0.2", "0.4", "0.3", "0.5", "10", "0.02"], "metres are shown as millimetres"


def test_bars_come_first_and_show_the_error_relative_to_the_trivial_predictors(run_folder: Path) -> None:
    html = html_of(run_folder, SOURCE_FIGURES)
    part = html[html.index(HEADING) :]
    assert part.index("<svg") < part.index("<table")
    texts = PageParser(part).texts
    for shown in ("arm: 0.6", "film: 1.5", "arm: 0.4"):
        assert shown in texts


def test_a_name_of_a_source_is_text(run_folder: Path) -> None:
    hostile = {name.replace("/arm/", "/<b>arm/"): value for name, value in SOURCE_FIGURES.items()}
    assert "<b>" not in html_of(run_folder, hostile)


@pytest.mark.parametrize("figures", [{}, {"actions/arm/position_m": 0.01}])
def test_an_evaluation_of_an_older_version_has_no_such_part(run_folder: Path, figures: dict[str, float]) -> None:
    assert HEADING not in html_of(run_folder, figures)


def test_errors_that_are_zero_or_not_finite_are_drawn_all_the_same(run_folder: Path) -> None:
    nothing = {name: 0.0 if name.endswith("/l1") else value for name, value in SOURCE_FIGURES.items()}
    assert PageParser(html_of(run_folder, nothing)).faults == []
    diverged = html_of(run_folder, dict.fromkeys(SOURCE_FIGURES, float("nan")))
    assert PageParser(diverged).faults == []
    assert "NaN" not in diverged
