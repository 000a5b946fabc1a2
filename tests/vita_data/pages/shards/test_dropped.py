"""What was left out of a source: counts equal the card's, examples come from the list of raw episodes."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vita_data.pages.page_parser import PageParser
from vita_data.errors import ShardError
from vita_data.pages.drawing.html import page
from vita_data.pages.shards.card import load_card
from vita_data.pages.shards.dropped import Example, drops_table, losses_section, read_losses


def test_examples_are_those_of_the_list(shard_folder: Path) -> None:
    losses = read_losses(shard_folder / "arm")
    assert losses.dropped == {
        "short": tuple(Example(episode=f"drop {number}", part="a", detail="") for number in range(2))
    }
    assert losses.failed == (Example(episode="broken", part="b", detail="cannot be read"),)


def test_page_shows_reasons_with_counts_and_examples(shard_folder: Path) -> None:
    card = load_card(shard_folder / "arm")
    parsed = PageParser(page("t", "i", [losses_section(card, read_losses(shard_folder / "arm"))]))
    assert parsed.faults == []
    assert ["short", "too few frames", "--set min_frames=N (now 13)", "2", "25.00%"] in parsed.rows
    assert ["short", "drop 0", ""] in parsed.rows
    assert ["broken", "b", "cannot be read"] in parsed.rows
    assert "3 of 8 raw episodes were not stored." in parsed.texts


def test_a_reason_that_no_setting_changes_says_so(shard_folder: Path) -> None:
    card = replace(load_card(shard_folder / "arm"), drops={"T3": 2})
    parsed = PageParser(losses_section(card, read_losses(shard_folder / "arm")).body)
    assert ["T3", "unfilled template", "no setting", "2", "25.00%"] in parsed.rows


def test_drops_across_sources_add_up(shard_folder: Path) -> None:
    cards = [load_card(shard_folder / name) for name in ("arm", "film")]
    assert PageParser(drops_table(cards)).rows == [
        ["reason", "meaning", "all", "by source"],
        ["short", "too few frames", "4", "arm 2, film 2"],
        ["failed", "could not be read", "2", "arm 1, film 1"],
    ]


def test_the_most_frequent_reason_comes_first(shard_folder: Path) -> None:
    arm, film = (load_card(shard_folder / name) for name in ("arm", "film"))
    cards = [replace(arm, drops={"T1": 1, "short": 2}), replace(film, drops={"T3": 9, "T1": 2})]
    assert [row[::2] for row in PageParser(drops_table(cards)).rows[1:-1]] == [["T3", "9"], ["T1", "3"], ["short", "2"]]


@pytest.mark.parametrize("content", [None, b"PAR1"])
def test_damaged_list_is_refused(shard_folder: Path, tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "arm"
    shutil.copytree(shard_folder / "arm", folder)
    (folder / "episodes.parquet").unlink()
    if content is not None:
        (folder / "episodes.parquet").write_bytes(content)
    with pytest.raises(ShardError, match=r"episodes\.parquet: .* run the same build again"):
        read_losses(folder)
