"""What the indexes say of a source: texts, words, lengths, rates; and that pages read nothing else at length."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.vita_data.pages.conftest import HOSTILE, NUM_STEPS
from tests.vita_data.pages.page_parser import PageParser
from vita_data.pages.drawing.html import page
from vita_data.pages.report import report_page
from vita_data.pages.shards.contents import Contents, read_contents, split_words
from vita_data.pages.shards.inspect import inspect_page
from vita_data.pages.shards.lengths import duration, lengths_table, rates
from vita_data.pages.shards.texts import texts_section, texts_table
from vita_data.shards.reader import ShardFiles
from vita_data.shards.schema import MemberRef
from vita_data.storage.files import AnyPath

MIXED = Contents(
    source="mixed", hz=np.array([5.0, 5.0, 10.0, 20.0]), num_steps=np.array([10, 20, 40, 40]),
    instructions={"Pick up the cup": 2, "": 1, "pick, then don't drop the CUP": 1},
)  # fmt: skip


def section(contents: Contents) -> PageParser:
    return PageParser(page("t", "i", [texts_section(contents)]))


def test_index_gives_every_clip_of_both_splits(shard_folder: Path) -> None:
    contents = read_contents(shard_folder / "arm")
    assert (contents.source, contents.num_clips) == ("arm", 5)
    np.testing.assert_array_equal(contents.num_steps, [NUM_STEPS] * 5)
    np.testing.assert_array_equal(contents.length_s, [NUM_STEPS / 10] * 5)
    assert contents.instructions == {HOSTILE: 5}


def test_words_are_counted_once_for_each_clip_that_says_them() -> None:
    assert MIXED.words == {"cup": 3, "pick": 3, "the": 3, "up": 2, "don't": 1, "drop": 1, "then": 1}
    assert list(MIXED.words)[:3] == ["cup", "pick", "the"], "the most frequent first, then by name"
    np.testing.assert_array_equal(MIXED.num_words, [4, 4, 6])
    assert split_words("Öffne die_Tür, T-shirt №2!") == ["öffne", "die", "tür", "t-shirt", "2"]


def test_instruction_list_has_counts_and_leaves_out_the_empty_one() -> None:
    parsed = section(MIXED)
    assert parsed.faults == []
    assert parsed.rows[1:] == [
        ["Pick up the cup", "2", "50.00%"],
        ["pick, then don't drop the CUP", "1", "25.00%"],
    ]
    assert any(text.startswith("3 of 4 clips have an instruction. 2 different") for text in parsed.texts)


def test_long_lists_and_texts_are_cut_and_say_so() -> None:
    many = {f"{'very ' * 100}{number}": 1 for number in range(80)}
    parsed = section(Contents(source="s", hz=np.ones(80), num_steps=np.ones(80, np.int64), instructions=many))
    assert len(parsed.rows) == 1 + 50
    assert len(parsed.rows[1][0]) == 240
    assert "Instruction list: 50 of 80, most frequent first" in parsed.texts


def test_source_without_texts_or_clips_is_shown_without_a_fault() -> None:
    empty = Contents(source="none", hz=np.zeros(0), num_steps=np.zeros(0, np.int64), instructions={})
    assert "No clip has an instruction." in section(empty).texts
    for drawn in (texts_table([empty, MIXED]), lengths_table([empty, MIXED])):
        parsed = PageParser(drawn)
        assert parsed.faults == []
        assert [row[0] for row in parsed.rows[1:]] == ["none", "mixed"]


def test_rates_and_durations_are_named() -> None:
    assert rates(MIXED) == "5 (2 clips), 10 (1 clips), 20 (1 clips)"
    assert duration(MIXED) == "12 s"
    long = Contents(source="s", hz=np.ones(2), num_steps=np.array([3600, 1800]), instructions={})
    assert (rates(long), duration(long)) == ("1", "1.5 h")
    per_file = Contents(source="s", hz=np.arange(5, 25.0), num_steps=np.arange(20), instructions={})
    assert rates(per_file) == "5 to 24 (20 different)"


def test_pages_read_a_few_members_of_the_shards_alone(shard_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of terabytes costs what a page of megabytes does: no clip but the shown ones, no image but theirs."""
    read: list[str] = []
    real = ShardFiles.read_many

    def counted(self: ShardFiles, shard: AnyPath, refs: Mapping[str, MemberRef], *, clip: str) -> dict[str, bytes]:
        read.extend(f"{clip}.{member}" for member in refs)
        return real(self, shard, refs, clip=clip)

    monkeypatch.setattr(ShardFiles, "read_many", counted)
    inspect_page(shard_folder / "arm", key=None)
    assert len({name.split(".")[0] for name in read}) == 3
    assert len(read) == 3 * (3 + 16), "clip.json, action, state and sixteen images a clip"
    read.clear()
    report_page(shard_folder, manifest=None, runs=[])
    assert len(read) == (3 + 8) + (1 + 8), "one clip a source; the film has no action and no state"
