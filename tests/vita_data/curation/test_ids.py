"""Lists of ids survive a round trip, whatever the ids are."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vita_data.curation.ids import ListedId, read_ids, write_ids
from vita_data.errors import RequestError, StorageError

ID = st.text(min_size=1, max_size=20).filter(lambda text: "\n" not in text and "\r" not in text and text.strip())


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["bridge", "libero"]), ID), max_size=8))
def test_what_was_written_is_read(episodes: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bad.txt"
        episodes = [(source, id_.encode(errors="replace").decode()) for source, id_ in episodes]
        write_ids(path, episodes)
        found = read_ids(path, place="exclude")
    assert [(one.source, one.id) for one in found] == episodes
    assert [one.line for one in found] == list(range(1, len(episodes) + 1))


def test_a_list_written_by_hand_may_have_plain_ids_empty_lines_and_other_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes("\ufeffa b\r\n\r\nbridge\tc\td".encode())
    assert read_ids(path, place="exclude") == (ListedId(1, "", "a b"), ListedId(3, "bridge", "c\td"))


def test_what_cannot_be_a_line_or_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="contains a line break"):
        write_ids(tmp_path / "bad.txt", [("bridge", "a\nb")])
    assert not (tmp_path / "bad.txt").exists()
    with pytest.raises(RequestError, match=r"exclude: .*none\.txt cannot be read as a list of episode ids \(No such"):
        read_ids(tmp_path / "none.txt", place="exclude")
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(StorageError, match="expected a file, found a named pipe"):
        read_ids(tmp_path / "pipe.txt", place="exclude")
    (tmp_path / "latin.txt").write_bytes(b"\xe9")
    with pytest.raises(RequestError, match="cannot be read as a list"):
        read_ids(tmp_path / "latin.txt", place="exclude")
