"""Conditions on the columns of the episode table, written as SQL expressions, and orders of its rows."""

from collections.abc import Iterable, Iterator

import polars as pl
from polars.exceptions import PolarsError

from vita_data.curation.quality import COPIES, MEASURES
from vita_data.errors import RequestError, did_you_mean

_EXAMPLE = "length_s > 3 and outcome = 'ok'"
_DIRECTIONS = {"asc": False, "desc": True}


def matching(table: pl.DataFrame, condition: str, *, place: str) -> pl.DataFrame:
    """Keep the rows that satisfy a condition such as `length_s > 3 and text like '%cup%'`.

    A row for which the condition is null is not kept, as in SQL. An aggregate (`avg(length_s)`) is that of the table.

    Args:
        table: the rows of one source.
        condition: an expression of polars' SQL.
        place: what gave the condition, for messages.

    Raises:
        RequestError: it is not SQL, names a column that does not exist, or is not true or false for each row.
    """
    place = f"{place} {condition!r}"
    try:
        expression = pl.sql_expr(condition)
        _require_columns(expression.meta.root_names(), table.columns, place, is_condition=True)
        kind = table.select(expression).dtypes[0]
        if kind != pl.Boolean:
            raise RequestError(f'{place}: gives a value ({kind}), expected a condition such as "{_EXAMPLE}"')
        return table.filter(expression)
    except PolarsError as error:
        why = str(error).partition("\n\n")[0]
        raise RequestError(f'{place}: {why}; expected a condition such as "{_EXAMPLE}"') from error


def ordered(table: pl.DataFrame, order: str, *, place: str) -> pl.DataFrame:
    """Sort the rows by an order such as `source, length_s desc`; equal rows keep their order, empty values come last.

    Raises:
        RequestError: a column does not exist, or its direction is neither `asc` nor `desc`.
    """
    place = f"{place} {order!r}"
    names, descending = zip(*_parts(order, place), strict=True)
    _require_columns(names, table.columns, place)
    return table.sort(names, descending=descending, nulls_last=True, maintain_order=True)


def _parts(order: str, place: str) -> Iterator[tuple[str, bool]]:
    for part in order.split(","):
        name, *direction = part.split() or [""]
        known = [_DIRECTIONS.get(word.lower()) for word in direction] or [False]
        if len(known) != 1 or known[0] is None:
            raise RequestError(f"{place}: expected `asc` or `desc` after {name}, got {' '.join(direction)!r}")
        yield name, known[0]


def _require_columns(names: Iterable[str], columns: list[str], place: str, *, is_condition: bool = False) -> None:
    for name in names:
        if name not in columns:
            if name in (*MEASURES, *COPIES.values()):
                raise RequestError(
                    f"{place}: {name} is measured only by `vita-data episodes --quality`; for a manifest, write a list "
                    "with --ids and use `exclude`"
                )
            quotes = f"; a text is written in single quotes: '{name}'" if is_condition else ""
            hint = did_you_mean(name, columns, f"the columns are: {', '.join(columns)}{quotes}")
            raise RequestError(f"{place}: column {name!r} does not exist; {hint}")
