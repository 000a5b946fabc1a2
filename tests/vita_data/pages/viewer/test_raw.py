"""Pictures of episodes that were not stored are read in a worker: what ends it costs a note."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.vita_data.builder import fussy
from tests.vita_data.builder.test_worker import LIMITS, REASONS, tree
from vita_data.errors import SourceError
from vita_data.pages.viewer.raw import RawPictures
from vita_data.pages.viewer.raw_reader import RawRequest


def request(raw: Path) -> RawRequest:
    return RawRequest(source="fussy", source_file=fussy.__file__, raw=str(raw), settings="{}")


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[RawPictures]:
    raw = tree(tmp_path / "raw", a="ok late_crash ok", b="ok hang ok", c="ok", d="ok grow")
    with closing(RawPictures(request(raw), LIMITS)) as found:
        yield found


def test_what_ends_its_reader_costs_a_note_and_the_next_episode_is_shown(pictures: RawPictures) -> None:
    assert len(pictures.read("a.txt", "a.txt:0").pictures) == 8
    for part, number, word in (("a.txt", 1, "crash"), ("b.txt", 1, "hang"), ("d.txt", 1, "grow")):
        lost = pictures.read(part, f"{part}:{number}")
        assert re.fullmatch(rf"{part}(:1)?: {REASONS[word]}; the file is damaged, fetch it again", lost.note), lost.note
        assert not lost.pictures
        assert pictures.read(part, f"{part}:{number}") is lost  # and is not tried again
        assert len(pictures.read("c.txt", "c.txt:0").pictures) == 8


def test_an_episode_is_found_again_although_what_follows_it_ends_its_reader(pictures: RawPictures) -> None:
    for _ in range(2):
        assert len(pictures.read("b.txt", "b.txt:0").pictures) == 8
    assert "not in the given download" in pictures.read("c.txt", "c.txt:7").note


def test_a_description_that_ends_its_reader_is_one_line(tmp_path: Path) -> None:
    raw = tree(tmp_path / "raw", a="ok")
    (raw / "index").write_text("crash")
    with pytest.raises(SourceError, match=rf"^--raw {raw}, index: {REASONS['crash']}; the file is damaged"):
        RawPictures(request(raw), LIMITS)
