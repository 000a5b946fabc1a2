"""Files that declare more than they hold, and descriptions that lead elsewhere: each is an error in words, at once."""

import json
import struct
import zipfile
import zlib
from functools import partial
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg
from numpy.typing import NDArray

from vita_data.errors import EpisodeError, RequestError, SourceError
from vita_data.formats.encoded_frames import EncodedFrames, is_image
from vita_data.formats.json_text import ShallowJson, parse_json
from vita_data.formats.lerobot.meta import open_lerobot
from vita_data.formats.npz import parse_npy, read_members
from vita_data.formats.raw_tree.text_head import describe_text
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import list_parts, open_dataset
from vita_data.formats.rlds.record import _inflated
from vita_data.formats.rlds.tf_example import decode_feature, encode_example, index_example
from vita_data.formats.rlds.tfrecord import masked_crc32c, stream_records
from vita_data.image_header import excess
from vita_data.normalize.images import UndecodableFrameError, rgb_pixels, store_frame
from vita_data.types import JpegFrame, Json, ResizeMode

SIDE = 60_000


def png(side: int) -> bytes:
    header = struct.pack(">II5B", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg(side: int, *, kind: int = 0xC0) -> bytes:
    data = bytearray(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8), 90, "RGB", "420"))
    at = data.index(b"\xff\xc0")
    data[at + 1] = kind
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


IMAGES = {
    "png": png(SIDE),
    "jpeg": jpeg(SIDE),
    "progressive jpeg": jpeg(SIDE, kind=0xC2),
    "bmp": b"BM" + bytes(16) + struct.pack("<ii", SIDE, -SIDE) + bytes(40),
    "gif": b"GIF89a" + struct.pack("<HH", SIDE, SIDE) + bytes(40),
    "tiff": b"II*\x00" + struct.pack("<IHHHIIHHII", 8, 2, 256, 4, 1, SIDE, 257, 4, 1, SIDE) + bytes(40),
    "webp": b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + (SIDE).to_bytes(3, "little") * 2 + bytes(40),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_is_not_decoded_at_a_size_that_no_camera_has(kind: str) -> None:
    """Before, decoders asked for up to 12 GB."""
    data = IMAGES[kind]
    assert f"{SIDE}" in excess(data) or f"{SIDE + 1}" in excess(data)
    assert not is_image(data)
    (frame,) = EncodedFrames([data]).read([0], ResizeMode.PLAIN)
    with pytest.raises(UndecodableFrameError, match="pixels, expected at most"):
        store_frame(frame, resize=ResizeMode.PLAIN, quality=95)
    if kind.endswith("jpeg"):
        with pytest.raises(UndecodableFrameError, match="pixels, expected at most"):
            rgb_pixels(JpegFrame(data))


@pytest.mark.parametrize("hidden", [b"\xff", b"\xff\x01", b"\xff\xd0", b"\x00\x00", b"\xff\x00"])
def test_a_jpeg_cannot_hide_its_size(hidden: bytes) -> None:
    """A decoder skips these bytes; a reader that took them for a segment would find another header."""
    data = IMAGES["progressive jpeg"]
    at = data.index(b"\xff\xc2")
    assert excess(data[:at] + hidden + data[at:]) == "a JPEG without a frame header"


@pytest.mark.parametrize("kind", [0xC0, 0xC2, 0xC9, 0xCA])
def test_a_jpeg_of_endless_scans_is_not_decoded(kind: int) -> None:
    """An empty scan is valid with arithmetic coding (C9, CA) too: decoding 40 kB took minutes."""
    scans = b"\xff\xda\x00"
    for side, most in ((256, 100), (4096, 32)):
        data = jpeg(side, kind=kind)
        assert excess(data + scans * (most - 1)) == ""
        assert excess(data + scans * most) == f"a JPEG of {most + 1} scans, expected at most {most}"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
def test_the_size_in_the_header_is_that_of_the_image(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vita_data.image_header.MAX_IMAGE_PIXELS", 100)
    data = cv2.imencode(suffix, np.zeros((12, 34, 3), np.uint8))[1].tobytes()
    assert excess(data) == "an image of 34x12 pixels, expected at most 100"


def test_an_image_that_opencv_refuses_is_damaged_and_no_error() -> None:
    """It raises what it says of a width beyond its own limit, and returns nothing for other damage."""
    data = b"BM" + bytes(8) + struct.pack("<IIiiHH24x", 54, 40, 1 << 25, 1, 1, 24) + bytes(1000)
    assert excess(data) == ""
    assert not is_image(data)
    assert list(EncodedFrames([data]).read([0], ResizeMode.PLAIN)) == [JpegFrame(data)]


def test_other_formats_are_no_images_but_small_ones_of_known_formats_are() -> None:
    assert is_image(jpeg(16))
    assert excess(b"P6 60000 60000 255\n" + bytes(40)) == "neither JPEG, PNG, WebP, BMP, GIF nor TIFF"


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b"[" * 900 + b"]" * 900,
        '{"a":' * 70 + "1" + "}" * 70,
        b'{"fps": ' + b"9" * 400 + b"}",
        "9" * 100_000,
    ],
)
def test_json_has_limits(text: str | bytes) -> None:
    """Before, a RecursionError, or an integer that no float holds, ended the build with a traceback."""
    with pytest.raises(ValueError, match=r"nested more than 64|expected integers of at most 308|delimiter|column"):
        parse_json(text)


def test_json_is_what_it_was() -> None:
    value = {"a": [1, 2.5, None, True, "x" * 400, "9" * 400, {"b": [[[]]]}], "n": 10**300}
    assert parse_json(json.dumps(value)) == parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize("inner", ["", r"\\", r"\"", r"[[[{{{\\\"]", '", "[", "]]]]", "'])
def test_json_that_is_read_in_pieces_has_the_same_depth(size: int, inner: str) -> None:
    def read(depth: int) -> bytes:
        text = f'["{inner}", ["["], {{"]": "}}"}}]'
        for _ in range(depth - 2):
            text = f"[{text}]"
        assert parse_json(text) if depth <= 64 else True
        file, found = ShallowJson(BytesIO(text.encode())), b""
        while piece := file.read(size):
            found += piece
        assert found == text.encode()
        return found

    read(64)
    with pytest.raises(ValueError, match="nested more than 64 levels deep"):
        read(65)


def test_a_deep_message_of_a_server_is_no_message() -> None:
    assert describe_text(b'{"a":' + b"[" * 1900, is_whole=True, is_text_expected=True) is None


def npy(shape: tuple[int, ...], data: bytes = b"", dtype: str = "|u1") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize(
    "data",
    [npy((1 << 34,)), npy((1 << 62, 1 << 62)), npy((-1,)), npy((1,), b"12345678", "|O"), npy((1 << 40,), b"", "|V0")],
)
def test_an_array_has_the_bytes_that_it_declares(data: bytes) -> None:
    """Before, 16 GB were asked for, which was then called a lack of memory and ended the run."""
    with pytest.raises(ValueError, match=r"declares|expected numbers"):
        parse_npy(data)


@pytest.mark.parametrize(
    "array", [np.arange(6).reshape(2, 3), np.arange(6.0).reshape(2, 3).T, np.array(3.0), np.zeros((0, 3))]
)
def test_an_array_is_what_numpy_reads(array: NDArray[np.float64]) -> None:
    file = BytesIO()
    np.save(file, array)
    found = parse_npy(file.getvalue())
    np.testing.assert_array_equal(found, array, strict=True)
    assert found.flags.writeable


def test_a_member_that_expands_without_end_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("big.npy", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(bytes(1 << 20))
        archive.writestr("lzma.npy", npy((1,), b"1"), compress_type=zipfile.ZIP_LZMA)
    for key in ("big", "lzma"):
        with pytest.raises(EpisodeError, match=f"a: its array '{key}' cannot be read; the file is damaged"):
            read_members(str(tmp_path / "a.npz"), [key], name="a")


def test_a_tensor_that_expands_without_end_is_not_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vita_data.formats.rlds.record.MAX_ARRAY_BYTES", 1000)
    assert _inflated(zlib.compress(bytes(1000))) == bytes(1000)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        _inflated(zlib.compress(bytes(1001)))


@pytest.mark.parametrize(("length", "told"), [(1 << 40, "4194304"), (3 << 20, "expected at most 2097152")])
def test_a_record_is_as_long_as_it_declares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, told: str
) -> None:
    """The sum of the length is right, as a stranger can make it."""
    monkeypatch.setattr("vita_data.formats.rlds.tfrecord._READ_BYTES", 1 << 20)
    monkeypatch.setattr("vita_data.formats.rlds.tfrecord.MAX_RECORD_BYTES", 2 << 20)
    head = struct.pack("<Q", length)
    (tmp_path / "x").write_bytes(head + struct.pack("<I", masked_crc32c(head)) + bytes(4 << 20))
    with pytest.raises(SourceError, match=told):
        list(stream_records(partial(open, tmp_path / "x", "rb"), name="x"))


def test_a_record_has_limits_of_fields_and_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = encode_example({"x": [b"a", b"b", b"c"]})
    numbers = encode_example({"x": np.array([1000, 1000])})
    monkeypatch.setattr("vita_data.formats.rlds.tf_example.MAX_RECORD_FIELDS", 2)
    monkeypatch.setattr("vita_data.formats.rlds.tf_example.MAX_VARINT_BYTES", 3)
    with pytest.raises(ValueError, match="more than 2 fields in one message"):
        decode_feature(index_example(texts)["x"])
    with pytest.raises(ValueError, match="a list of integers of 4 bytes, expected at most 3"):
        decode_feature(index_example(numbers)["x"])


def rlds(root: Path, lengths: list[str], *, template: str = "") -> FsspecTree:
    folder = root / "bridge/1.0.0"
    folder.mkdir(parents=True)
    split = {"name": "train", "shardLengths": lengths, "filepathTemplate": template}
    (folder / "dataset_info.json").write_text(json.dumps({"name": "bridge", "splits": [split]}))
    (folder / "features.json").write_text('{"pythonClassName": "x", "featuresDict": {"features": {}}}')
    (folder / "bridge-train.tfrecord-00000-of-00001").write_bytes(bytes(100))
    return FsspecTree(str(root))


def test_shard_lengths_are_compared_with_the_files(tmp_path: Path) -> None:
    """Before, each record that is not there became a failed episode: 10 million of them, in memory."""
    raw = rlds(tmp_path, ["9000000"])
    with pytest.raises(RequestError, match=r"lists 9000000 records for .*, whose 100 bytes hold at most 6"):
        list_parts(raw, open_dataset(raw, "bridge/1.0.0"))


@pytest.mark.parametrize("lengths", [["9" * 5000], ["10000001"], ["1"] * 100_001])
def test_shard_lengths_are_counts_of_records(tmp_path: Path, lengths: list[str]) -> None:
    """Before, 5000 digits ended the build with a traceback."""
    with pytest.raises(SourceError, match="expected a list of counts as shardLengths, got"):
        open_dataset(rlds(tmp_path, lengths), "bridge/1.0.0")


def test_a_template_of_files_stays_in_its_folder(tmp_path: Path) -> None:
    raw = rlds(tmp_path, ["1"], template="../../x-{SHARD_X_OF_Y}")
    with pytest.raises(SourceError, match="expected a path in the release's folder"):
        open_dataset(raw, "bridge/1.0.0")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/{episode_index}",
        "../x/{episode_index}",
        "{episode_index:999999999d}",
        "{episode_index:{episode_chunk}d}",
        "{episode_index.__class__}",
        "{episode_index!r}",
        "{episode_index",
    ],
)
@pytest.mark.parametrize("key", ["data_path", "video_path"])
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_paths_of_a_lerobot_dataset_stay_in_it_and_are_short(tmp_path: Path, path: str, key: str, version: str) -> None:
    """Before, a width made a path of a gigabyte, and other files of the machine were read."""
    with pytest.raises(SourceError, match=key if "}" in path else "expected '}'"):
        open_lerobot(lerobot(tmp_path, {"codebase_version": version, key: path}), "")


@pytest.mark.parametrize("camera", ["../../x", "..", "/etc", "x" * 2000, "a\0b"])
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_names_of_cameras_do_not_lead_out_of_a_lerobot_dataset(tmp_path: Path, camera: str, version: str) -> None:
    """Before, the name of a feature became part of the path as it was."""
    raw = lerobot(tmp_path, {"codebase_version": version, "features": {camera: {"dtype": "video"}}})
    with pytest.raises(SourceError, match="leads out of the dataset; only files inside it are read"):
        open_lerobot(raw, "")


def lerobot(root: Path, info: Json) -> FsspecTree:
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    features = {"camera": {"dtype": "video"}}
    default = {"fps": 10, "chunks_size": 1000, "features": features, "data_path": "x", "video_path": "{video_key}/x"}
    (root / "meta/info.json").write_text(json.dumps({**default, **info}))
    row: Json = {"episode_index": 0, "length": 1, "tasks": ["x"]}
    (root / "meta/episodes.jsonl").write_text(f"{json.dumps(row)}\n")
    row |= {"dataset_from_index": 0, "dataset_to_index": 1, "data/chunk_index": 0, "data/file_index": 0}
    for key in {**default, **info}["features"]:
        row |= {f"videos/{key}/{name}": 0 for name in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")}
    pq.write_table(pa.Table.from_pylist([row]), root / "meta/episodes/chunk-000/file-000.parquet")
    return FsspecTree(str(root))
