"""What lies where data is expected is named, and "fetch it again" is said only where that helps."""

import bz2
import gzip
import io
import json
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.raw_trees import APPLE_DOUBLE, LFS_POINTER
from vita_data.errors import EpisodeError, RequestError, SourceError, VitaDataError
from vita_data.formats.hdf5.opener import open_hdf5
from vita_data.formats.hdf5.rows import DatasetRows
from vita_data.formats.lerobot.dataset import read_table
from vita_data.formats.lerobot.episode import LeRobotEpisode
from vita_data.formats.lerobot.meta import open_lerobot
from vita_data.formats.npz import read_members, read_npy, read_pickled
from vita_data.formats.raw_tree.file_head import look, unreadable, unreadable_text
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import open_dataset
from vita_data.formats.rlds.tfrecord import read_records, stream_records, write_records
from vita_data.formats.video.stream import scan_video
from vita_data.normalize.images import UndecodableFrameError, is_storable
from vita_data.sources import load
from vita_data.sources._shared.robomind.text import INSTRUCTION_LIST, check_texts
from vita_data.sources.ego4d.json_files import load_json, parse_metadata
from vita_data.types import ResizeMode

DATA = bytes(range(256)) * 40
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in &amp; accept</title></head><body>...</body></html>"
S3_ERROR = b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
HUB_ERROR = json.dumps({"error": "Access to dataset x is restricted"}).encode()


def archived(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("x.bin", DATA)
    else:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            info = tarfile.TarInfo("x.bin")
            info.size = len(DATA)
            tar.addfile(info, io.BytesIO(DATA))
    return buffer.getvalue()


HEADS: dict[str, tuple[bytes, str, str]] = {
    "lfs": (LFS_POINTER, "a Git LFS pointer, not the data", "run `git lfs pull`"),
    "lfs from windows": (LFS_POINTER.replace(b"\n", b"\r\n"), "Git LFS pointer", "git lfs pull"),
    "annex": (b"/annex/objects/MD5E-s151234--0a1b.hdf5\n", "a git-annex pointer", "run `git annex get`"),
    "annex link": (b"../.git/annex/objects/XX/yy/MD5E-s1--0a1b.hdf5", "a git-annex pointer", "run `git annex get`"),
    "page": (PAGE, 'a web page that says "Sign in &amp; accept"', "fetch the file again, logged in"),
    "page, odd": (b"\xef\xbb\xbf<!-- x --><HTML lang=en><title>404\n x</title>", 'that says "404 x"', "fetch"),
    "xml": (S3_ERROR, 'an XML message that says "AccessDenied Request has expired"', "fetch the file again, logged in"),
    "json error": (HUB_ERROR, 'server\'s error message that says "Access to dataset x is restricted"', "logged in"),
    "text": (b"Entry not found", 'a short text that says "Entry not found"', "fetch the file again"),
    "gzip": (gzip.compress(DATA), "compressed with gzip", "decompress it with gunzip"),
    "xz": (lzma.compress(DATA), "compressed with xz", "decompress it with unxz"),
    "bzip2": (bz2.compress(DATA), "compressed with bzip2", "decompress it with bunzip2"),
    "zstd": (pa.compress(DATA, codec="zstd", asbytes=True), "compressed with Zstandard", "decompress it with unzstd"),
    "lz4": (pa.compress(DATA, codec="lz4", asbytes=True), "compressed with LZ4", "decompress it with unlz4"),
    "zip": (archived("zip"), "a zip archive", "unpack it with unzip"),
    "tar": (archived("tar"), "a tar archive", "unpack it with tar -xf"),
    "jpeg": (b"\xff\xd8\xff\xe0" + DATA, "a JPEG image", "replace it with the right file"),
    "companion": (APPLE_DOUBLE, "macOS metadata (AppleDouble), not the data", "remove it"),
    "empty": (b"", r"empty (0 bytes)", "fetch the file again"),
    "zeros": (bytes(100), "all zeros: its space was reserved", "fetch the file again"),
    "many zeros": (bytes(1 << 20), "zeros for its first 4096 bytes", "fetch the file again"),
}


@pytest.mark.parametrize("head", HEADS)
def test_what_lies_in_place_of_the_data_is_named(head: str, tmp_path: Path) -> None:
    data, what, advice = HEADS[head]
    path = tmp_path / "x.hdf5"
    path.write_bytes(data)
    for file in (data, str(path), io.BytesIO(data), lambda: io.BytesIO(data)):
        said = unreadable(file, name="x.hdf5", reason="broken", own={"hdf5"})
        assert what in said
        assert advice in said
        assert "broken" not in said
        assert ("fetch" in said) == ("fetch" in advice or "logged" in advice)


@pytest.mark.parametrize(
    ("data", "own"),
    [
        (b"\x89HDF\r\n\x1a\n" + DATA, "hdf5"),
        (archived("zip"), "zip"),
        (b"\x93NUMPY\x01\x00", "npy"),
        (b"PAR1" + DATA, "parquet"),
        (b"\x1aE\xdf\xa3" + DATA, "video"),
        (b"\x00\x00\x00\x18ftypmp42" + DATA, "video"),
        (b'{"name": "x", "splits": [', "text"),
        (b'{"error": "a field", "name": "of a real file"}', "text"),
        (DATA, "hdf5"),
        (b"text " * 1000, "hdf5"),
    ],
)
def test_a_file_that_begins_as_it_should_is_what_its_reader_says(data: bytes, own: str) -> None:
    assert unreadable(data, name="x", reason="cut short", own={own}) == "(cut short); fetch the file again"


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("x.hdf5.part", ""),
        ("x.hdf5.crdownload", ""),
        ("x.hdf5.incomplete", ""),
        ("x.hdf5_.gstmp", ""),
        ("x.hdf5", "x.hdf5.aria2"),
        ("x.hdf5", "x.hdf5.part"),
        ("x.hdf5", "x.hdf5_.gstmp"),
    ],
)
@pytest.mark.parametrize("data", [b"", bytes(5000), b"\x89HDF\r\n\x1a\n" + DATA])
def test_an_unfinished_download_is_told_by_its_name_or_by_what_lies_beside_it(
    name: str, beside: str, data: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    if beside:
        (tmp_path / beside).write_bytes(b"state")
    found = look(str(tmp_path / name), name=f"folder/{name}", own={"hdf5"})
    assert found is not None
    assert found.what.startswith("an unfinished download")
    assert beside in found.what
    assert "wait until the download ends" in found.advice


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("../.git/annex/objects/Xk/9q/MD5E-s1--0a.bin/MD5E-s1--0a.bin", "git-annex.*; run `git annex get`"),
        (f"../../blobs/{'0a' * 32}", "Hugging Face.*; download it again"),
        ("elsewhere/x.bin", "a broken link.*; restore its target"),
    ],
)
def test_a_link_to_nothing_is_told_by_where_it_leads_however_the_file_is_opened(
    target: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "x.bin").symlink_to(target)
    tree = FsspecTree(str(tmp_path))
    assert re.search(told, unreadable(str(tmp_path / "x.bin"), name="x.bin", reason="broken"))
    assert re.search(told, unreadable_text(tree, "x.bin", reason="broken"))
    with pytest.raises(SourceError, match=rf"^x\.bin: cannot be read .*{told}") as caught:
        list(stream_records(lambda: tree.open("x.bin"), name="x.bin"))
    assert "fetch the file again" not in str(caught.value)


def test_a_file_that_is_still_being_fetched_under_another_name_is_no_missing_one(tmp_path: Path) -> None:
    (tmp_path / "x.bin.crdownload").touch()
    with pytest.raises(
        SourceError, match=r"an unfinished download \(x\.bin\.crdownload is beside it\)\); wait until the"
    ):
        list(read_records(str(tmp_path / "x.bin"), name="x.bin"))


def test_what_is_not_there_or_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "self").symlink_to("self")
    for name, what in (("none", "does not exist"), ("link", "a broken link"), ("self", "a broken link")):
        assert what in unreadable(str(tmp_path / name), name=name, reason="x")
    assert "a folder, not a file" in unreadable(str(tmp_path), name="x", reason="x")


# --------------------------------------------------------------------------------------------- every opener asks


def read_jpeg_folder(path: Path) -> None:
    root = path.parents[2]
    (root / "labels").mkdir()
    for split in ("train", "validation"):
        items = [{"id": "1", "label": "moving a cup away"}] if split == "train" else []
        (root / "labels" / f"{split}.json").write_text(json.dumps(items))
    source, tree = load("ssv2"), FsspecTree(str(root))
    (part,) = source.parts(tree, source.Settings())
    (episode,) = source.episodes(tree, part, source.Settings())
    (camera,) = episode.cameras.values()  # type: ignore[union-attr]
    list(camera.read([0], ResizeMode.PLAIN))


def read_parquet(path: Path) -> None:
    episode = LeRobotEpisode(index=0, num_steps=3, texts=("",), meta={}, table=path.name, videos={})
    read_table(FsspecTree(str(path.parent)), episode)


def read_features(path: Path) -> None:
    (path.parent / "dataset_info.json").write_text('{"name": "n", "splits": []}')
    open_dataset(FsspecTree(str(path.parents[2])), "n/1.0.0")


def read_lines(path: Path) -> None:
    info = {"codebase_version": "v2.1", "fps": 30, "chunks_size": 1000, "data_path": "a.parquet", "features": {}}
    (path.parent / "info.json").write_text(json.dumps(info))
    open_lerobot(FsspecTree(str(path.parents[1])), "")


def read_labels(path: Path) -> None:
    load("ssv2").parts(FsspecTree(str(path.parents[1])), load("ssv2").Settings())


OPENERS: dict[str, tuple[str, Callable[[Path], object], type[VitaDataError]]] = {
    "hdf5": ("x.hdf5", lambda path: open_hdf5(str(path), name="x.hdf5").__enter__(), SourceError),
    "hdf5 of a file": (
        "x.h5",
        lambda path: open_hdf5(io.BytesIO(path.read_bytes()), name="x").__enter__(),
        SourceError,
    ),
    "tfrecord": ("x-00000-of-00001", lambda path: list(read_records(str(path), name="x")), SourceError),
    "npz": ("x.npz", lambda path: read_members(str(path), ["a"], name="x"), EpisodeError),
    "npy": ("x.npy", lambda path: read_npy(str(path), name="x"), SourceError),
    "pickle": ("p.npy", lambda path: read_pickled(str(path), name="x"), SourceError),
    "video": ("x.mp4", lambda path: scan_video(str(path), name="x.mp4"), EpisodeError),
    "parquet": ("x.parquet", read_parquet, EpisodeError),
    "jpeg folder": ("20bn-something-something-v2/1/img_00001.jpg", read_jpeg_folder, EpisodeError),
    "tfds info": (
        "n/1.0.0/dataset_info.json",
        lambda path: open_dataset(FsspecTree(str(path.parents[2])), "n/1.0.0"),
        SourceError,
    ),
    "tfds features": ("n/1.0.0/features.json", read_features, SourceError),
    "lerobot info": ("meta/info.json", lambda path: open_lerobot(FsspecTree(str(path.parents[1])), ""), SourceError),
    "lerobot episodes": ("meta/episodes.jsonl", read_lines, SourceError),
    "ego4d": (
        "ego4d.json",
        lambda path: load_json(FsspecTree(str(path.parent)), "ego4d.json", parse_metadata),
        RequestError,
    ),
    "ssv2 labels": ("labels/train.json", read_labels, RequestError),
    "robomind": (INSTRUCTION_LIST, lambda path: check_texts(FsspecTree(str(path.parent)), []), RequestError),
}


@pytest.mark.parametrize("head", ["lfs", "page", "xml", "json error", "gzip", "tar"])
@pytest.mark.parametrize("opener", OPENERS)
def test_every_opener_names_what_it_cannot_read(opener: str, head: str, tmp_path: Path) -> None:
    name, read, kind = OPENERS[opener]
    data, what, advice = HEADS[head]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    with pytest.raises(kind) as said:
        read(path)
    assert what in str(said.value)
    assert advice in str(said.value)
    assert "damaged" not in str(said.value)


@pytest.mark.parametrize("head", ["empty", "zeros", "many zeros"])
@pytest.mark.parametrize("opener", [name for name in OPENERS if name not in ("jpeg folder", "tfrecord")])
def test_every_opener_names_a_file_without_content(opener: str, head: str, tmp_path: Path) -> None:
    test_every_opener_names_what_it_cannot_read(opener, head, tmp_path)


def test_rows_that_are_not_downloaded_yet_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", data=np.ones((9, 8), np.uint8), chunks=(3, 8), compression="gzip")
        rows, chunk = DatasetRows(images, name="x.hdf5"), images.id.get_chunk_info(1)
    data = path.read_bytes()
    path.write_bytes(data[: chunk.byte_offset] + bytes(chunk.size) + data[chunk.byte_offset + chunk.size :])
    for beside, what in ((None, r"\(the file is damaged\); fetch"), ("x.hdf5.aria2", r"\(an unfinished download")):
        if beside:
            (tmp_path / beside).touch()
        with pytest.raises(EpisodeError, match=rf"^x\.hdf5: /images cannot be read {what}"):
            list(rows.read(range(9)))


def test_a_record_that_is_damaged_in_a_whole_tfrecord_file_is_damage(tmp_path: Path) -> None:
    write_records(tmp_path / "x", [b"1" * 50, b"2" * 50])
    data = (tmp_path / "x").read_bytes()
    for place in (3, 20, len(data) - 3):
        (tmp_path / "x").write_bytes(data[:place] + b"\xfe" + data[place + 1 :])
        with pytest.raises(SourceError, match=r"record [01].*is damaged: its crc is .*; fetch the file again"):
            list(read_records(str(tmp_path / "x"), name="x"))


def test_a_frame_that_is_no_image_is_named_in_its_drop() -> None:
    with pytest.raises(UndecodableFrameError, match=r"no JPEG start and end marker \(a Git LFS pointer"):
        is_storable(LFS_POINTER)


def test_whole_files_are_read(tmp_path: Path) -> None:
    """What the openers above refuse is refused for its content."""
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["data/demo_0/actions"] = np.zeros((5, 7))
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    pq.write_table(pa.table({"a": [1, 2, 3]}), tmp_path / "x.parquet")
    OPENERS["hdf5"][1](tmp_path / "x.hdf5")
    OPENERS["npz"][1](tmp_path / "x.npz")
    OPENERS["parquet"][1](tmp_path / "x.parquet")
