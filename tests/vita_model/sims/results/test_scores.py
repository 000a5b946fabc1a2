"""Intervals agree with scipy's; tables compute their averages; pictures show what they say."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from vita_data.errors import RequestError
from vita_model.sims.results.paper import TABLES
from vita_model.sims.results.scores import EpisodeResult, SuccessRate, rate_json, success_rate, write_json
from vita_model.sims.results.tables import OurRow, load_row, table_text, tables_text
from vita_model.sims.scripted.contact_sheet import contact_sheet


@pytest.mark.parametrize(("successes", "episodes"), [(0, 50), (50, 50), (35, 50), (1, 3), (499, 500)])
def test_the_interval_is_wilsons(successes, episodes):
    rate = SuccessRate(num_successes=successes, num_episodes=episodes)
    expected = binomtest(successes, episodes).proportion_ci(method="wilson")
    np.testing.assert_allclose(rate.interval_percent, [100 * expected.low, 100 * expected.high], atol=1e-6)


def test_no_episode_says_nothing():
    rate = SuccessRate(num_successes=0, num_episodes=0)
    assert np.isnan(rate.percent)
    assert rate.interval_percent == (0.0, 100.0)


def test_successes_are_counted():
    episodes = [EpisodeResult(seed=k, success=k % 3 == 0, num_steps=5) for k in range(7)]
    assert success_rate(episodes) == SuccessRate(num_successes=3, num_episodes=7)


def test_averages_are_computed_where_the_paper_prints_others():
    calvin = TABLES[1]
    ours = next(row for row in calvin.rows if row.model.startswith("VITA"))

    assert calvin.average(ours.values) == pytest.approx(4.575)
    assert ours.printed == 4.73
    assert "4.575" in table_text(calvin, ())


def test_rows_of_the_paper_agree_with_their_averages_but_for_the_known_ones():
    """A digit misread from the paper would show here."""
    off = {
        (number, row.model)
        for number, table in TABLES.items()
        for row in table.rows
        if abs(table.average(row.values) - row.printed) > (0.01 if table.is_chain else 0.15)
    }
    assert off == {
        (1, "Pi0"), (1, "VITA, paper"),
        (2, "CoT-VLA"),
        (3, "Octo"), (3, "TraceVLA"), (3, "OpenVLA"),
        (4, "Octo"), (4, "CogACT"),
        (5, "Octo"),
    }  # fmt: skip


def test_every_row_has_a_value_a_column():
    assert all(len(row.values) == len(table.columns) for table in TABLES.values() for row in table.rows)


def _rates(**counts):
    return {name: SuccessRate(num_successes=count, num_episodes=24) for name, count in counts.items()}


def test_our_row_stands_below_and_has_an_average_only_when_whole():
    columns = {"PutSpoon": 12, "PutCarrot": 6, "StackGreen": 0, "PutEggplant": 24}
    whole = table_text(TABLES[4], [OurRow(name="ours", rates=_rates(**columns))]).splitlines()
    part = table_text(TABLES[4], [OurRow(name="ours", rates=_rates(PutSpoon=12))])

    row = next(line for line in whole if line.startswith("ours "))
    assert row.split() == ["ours", "50.0", "25.0", "0.0", "100.0", "43.8"]
    assert next(line for line in part.splitlines() if line.startswith("ours ")).split()[1:] == ["50.0"] + 4 * ["-"]
    assert "ours, PutSpoon: 12/24 = 50.0 %" in part


def test_results_of_one_policy_share_a_row(tmp_path):
    paths = []
    for column in ("GOAL", "LONG"):
        rate = SuccessRate(num_successes=10, num_episodes=20)
        paths.append(tmp_path / f"{column}.json")
        write_json(paths[-1], {"table": 2, "policy": {"name": "mine"}, "rates": {column: rate_json(rate)}})

    text = tables_text(paths)

    assert next(line for line in text.splitlines() if line.startswith("mine ")).split() == [
        "mine", "50.0", "-", "-", "50.0", "-",
    ]  # fmt: skip
    with pytest.raises(RequestError, match="another result already has GOAL of mine"):
        tables_text([paths[0], paths[0]])


def test_a_part_of_the_protocol_is_named(tmp_path):
    rate = rate_json(SuccessRate(num_successes=2, num_episodes=2))
    for name, is_protocol in (("GOAL", False), ("LONG", True)):
        result = {"table": 2, "policy": {"name": "mine"}, "rates": {name: rate}, "is_protocol": is_protocol}
        write_json(tmp_path / f"{name}.json", result)
    text = tables_text([tmp_path / "GOAL.json", tmp_path / "LONG.json"])
    assert f"{tmp_path / 'GOAL.json'}: not the benchmark's full protocol" in text
    assert text.count("full protocol") == 1


def test_what_is_no_result_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"rates": {}}))
    with pytest.raises(RequestError, match="expected the result of a benchmark"):
        load_row(tmp_path / "a.json")
    impossible = {"num_successes": 3, "num_episodes": 2}
    write_json(tmp_path / "c.json", {"table": 2, "policy": {"name": "mine"}, "rates": {"GOAL": impossible}})
    with pytest.raises(RequestError, match="3 successes of 2 episodes"):
        load_row(tmp_path / "c.json")
    with pytest.raises(RequestError, match="cannot read the result"):
        load_row(tmp_path / "b.json")
    with pytest.raises(RequestError, match="no column XX"):
        table_text(TABLES[2], [OurRow(name="a", rates=_rates(XX=1))])


def test_a_sheet_shows_first_and_last_and_the_outcome():
    pictures = [np.full((10, 10, 3), 10 * k, np.uint8) for k in range(20)]

    sheet = contact_sheet([(True, pictures), (False, pictures[:2])], num_columns=4, size=16)

    assert sheet.shape == (32, 6 + 64, 3)
    assert sheet[0, 6].tolist() == [0] * 3
    assert sheet[0, -1].tolist() == [190] * 3
    assert sheet[31, 6 + 16].tolist() == [10] * 3
    assert sheet[31, -1].tolist() == [255] * 3
    assert sheet[0, 0, 1] > sheet[0, 0, 0]
    assert sheet[31, 0, 0] > sheet[31, 0, 1]
    with pytest.raises(ValueError, match="at least one picture per row"):
        contact_sheet([(True, [])])
