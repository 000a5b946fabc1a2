"""Our results as tables, together with the paper's rows."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vita_data.command.tables import text_table
from vita_data.errors import RequestError
from vita_data.nearby import near_name
from vita_model.sims.results.paper import TABLES, PaperTable
from vita_model.sims.results.scores import SuccessRate


@dataclass(frozen=True, slots=True, kw_only=True)
class OurRow:
    """A row of our results: a rate per column; columns may be missing."""

    name: str
    rates: Mapping[str, SuccessRate]
    is_protocol: bool = True
    """Whether all tasks and trials of the benchmark were run in full."""


def table_text(table: PaperTable, ours: Sequence[OurRow]) -> str:
    """Format one table; the last two columns are the computed average and the average printed in the paper.

    Averages of our rows are computed only if every column was measured.

    Raises:
        RequestError: one of our rows has a column that is not in the table.
    """
    head = ["Models", *table.columns, table.average_name, "printed"]
    digits = 3 if table.is_chain else 1
    body = [
        [
            row.model,
            *(f"{value:.1f}" for value in row.values),
            f"{table.average(row.values):.{digits}f}",
            f"{row.printed:g}",
        ]
        for row in table.rows
    ]
    body += [_our_cells(table, row, digits) for row in ours]
    lines = [f"Table {table.number}. {table.title}", *text_table([head, *body], "lr")]
    for row in ours:
        lines += [f"{row.name}, {column}: {rate}" for column, rate in row.rates.items()]
    return "\n".join(lines)


def load_row(path: Path) -> tuple[int, OurRow]:
    """Read a result file: the number of its table, and our row.

    Raises:
        RequestError: the file does not exist, or is not a result that belongs to a table.
    """
    try:
        found = json.loads(path.read_text())
        number, rates = int(found["table"]), {key: _rate(value) for key, value in found["rates"].items()}
        is_protocol = found.get("is_protocol", True) is True
        return number, OurRow(name=str(found["policy"]["name"]), rates=rates, is_protocol=is_protocol)
    except OSError as fault:
        raise RequestError(f"{path}: cannot read the result ({fault.strerror}){near_name(path)}") from fault
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise RequestError(f"{path}: expected the result of a benchmark that has a table ({fault!r})") from fault


def tables_text(paths: Sequence[Path]) -> str:
    """Format every table that the results belong to; results of one policy share a row.

    Results that deviate from the benchmark's protocol are listed below the tables.

    Raises:
        RequestError: as `load_row`, or a column was given twice for one policy.
    """
    rows: dict[int, dict[str, dict[str, SuccessRate]]] = {}
    partial: list[str] = []
    for path in paths:
        number, row = load_row(path)
        if number not in TABLES:
            raise RequestError(f"{path}: expected a table from 1 to {len(TABLES)}, got {number}")
        measured = rows.setdefault(number, {}).setdefault(row.name, {})
        twice = sorted(measured.keys() & row.rates.keys())
        if twice:
            raise RequestError(f"{path}: another result already has {', '.join(twice)} of {row.name}")
        measured.update(row.rates)
        if not row.is_protocol:
            partial.append(f"{path}: not the benchmark's full protocol; the file lists what was run")
    texts = [
        table_text(TABLES[number], [OurRow(name=name, rates=rates) for name, rates in found.items()])
        for number, found in sorted(rows.items())
    ]
    return "\n\n".join([*texts, *(["\n".join(partial)] if partial else [])])


def _our_cells(table: PaperTable, row: OurRow, digits: int) -> list[str]:
    unknown = sorted(set(row.rates) - set(table.columns))
    if unknown:
        raise RequestError(
            f"table {table.number} has no column {', '.join(unknown)}; it has {', '.join(table.columns)}"
        )
    values = tuple(row.rates[name].percent if name in row.rates else math.nan for name in table.columns)
    average = table.average(values)
    return [row.name, *(_cell(value, 1) for value in values), _cell(average, digits), ""]


def _cell(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _rate(value: Mapping[str, object]) -> SuccessRate:
    found = SuccessRate(num_successes=int(str(value["num_successes"])), num_episodes=int(str(value["num_episodes"])))
    if not 0 <= found.num_successes <= found.num_episodes:
        raise ValueError(f"{found.num_successes} successes of {found.num_episodes} episodes")
    return found
