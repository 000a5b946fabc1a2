"""Every file in vita_data/sources/ keeps the promises of a source; none is named here."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vita_data import sources
from vita_data.testing import built, reading
from vita_data.testing.under_test import SourceUnderTest

NAMES = sources.names()
MakeTested = Callable[[str], SourceUnderTest]


@pytest.fixture
def tested(toy_raw: Path, toy_shards: Path) -> MakeTested:
    """Make what the checks look at from the toys that all tests share."""
    return lambda name: SourceUnderTest(name=name, raw=toy_raw / name, shards=toy_shards)


@pytest.mark.parametrize("name", NAMES)
def test_info_names_the_file_and_settings_extend_the_common_ones(name: str, tested: MakeTested) -> None:
    reading.check_info(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_sorted_repeatable_and_unique(name: str, tested: MakeTested) -> None:
    reading.check_parts(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_part_yields_as_many_outcomes_as_it_announces(name: str, tested: MakeTested) -> None:
    reading.check_counts(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_episode_ids_are_unique_stable_and_free_of_the_tree_s_place(name: str, tested: MakeTested) -> None:
    reading.check_ids(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_toy_tree_reads_without_failures_and_holds_good_and_dropped_episodes(name: str, tested: MakeTested) -> None:
    reading.check_toy(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_cameras_and_actions_are_those_that_info_declares(name: str, tested: MakeTested) -> None:
    built.check_cameras_and_actions(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_stored_values_are_plausible_in_metres_radians_and_openings(name: str, tested: MakeTested) -> None:
    built.check_plausible_values(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_canonical_deltas_integrate_back_to_the_recorded_poses(name: str, tested: MakeTested) -> None:
    built.check_deltas(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_stored_frame_is_the_step_and_way_up_that_it_claims(name: str, tested: MakeTested) -> None:
    built.check_frames(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_survives_writing_and_reading(name: str, tested: MakeTested) -> None:
    reading.check_clips_survive(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_no_raw_episode_is_lost_and_drops_have_known_reasons(name: str, tested: MakeTested) -> None:
    built.check_nothing_lost(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_built_shards_verify(name: str, tested: MakeTested) -> None:
    built.check_shards(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_building_again_gives_the_same_bytes(name: str, tested: MakeTested) -> None:
    built.check_same_bytes(tested(name))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_written_names_the_place_it_was_read_from(name: str, tested: MakeTested) -> None:
    built.check_no_place_named(tested(name))
