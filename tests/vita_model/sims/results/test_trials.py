"""A sheet of trials becomes Table 5's rows."""

import pytest

from vita_data.errors import RequestError, VitaDataError
from vita_model.sims.results.trials import load_trials, trials_text


def _sheet(tmp_path, rows, head="model,evaluation,success,remark"):
    path = tmp_path / "trials.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8-sig")
    return path


def test_rows_are_counted_a_model_and_an_evaluation(tmp_path):
    rows = [f"ours,{1 + k % 6},{int(k % 3 == 0)}," for k in range(600)] + ["base,Color Match,yes,fell", "base,2,no,"]
    ours, base = load_trials(_sheet(tmp_path, rows))

    assert ours.rates["Select Object"].num_episodes == 100
    assert sum(rate.num_successes for rate in ours.rates.values()) == 200
    assert (base.rates["Color Match"].num_successes, base.rates["Color Match"].num_episodes) == (1, 2)


def test_the_table_has_the_papers_rows_and_says_what_is_short(tmp_path):
    text = trials_text(_sheet(tmp_path, ["ours,select object,1,"] * 40))

    assert "VITA, paper" in text
    assert "ours, Select Object: 40 trials; the paper (10.5) has 100" in text


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("ours,7,1,", "line 3: expected evaluation .*, got '7'"),
        ("ours,1,maybe,", "expected success 1 or 0, got 'maybe'"),
        (",1,1,", "expected the name of a model"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path, row, words):
    with pytest.raises(VitaDataError, match=words):
        load_trials(_sheet(tmp_path, ["ours,1,1,", row]))


@pytest.mark.parametrize("coding", ["latin-1", "utf-16"])
def test_a_sheet_in_another_coding_is_said(tmp_path, coding):
    path = tmp_path / "trials.csv"
    path.write_text("model,evaluation,success\nCaf\xe9,1,1\n", encoding=coding)
    with pytest.raises(VitaDataError, match="expected CSV in UTF-8"):
        load_trials(path)


def test_a_sheet_without_the_columns_is_refused(tmp_path):
    with pytest.raises(RequestError, match="missing columns evaluation, success"):
        load_trials(_sheet(tmp_path, [], head="model,task"))
    with pytest.raises(RequestError, match="cannot read the sheet"):
        load_trials(tmp_path / "absent.csv")
