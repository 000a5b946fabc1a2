"""Groups failed episodes by cause: details that differ only in names and numbers are shown once."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from vita_data.builder.records import EpisodeRow

_MAX_CAUSES = 15
_MAX_EXAMPLES = 3
_MIN_NAME = 4
_NUMBER = re.compile(r"\d+")


def by_cause(failed: Sequence[EpisodeRow]) -> list[list[EpisodeRow]]:
    """Group failed episodes whose details differ only in names and numbers, largest group first."""
    groups: dict[str, list[EpisodeRow]] = defaultdict(list)
    for row in failed:
        groups[_cause(row)].append(row)
    return sorted(groups.values(), key=len, reverse=True)


def failure_lines(failed: Sequence[EpisodeRow]) -> Iterator[str]:
    """Yield the lines to print: up to three examples of each cause, and the number of its episodes."""
    groups = by_cause(failed)
    for group in groups[:_MAX_CAUSES]:
        for row in group[:_MAX_EXAMPLES]:
            yield f"failed: part {row.part}, episode {row.id}: {row.detail}"
        if len(group) > _MAX_EXAMPLES:
            yield f"failed: and {len(group) - _MAX_EXAMPLES} more with this cause ({len(group)} in all); see --json"
    if rest := groups[_MAX_CAUSES:]:
        yield f"failed: and {sum(map(len, rest))} more with {len(rest)} other causes; see --json"


def _cause(row: EpisodeRow) -> str:
    """Return a detail without the names of its episode or file, and without numbers."""
    part = PurePosixPath(row.part)
    names = (row.id, row.part, part.name, part.stem, row.id.rpartition("/")[2])
    text = row.detail
    for name in sorted(names, key=len, reverse=True):
        # A shorter name could also match inside words; most short names are numbers, which are removed anyway.
        text = text.replace(name, "_") if len(name) >= _MIN_NAME else text
    return _NUMBER.sub("0", text)
