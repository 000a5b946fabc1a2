"""Removes what killed runs left in an output folder, so that it does not fill the disk."""

import re
from collections.abc import Sequence
from pathlib import Path

from vita_data.builder.under_way import remove_reports
from vita_data.shards.index import RECORDS
from vita_data.storage.files import AnyPath, list_files, remove_abandoned
from vita_data.types import Split

_LEFTOVER = re.compile(r"\..*-(\d{6})\.(?:tar|arrow|json)\.[0-9a-f]+\.tmp")


def clear_leftovers(folder: AnyPath, numbers: Sequence[int]) -> None:
    """Remove the temporary files of these units that no process is writing any more."""
    if not isinstance(folder, Path):
        return
    remove_reports(folder, numbers)
    wanted = {f"{number:06d}" for number in numbers}
    for place in (folder / RECORDS, *(folder / split for split in Split)):
        for name in list_files(place):
            number = _LEFTOVER.fullmatch(name)
            if number and number[1] in wanted:
                remove_abandoned(place / name)
