"""A shard appears whole or not at all, and an episode that is given up half-way leaves nothing in it."""

import dataclasses
import errno
from pathlib import Path

import pytest

from vita_data.errors import EpisodeError, StorageError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.normalize import FrameSelection, normalize
from vita_data.shards.writer import ShardWriter
from vita_data.sources import load
from vita_data.types import Clip, Episode


@pytest.fixture(scope="module")
def clips(toy_raw: Path) -> list[Clip]:
    source, found = load("libero"), []
    settings = source.Settings()
    with FsspecTree(str(toy_raw / "libero")) as raw:
        part = source.parts(raw, settings)[0]
        for outcome in source.episodes(raw, part, settings):
            assert isinstance(outcome, Episode)
            made = normalize(outcome, source.INFO, settings, FrameSelection.KEYFRAMES)
            assert isinstance(made, tuple)
            found += made
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_taken_back_was_never_there(clips: list[Clip], tmp_path: Path) -> None:
    first, second, third, fourth = clips
    with ShardWriter(tmp_path / "plain" / "a.tar") as plain:
        plain.add(first)
        plain.add(fourth)
    with ShardWriter(tmp_path / "mended" / "a.tar") as mended:
        empty = mended.mark()
        mended.add(second)
        mended.take_back(empty)
        mended.add(first)
        mark = mended.mark()
        mended.take_back(mark)
        mended.add(second)
        mended.add(third)
        mended.take_back(mark)
        mended.add(fourth)

    assert files(tmp_path / "mended") == files(tmp_path / "plain")
    assert mended.summary == plain.summary


def test_half_a_clip_can_be_taken_back(clips: list[Clip], tmp_path: Path) -> None:
    """Images are fetched while they are written: one that is gone leaves the members before it."""

    class Lost:
        def read(self) -> bytes:
            raise EpisodeError("gone")

    role = next(iter(clips[1].frames))
    *kept, last = clips[1].frames[role]
    lost = dataclasses.replace(last, data=Lost())  # type: ignore[arg-type]
    broken = dataclasses.replace(clips[1], frames={**clips[1].frames, role: (*kept, lost)})
    with ShardWriter(tmp_path / "mended" / "a.tar") as mended:
        mended.add(clips[0])
        mark = mended.mark()
        with pytest.raises(EpisodeError):
            mended.add(broken)
        mended.take_back(mark)
        mended.add(clips[2])
    with ShardWriter(tmp_path / "plain" / "a.tar") as plain:
        plain.add(clips[0])
        plain.add(clips[2])

    assert files(tmp_path / "mended") == files(tmp_path / "plain")
    assert mended.summary == plain.summary


def test_a_shard_whose_clips_were_all_taken_back_writes_no_file(clips: list[Clip], tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a.tar") as writer:
        mark = writer.mark()
        writer.add(clips[0])
        writer.take_back(mark)

    assert writer.summary is None
    assert files(tmp_path) == {}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_inside_the_block_leaves_no_file(
    clips: list[Clip], tmp_path: Path, error: type[BaseException]
) -> None:
    writer = ShardWriter(tmp_path / "a.tar")

    def fail() -> None:
        with writer:
            writer.add(clips[0])
            raise error

    with pytest.raises(error):
        fail()
    assert writer.summary is None
    assert files(tmp_path) == {}


def test_a_disk_that_fills_at_the_end_commits_nothing(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last bytes are refused when the file is synced: no shard, no index, no temporary file."""

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises((OSError, StorageError), match="No space left"), ShardWriter(tmp_path / "a.tar") as writer:
        writer.add(clips[0])

    assert writer.summary is None
    assert files(tmp_path) == {}


def test_nothing_stands_under_its_final_name_before_the_end(clips: list[Clip], tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a.tar") as writer:
        for clip in clips:
            writer.add(clip)
            assert not [name for name in files(tmp_path) if not name.startswith(".")]

    assert sorted(files(tmp_path)) == ["a.arrow", "a.tar"]
    assert writer.summary is not None
    assert writer.summary.num_bytes == (tmp_path / "a.tar").stat().st_size
    assert writer.summary.num_clips == len(clips)
