"""Conditions and orders: what they choose, and that every mistake is said in words."""

import contextlib

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vita_data.curation.condition import matching, ordered
from vita_data.errors import RequestError

TABLE = pl.DataFrame(
    {"id": ["a", "b", "it's"], "outcome": ["ok", "dropped", "ok"], "length_s": [1.0, 0.0, 3.0], "hz": [5.0, None, 5.0]}
)


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("length_s > 0.5", ["a", "it's"]),
        ("outcome = 'ok' and not id = 'a'", ["it's"]),
        ("id in ('a', 'b') or length_s between 2 and 4", ["a", "b", "it's"]),
        ("id like 'it%'", ["it's"]),
        ("id = 'it''s'", ["it's"]),
        ("hz > 1", ["a", "it's"]),
        ("hz is null", ["b"]),
        ("length_s > avg(length_s)", ["it's"]),
        ("1 = 0", []),
    ],
)
def test_a_condition_keeps_the_rows_for_which_it_is_true(condition: str, ids: list[str]) -> None:
    assert matching(TABLE, condition, place="--where")["id"].to_list() == ids


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("lenght_s > 1", r"column 'lenght_s' does not exist; did you mean 'length_s'\?$"),
        ('outcome = "fine"', r"column 'fine' .*the columns are: id, .*a text is written in single quotes: 'fine'"),
        ("length_s", r"gives a value \(Float64\), expected a condition such as"),
        ("length_s >", r"unable to parse .*expected a condition such as"),
        ("id > 3", r"cannot compare string with numeric"),
        ("regexp_like(id, '[')", r"regex"),
        ("nothing(id) > 1", r"unsupported function 'nothing'"),
        ("select 1", r"expected an expression"),
    ],
)
def test_every_mistake_is_said_in_words(condition: str, told: str) -> None:
    with pytest.raises(RequestError, match=rf"^--where .*{told}") as error:
        matching(TABLE, condition, place="--where")
    assert error.value.exit_code == 2


def test_rows_are_sorted_by_several_columns_and_equal_rows_stay() -> None:
    assert ordered(TABLE, "outcome desc, length_s", place="--sort")["id"].to_list() == ["a", "it's", "b"]
    assert ordered(TABLE, "hz DESC", place="--sort")["id"].to_list() == ["a", "it's", "b"], "null is last"
    for order, told in (("lenght", "did you mean 'length_s'"), ("id up", "got 'up'"), ("id,", "column '' does not")):
        with pytest.raises(RequestError, match=told):
            ordered(TABLE, order, place="--sort")


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    with contextlib.suppress(RequestError):
        assert matching(TABLE, text, place="--where").height <= TABLE.height
