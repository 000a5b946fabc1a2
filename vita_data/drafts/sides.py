"""Which values of the columns belong to which of two arms: by the names of values and keys, or by halves."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from vita_data.drafts.contents import Column

LEFT, RIGHT = "left", "right"
FIRST, SECOND = "FIRST", "SECOND"
"""Two arms of which the data does not tell which one is the left one."""
_WORDS = {(LEFT, RIGHT): (LEFT, RIGHT), ("robot0", "robot1"): (FIRST, SECOND), ("arm0", "arm1"): (FIRST, SECOND)}
_MIN_HALF = 6
"""Fewer values are no arm: five joints of a small one and its gripper."""

Sides = dict[str, list[Column]]
"""The columns of each arm, by its place."""


def named_sides(columns: Sequence[Column]) -> Sides | None:
    """Take the columns apart by the names that have the sides in them; None without such names.

    An action that names no sides is given to both arms in halves.
    """
    for words, places in _WORDS.items():
        found = {place: [part for column in columns for part in _parts(column, words, place, places)]
                 for place in places}  # fmt: skip
        if not all(any(not part.is_action for part in parts) for parts in found.values()):
            continue
        for parts in found.values():
            if not any(part.is_action for part in parts):
                parts += [half for column in columns if column.is_action for half in _halves(column)]
        if all(any(part.is_action for part in parts) for parts in found.values()):
            return found
    return None


def halves(columns: Sequence[Column]) -> Sides | None:
    """Take columns without names apart in the middle; None if none is wide enough for two arms."""
    wide = [column for column in columns if not column.is_named and column.width >= 2 * _MIN_HALF]
    pairs = [pair for column in wide if len(pair := _halves(column)) == 2]
    if not all(any(pair[0].is_action is wanted for pair in pairs) for wanted in (True, False)):
        return None
    return {FIRST: [pair[0] for pair in pairs], SECOND: [pair[1] for pair in pairs]}


def _parts(column: Column, words: tuple[str, ...], place: str, places: tuple[str, ...]) -> Iterator[Column]:
    """Yield the part of a column that one arm has: all of it, runs of its values, or nothing."""
    word = words[places.index(place)]
    in_key = [each for each in words if each in column.key.lower()]
    if in_key:
        if in_key == [word]:
            yield column
        return
    at = 0
    for is_own, run in groupby(column.names, key=lambda name: word in name):
        num = len(list(run))
        if is_own:
            yield part(column, at, at + num)
        at += num


def _halves(column: Column) -> list[Column]:
    middle = column.width // 2
    return [] if column.is_named or column.width % 2 else [part(column, 0, middle), part(column, middle, column.width)]


def part(column: Column, start: int, stop: int) -> Column:
    """Take consecutive values of a column; it remembers where they stand."""
    return replace(
        column,
        names=column.names[start:stop],
        episodes=tuple(values[:, start:stop] for values in column.episodes),
        first=column.first + start,
    )
