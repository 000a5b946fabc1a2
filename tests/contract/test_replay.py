"""The stored actions of every source with commands give back its raw rows; none is named here."""

from pathlib import Path

import pytest

from vita_data import sources
from vita_data.action_convention import Convention
from vita_data.replay import TOLERANCE, compare_commands, find_built
from vita_data.types import ActionOrigin, CommandedSource

NAMES = sources.names()


def commanded() -> list[str]:
    return [name for name in NAMES if isinstance(sources.load(name), CommandedSource)]


@pytest.mark.parametrize("name", commanded())
def test_commands_are_those_of_the_raw_rows(name: str, toy_raw: Path, toy_shards: Path) -> None:
    (built,) = find_built(toy_shards / name, str(toy_raw / name))
    report = compare_commands(built)

    assert report.num_clips == built.num_clips >= 2
    assert report.num_rows > 20
    assert report.worst
    assert {quantity: worst.error for quantity, worst in report.worst.items() if worst.error > TOLERANCE} == {}


@pytest.mark.parametrize("name", NAMES)
def test_no_source_with_commands_is_left_out(name: str, toy_raw: Path, toy_shards: Path) -> None:
    """Commanded actions, and constants that turn actions into a simulator's commands, can be checked."""
    (built,) = find_built(toy_shards / name, str(toy_raw / name))
    has_constants = any(Convention.of(clip.extras) is not None for clip in built.clips())
    is_commanded = sources.load(name).INFO.action_origin is ActionOrigin.COMMANDED

    assert (is_commanded or has_constants) == (name in commanded())
