"""Table 5 from a sheet of real-robot trials (VITA 10.5: six evaluations, 100 trials each).

The sheet is CSV with a header: `model`, `evaluation` (its name in Table 5, or 1 to 6) and `success` (0 or 1). Other
columns, such as scene or remark, are ignored.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

from vita_data.errors import RequestError, VitaDataError
from vita_data.nearby import near_name
from vita_model.sims.results.paper import TABLES
from vita_model.sims.results.scores import SuccessRate
from vita_model.sims.results.tables import OurRow, table_text

TABLE = 5
NUM_TRIALS = 100
"""Trials per evaluation (10.5); the caption of Table 5 says 1,000 rollouts instead."""
_COLUMNS = ("model", "evaluation", "success")
_WORDS = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}


def load_trials(sheet: Path) -> tuple[OurRow, ...]:
    """Count the trials of each model.

    Raises:
        RequestError: the sheet does not exist, or lacks a column.
        VitaDataError: a row is invalid, and the message names it; or the file is not CSV in UTF-8.
    """
    counts: dict[str, dict[str, list[bool]]] = {}
    try:
        with sheet.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise RequestError(
                    f"{sheet}: missing columns {', '.join(missing)}; found {', '.join(reader.fieldnames or ())}"
                )
            for row in reader:
                model, evaluation, success = _trial(row, f"{sheet}, line {reader.line_num}")
                counts.setdefault(model, {}).setdefault(evaluation, []).append(success)
    except OSError as fault:
        raise RequestError(f"{sheet}: cannot read the sheet ({fault.strerror}){near_name(sheet)}") from fault
    except (UnicodeDecodeError, csv.Error) as fault:
        raise VitaDataError(f"{sheet}: expected CSV in UTF-8 ({fault}); save it in that format") from fault
    return tuple(
        OurRow(name=model, rates={name: _rate(found) for name, found in evaluations.items()})
        for model, evaluations in counts.items()
    )


def trials_text(sheet: Path) -> str:
    """Format Table 5 with the sheet's and the paper's rows; evaluations with fewer than 100 trials are listed below.

    Raises:
        RequestError, VitaDataError: as `load_trials`.
    """
    rows = load_trials(sheet)
    few = [
        f"{row.name}, {name}: {rate.num_episodes} trials; the paper (10.5) has {NUM_TRIALS}"
        for row in rows
        for name, rate in row.rates.items()
        if rate.num_episodes < NUM_TRIALS
    ]
    return "\n".join([table_text(TABLES[TABLE], rows), *few])


def _trial(row: Mapping[str, str | None], where: str) -> tuple[str, str, bool]:
    model, evaluation, success = ((row[name] or "").strip() for name in _COLUMNS)
    names = TABLES[TABLE].columns
    if evaluation.isdecimal() and 1 <= int(evaluation) <= len(names):
        evaluation = names[int(evaluation) - 1]
    known = {name.lower(): name for name in names}
    if evaluation.lower() not in known:
        known_names = f"1 to {len(names)} or one of {', '.join(names)}"
        raise VitaDataError(f"{where}: expected evaluation {known_names}, got {evaluation!r}")
    if success.lower() not in _WORDS:
        raise VitaDataError(f"{where}: expected success 1 or 0, got {success!r}")
    if not model:
        raise VitaDataError(f"{where}: expected the name of a model, got none")
    return model, known[evaluation.lower()], _WORDS[success.lower()]


def _rate(found: list[bool]) -> SuccessRate:
    return SuccessRate(num_successes=sum(found), num_episodes=len(found))
