"""Our results laid out like the paper's tables, its rows beside ours."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vita_data.errors import RequestError
from vita_model.sims.results.paper import TABLES, PaperTable
from vita_model.sims.results.scores import SuccessRate


@dataclass(frozen=True, slots=True, kw_only=True)
class OurRow:
    """What we measured: a rate a column; columns may be missing."""

    name: str
    rates: Mapping[str, SuccessRate]
    is_protocol: bool = True
    """All tasks and trials of the benchmark, none cut short."""


def table_text(table: PaperTable, ours: Sequence[OurRow]) -> str:
    """Lay out one table; the last two columns are the computed average and the one that the paper prints.

    An average of ours is computed where every column was measured.

    Raises:
        RequestError: a row of ours has a column that the table has not.
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
    lines = [f"Table {table.number}. {table.title}", *_aligned([head, *body])]
    for row in ours:
        lines += [f"{row.name}, {column}: {rate}" for column, rate in row.rates.items()]
    return "\n".join(lines)


def load_row(path: Path) -> tuple[int, OurRow]:
    """Read what an evaluation wrote: the table's number and our row of it.

    Raises:
        RequestError: the file is absent, or no result that belongs into one of the tables.
    """
    try:
        found = json.loads(path.read_text())
        number, rates = int(found["table"]), {key: _rate(value) for key, value in found["rates"].items()}
        is_protocol = found.get("is_protocol", True) is True
        return number, OurRow(name=str(found["policy"]["name"]), rates=rates, is_protocol=is_protocol)
    except OSError as fault:
        raise RequestError(f"{path}: cannot read the result ({fault.strerror})") from fault
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise RequestError(f"{path}: expected the result of a benchmark that has a table ({fault!r})") from fault


def tables_text(paths: Sequence[Path]) -> str:
    """Lay out every table that the results belong into; results of one policy share a row.

    Results that the benchmark's protocol would not give are named below.

    Raises:
        RequestError: as `load_row`, or a column was measured twice for one policy.
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


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _rate(value: Mapping[str, object]) -> SuccessRate:
    found = SuccessRate(num_successes=int(str(value["num_successes"])), num_episodes=int(str(value["num_episodes"])))
    if not 0 <= found.num_successes <= found.num_episodes:
        raise ValueError(f"{found.num_successes} successes of {found.num_episodes} episodes")
    return found
