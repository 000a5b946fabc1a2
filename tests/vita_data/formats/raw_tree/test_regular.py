"""Pipes, sockets and devices in a raw tree, and paths that lead out of it: refused in words instead of opened."""

import os
import pickle
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from vita_data.errors import SourceError
from vita_data.formats.raw_tree.file_head import unreadable
from vita_data.formats.raw_tree.regular import NotReadError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.files import ShardNames
from vita_data.formats.rlds.tfrecord import stream_records


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "what"), [(make_pipe, "a named pipe"), (make_socket, "a socket"), (link_to_a_device, "a device")]
)
def test_what_is_no_file_is_not_opened(tmp_path: Path, make: Callable[[Path], None], what: str) -> None:
    """Before, a pipe was waited for, and a device was read until memory was full."""
    make(tmp_path / "x")
    raw = FsspecTree(str(tmp_path))
    for read in (raw.read_bytes, raw.open, raw.local_path):
        with pytest.raises(SourceError, match=f"^x: {what}, not a file; replace it with the right file$"):
            read("x")
    assert unreadable(partial(raw.open, "x"), name="x", reason="?").startswith(f"({what}, not a file); replace it")
    assert unreadable(str(tmp_path / "x"), name="x", reason="?").startswith(f"({what}, not a file); replace it")
    with pytest.raises(SourceError, match=rf"x: cannot be read \({what}, not a file\)"):
        list(stream_records(partial(raw.open, "x"), name="x"))


@pytest.mark.parametrize("path", ["/etc/hostname", "../../x", "a/../../x", "../a/../../x", "a\0b", "n" * 5000])
def test_paths_outside_the_tree_do_not_exist(tmp_path: Path, path: str) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "x").write_bytes(b"outside")
    raw = FsspecTree(str(tmp_path / "raw"))

    assert not raw.exists(path)
    assert not raw.is_dangling(path)
    for read in (raw.read_bytes, raw.open):
        with pytest.raises(OSError, match=r"outside --raw|too long"):
            read(path)


def test_a_file_that_is_read_as_a_whole_has_a_greatest_size(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SourceError, match=r"^x: too large"):
        FsspecTree(str(tmp_path)).read_bytes("x")


def test_the_error_survives_the_way_back_from_a_worker() -> None:
    found = pickle.loads(pickle.dumps(NotReadError("x: a pipe; remove it", what="a pipe", advice="remove it")))
    assert (str(found), found.what, found.advice) == ("x: a pipe; remove it", "a pipe", "remove it")


@pytest.mark.parametrize(
    "template", ["../../{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}", "/etc/x-{SHARD_INDEX}", "a\0", "a" * 3000]
)
def test_a_template_names_files_of_its_own_folder(template: str) -> None:
    with pytest.raises(ValueError, match="expected a path in the release's folder, got "):
        ShardNames.of(template, folder="bridge/1.0.0", dataset="bridge", split="train")
