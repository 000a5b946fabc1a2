"""Our TFRecord, Example and features.json readers against tensorflow-datasets, and on damaged files."""

import json
import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vita_data.errors import EpisodeError, RequestError, SourceError
from vita_data.formats.encoded_frames import EncodedFrames
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import list_parts, open_dataset, pick_release, read_outcomes, read_shard
from vita_data.formats.rlds.features import FeatureKind, FeatureSpec, TensorEncoding, parse_features
from vita_data.formats.rlds.files import RldsSettings
from vita_data.formats.rlds.tf_example import decode_feature, encode_example, index_example
from vita_data.formats.rlds.tfrecord import masked_crc32c, read_records, write_records
from vita_data.formats.rlds.write import RldsValues, write_rlds
from vita_data.types import Drop, Failure, JpegFrame, Reason, ResizeMode, RgbFrame, Split

RELEASE = "robot/1.2.0"
FEATURES = {
    "steps/action": FeatureSpec(shape=(7,), num_levels=1),
    "steps/observation/bounds": FeatureSpec(shape=(3, 3), num_levels=1),
    "steps/observation/tool/pose": FeatureSpec(shape=(7,), num_levels=1, encoding=TensorEncoding.ZLIB),
    "steps/observation/closed": FeatureSpec(shape=(1,), num_levels=1, encoding=TensorEncoding.BYTES, dtype="float64"),
    "steps/is_last": FeatureSpec(dtype="bool", num_levels=1),
    "steps/count": FeatureSpec(dtype="int32", num_levels=1),
    "steps/text": FeatureSpec(kind=FeatureKind.TEXT, dtype="string", num_levels=1),
    "steps/image": FeatureSpec(kind=FeatureKind.IMAGE, dtype="uint8", shape=(None, None, 3), num_levels=1),
    "success": FeatureSpec(dtype="bool"),
    "goal": FeatureSpec(shape=(2,)),
}
TRAIN = RldsSettings(splits=("train",))
REAL_DATA = "VITA_REAL_DATA"


@pytest.fixture(scope="module")
def tfds() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets
    return tensorflow_datasets


def make_record(num_steps: int, seed: int = 0) -> RldsValues:
    rng = np.random.default_rng(seed)
    return {
        "steps/action": rng.normal(size=(num_steps, 7)),
        "steps/observation/bounds": rng.normal(size=(num_steps, 3, 3)),
        "steps/observation/tool/pose": rng.normal(size=(num_steps, 7)),
        "steps/observation/closed": rng.normal(size=(num_steps, 1)),
        "steps/is_last": np.arange(num_steps) == num_steps - 1,
        "steps/count": rng.integers(-(2**31), 2**31, num_steps),
        "steps/text": ["schließe die Tür".encode()] * num_steps,
        "steps/image": [b"\xff\xd8\xff" + bytes([step]) for step in range(num_steps)],
        "success": np.array(True),
        "goal": np.array([1.5, -2.0]),
    }


def write_tree(root: Path) -> FsspecTree:
    splits = {"train": [[make_record(5, 1), make_record(3, 2)], [make_record(4, 3)]], "test": [[make_record(2, 4)]]}
    write_rlds(str(root), release=RELEASE, features=FEATURES, splits=splits)
    return FsspecTree(str(root))


@pytest.fixture
def tree(tmp_path: Path) -> FsspecTree:
    return write_tree(tmp_path)


def shard_file(tree: FsspecTree, index: int = 0) -> Path:
    return Path(tree.root) / RELEASE / f"robot-train.tfrecord-{index:05d}-of-00002"


def first_record(tree: FsspecTree):
    dataset = open_dataset(tree, RELEASE)
    return next(read_shard(tree, dataset, list_parts(tree, dataset)[1].id))


def test_a_description_is_read_once_for_a_tree_and_its_settings(tmp_path: Path):
    """Each of the files that it lists needs it; reading 100,000 entries again for each took hours."""
    opened: list[str] = []
    tree = FsspecTree(write_tree(tmp_path).root, on_open=opened.append)
    for _ in range(3):
        assert {shard.split for shard in open_dataset(tree, RELEASE).shards} == {Split.TRAIN, Split.VAL}
        assert {shard.split for shard in open_dataset(tree, RELEASE, TRAIN).shards} == {Split.TRAIN}
    assert opened == [f"{RELEASE}/dataset_info.json", f"{RELEASE}/features.json"] * 2


# ------------------------------------------------------------------------------------------------- tfrecord


def test_masked_crc_matches_a_published_value():
    # RFC 3720 B.4: crc32c of 32 zero bytes is 0x8a9136aa; the mask is ((crc >> 15) | (crc << 17)) + 0xa282ead8.
    crc = 0x8A9136AA
    expected = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    assert masked_crc32c(bytes(32)) == expected


def test_records_come_back_as_written(tmp_path: Path):
    records = [b"", b"one", bytes(100_000)]
    write_records(tmp_path / "f", records)
    assert list(read_records(str(tmp_path / "f"), name="f")) == records


@pytest.mark.parametrize(("offset", "part"), [(0, "length"), (8, "length"), (12, "data"), (17, "data")])
def test_a_flipped_bit_names_file_record_and_sum(tmp_path: Path, offset: int, part: str):
    write_records(tmp_path / "f", [b"first", b"other"])
    damaged = bytearray((tmp_path / "f").read_bytes())
    damaged[len(damaged) // 2 + offset] ^= 4
    (tmp_path / "f").write_bytes(damaged)
    found: list[bytes] = []
    with pytest.raises(SourceError, match=f"robot-x record 1: {part} is damaged: its crc is 0x"):
        found.extend(read_records(str(tmp_path / "f"), name="robot-x"))
    reader = read_records(str(tmp_path / "f"), name="robot-x")
    assert next(reader) == b"first"


@pytest.mark.parametrize("kept", [1, 11, 12, 13, 20])
def test_every_truncation_is_an_error_after_the_good_records(tmp_path: Path, kept: int):
    write_records(tmp_path / "f", [b"first", b"other"])
    whole = (tmp_path / "f").read_bytes()
    (tmp_path / "f").write_bytes(whole[: len(whole) // 2 + kept])
    reader = read_records(str(tmp_path / "f"), name="robot-x")
    assert next(reader) == b"first"
    with pytest.raises(SourceError, match=r"robot-x record 1: truncated, (header|data) has \d+ of \d+ bytes"):
        next(reader)


def test_a_giant_length_with_a_right_sum_reads_no_more_than_the_file(tmp_path: Path):
    length = struct.pack("<Q", 1 << 33)
    (tmp_path / "f").write_bytes(length + struct.pack("<I", masked_crc32c(length)) + b"abc")
    with pytest.raises(SourceError, match=r"record 0: truncated, data has 3 of \d+"):
        next(read_records(str(tmp_path / "f"), name="f"))


def test_a_missing_file_is_a_source_error(tmp_path: Path):
    with pytest.raises(SourceError, match="robot-x: cannot be read"):
        next(read_records(str(tmp_path / "absent"), name="robot-x"))


# ------------------------------------------------------------------------------------------------ tf.train.Example


@settings(deadline=None)
@given(
    ints=st.lists(st.integers(-(2**63), 2**63 - 1)),
    small=st.lists(st.integers(0, 1)),
    floats=st.lists(st.floats(width=32, allow_nan=False)),
    blobs=st.lists(st.binary(max_size=300)),
)
def test_examples_agree_with_protobuf_both_ways(ints, small, floats, blobs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorflow_datasets.proto import tf_example_pb2
    message = tf_example_pb2.Example()
    message.features.feature["ints"].int64_list.value.extend(ints)
    message.features.feature["small"].int64_list.value.extend(small)
    message.features.feature["floats"].float_list.value.extend(floats)
    message.features.feature["blobs"].bytes_list.value.extend(blobs)
    decoded = {name: decode_feature(view) for name, view in index_example(message.SerializeToString()).items()}
    assert list(decoded["ints"]) == ints
    assert list(decoded["small"]) == small
    assert list(decoded["floats"]) == floats
    assert list(decoded["blobs"]) == blobs
    ours = {"ints": np.array(ints, np.int64), "small": np.array(small, bool), "floats": np.array(floats, np.float32)}
    assert tf_example_pb2.Example.FromString(encode_example(ours | {"blobs": blobs})) == message


def test_unpacked_lists_are_read_like_packed_ones():
    floats = b"".join(b"\x0d" + struct.pack("<f", value) for value in (1.0, 2.5))
    ints = b"\x08\x03\x08\xac\x02"
    assert list(decode_feature(memoryview(b"\x12" + bytes([len(floats)]) + floats))) == [1.0, 2.5]
    assert list(decode_feature(memoryview(b"\x1a" + bytes([len(ints)]) + ints))) == [3, 300]


def test_byte_strings_of_any_length_come_whole_one_by_one_or_all_at_once():
    blobs = [bytes([number]) * size for number, size in enumerate((0, 127, 128, 16383, 16384))]
    decoded = decode_feature(index_example(encode_example({"blobs": blobs}))["blobs"])
    assert list(decoded) == [decoded[number] for number in range(5)] == blobs
    assert list(decoded[1:-1]) == blobs[1:-1]


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_give_values_or_a_value_error(data: bytes):
    try:
        for message in index_example(data).values():
            decode_feature(message)
    except ValueError:
        pass


# --------------------------------------------------------------------------------------------------- features.json


def test_written_features_parse_back(tree: FsspecTree):
    assert parse_features(tree.read_bytes(f"{RELEASE}/features.json")) == FEATURES


def assert_same(ours: object, theirs: object, path: str) -> None:
    if isinstance(ours, Sequence):
        assert list(ours) == list(np.atleast_1d(np.asarray(theirs, object))), path
        return
    np.testing.assert_array_equal(ours, np.asarray(theirs), err_msg=path)
    assert ours.shape == np.shape(theirs), path


def read(record, path: str, spec: FeatureSpec) -> object:
    if spec.kind is not FeatureKind.TENSOR or spec.encoding is not TensorEncoding.NONE:
        return record.byte_strings(path)
    return record.floats(path) if spec.dtype.startswith("float") else record.ints(path)


def check_against_tfds(tfds: ModuleType, tree: FsspecTree, release: str) -> int:
    """Compare every value of every record with tfds's parse of the same bytes; images and encoded tensors as stored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        builder = tfds.builder_from_directory(tree.local_path(release))
        specs = builder.info.features
    dataset = open_dataset(tree, release)
    num_records = 0
    for shard in dataset.shards:
        raws = read_records(tree.local_path(shard.path), name=shard.path)
        for raw, record in zip(raws, read_shard(tree, dataset, shard.path), strict=True):
            theirs = flatten(specs._example_parser_np.parse_example(raw))
            assert theirs.keys() == dataset.features.keys()
            for path, spec in dataset.features.items():
                assert_same(read(record, path, spec), theirs[path], path)
            num_records += 1
    assert num_records == sum(split.num_examples for split in builder.info.splits.values())
    return num_records


def flatten(tree: dict[str, object], path: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in tree.items():
        key = f"{path}/{name}" if path else name
        flat |= flatten(value, key) if isinstance(value, dict) else {key: value}
    return flat


def test_every_value_agrees_with_tfds(tfds: ModuleType, tree: FsspecTree):
    assert check_against_tfds(tfds, tree, RELEASE) == 4


def test_encoded_tensors_agree_with_tfds(tfds: ModuleType, tree: FsspecTree):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        specs = tfds.builder_from_directory(tree.local_path(RELEASE)).info.features["steps"]
    encoded = {
        "steps/observation/tool/pose": specs["observation"]["tool"]["pose"],
        "steps/observation/closed": specs["observation"]["closed"],
    }
    for path, feature in encoded.items():
        record = first_record(tree)
        ours = record.floats(path)
        np.testing.assert_array_equal(ours, [feature.decode_example_np(step) for step in record.byte_strings(path)])
        np.testing.assert_array_equal(ours, np.asarray(make_record(5, 1)[path], feature.np_dtype))


@pytest.mark.skipif(REAL_DATA not in os.environ, reason=f"{REAL_DATA} is not set")
def test_every_value_of_the_real_bridge_files_agrees_with_tfds(tfds: ModuleType):
    tree = FsspecTree(str(Path(os.environ[REAL_DATA]) / "bridge_rlds"))
    assert check_against_tfds(tfds, tree, "bridge_dataset/1.0.0") == 50


# --------------------------------------------------------------------------------------------------------- records


def test_values_have_the_shapes_of_features_json(tree: FsspecTree):
    record = first_record(tree)
    assert record.floats("steps/action").shape == (5, 7)
    assert record.floats("steps/observation/bounds").shape == (5, 3, 3)
    assert record.floats("steps/observation/tool/pose").shape == (5, 7)
    assert record.ints("steps/is_last").tolist() == [0, 0, 0, 0, 1]
    assert record.ints("success").shape == ()
    assert record.floats("goal").tolist() == [1.5, -2.0]
    assert record.texts("steps/text")[0] == "schließe die Tür"


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("floats", "steps/absent", "is not listed in features.json, which has: goal"),
        ("floats", "steps/text", "contains byte strings, expected numbers"),
        ("floats", "steps/is_last", "contains int64, expected floats"),
        ("ints", "steps/action", "contains float32, expected integers"),
        ("byte_strings", "steps/action", "contains float32, expected byte strings"),
    ],
)
def test_a_wrong_request_names_episode_and_key(tree: FsspecTree, method: str, path: str, what: str):
    with pytest.raises(EpisodeError, match=rf"robot-train.tfrecord-00000-of-00002#00000: feature '{path}' {what}"):
        getattr(first_record(tree), method)(path)


def damaged_record(tmp_path: Path, **changes: object):
    values = {path: value for path, value in (dict(make_record(5)) | changes).items() if value is not None}
    write_rlds(str(tmp_path), release=RELEASE, features=FEATURES, splits={"train": [[values]]})
    tree = FsspecTree(str(tmp_path))
    dataset = open_dataset(tree, RELEASE)
    return next(read_shard(tree, dataset, dataset.shards[0].path))


def test_a_missing_key_is_named(tmp_path: Path):
    record = damaged_record(tmp_path, **{"steps/action": None})
    assert not record.has("steps/action")
    with pytest.raises(EpisodeError, match="feature 'steps/action' is missing; the record has: goal"):
        record.floats("steps/action")


def test_values_that_do_not_fill_the_shape_are_refused(tmp_path: Path):
    record = damaged_record(tmp_path, **{"steps/action": np.zeros(34)})
    with pytest.raises(EpisodeError, match="feature 'steps/action' has 34 values"):
        record.floats("steps/action")


@pytest.mark.parametrize(
    "stored", [[b"no zlib"], [zlib.compress(bytes(27))], [zlib.compress(bytes(size)) for size in (24, 32)]]
)
def test_damaged_zlib_tensors_are_refused(tmp_path: Path, stored: list[bytes]):
    record = damaged_record(tmp_path, **{"steps/observation/tool/pose": stored})
    with pytest.raises(EpisodeError, match="feature 'steps/observation/tool/pose' is not zlib-encoded float32"):
        record.floats("steps/observation/tool/pose")


# ------------------------------------------------------------------------------------------- datasets and outcomes


def convert(record):
    if record.index == 1:
        raise EpisodeError(f"{record.id}: bad")
    return Drop(episode=record.id, reason=Reason.SHORT)


def outcomes(tree: FsspecTree, index: int = 1):
    dataset = open_dataset(tree, RELEASE)
    return list(read_outcomes(tree, dataset, list_parts(tree, dataset)[index], convert))


def test_parts_are_the_files_in_order_with_their_counts(tree: FsspecTree):
    parts = list_parts(tree, open_dataset(tree, RELEASE))
    assert [(part.id.rpartition("/")[2], part.num_episodes) for part in parts] == [
        ("robot-test.tfrecord-00000-of-00001", 1),
        ("robot-train.tfrecord-00000-of-00002", 2),
        ("robot-train.tfrecord-00001-of-00002", 1),
    ]
    assert [part.num_bytes for part in parts] == [tree.size(part.id) for part in parts]


def test_without_shard_lengths_the_files_that_are_there_count(tree: FsspecTree):
    path = Path(tree.root) / RELEASE / "dataset_info.json"
    info = json.loads(path.read_text())
    for split in info["splits"]:
        del split["shardLengths"]
    path.write_text(json.dumps(info))
    assert [part.num_episodes for part in list_parts(tree, open_dataset(tree, RELEASE))] == [None, None, None]


def test_a_bad_record_fails_alone(tree: FsspecTree):
    first, second = outcomes(tree)
    assert isinstance(first, Drop)
    assert isinstance(second, Failure)


def test_the_first_text_of_a_key_is_none_where_there_is_none(tmp_path: Path):
    assert damaged_record(tmp_path, **{"steps/text": [b"a", b"b"]}).text("steps/text") == "a"
    assert damaged_record(tmp_path, **{"steps/text": []}).text("steps/text") is None
    assert first_record(write_tree(tmp_path)).text("nothing") is None


@pytest.mark.parametrize("keep", [0, 40, 600])
def test_each_record_lost_to_a_truncation_is_a_failure_of_its_own(tree: FsspecTree, keep: int):
    path = shard_file(tree)
    path.write_bytes(path.read_bytes()[:keep])
    found = outcomes(tree)
    assert [type(outcome) for outcome in found] == [Failure, Failure]
    assert [outcome.episode[-6:] for outcome in found] == ["#00000", "#00001"]


def test_an_absent_file_is_a_part_whose_records_fail(tree: FsspecTree):
    shard_file(tree).unlink()
    assert list_parts(tree, open_dataset(tree, RELEASE))[1].num_bytes == 0
    assert all("cannot be read" in outcome.detail for outcome in outcomes(tree))
    assert all("with --set shard_lengths=ignored" in outcome.detail for outcome in outcomes(tree))
    assert len(outcomes(tree)) == 2


def test_damage_of_unknown_extent_is_a_source_error_after_the_good_records(tree: FsspecTree):
    dataset = open_dataset(tree, RELEASE)
    part = list_parts(tree, dataset)[1]
    path = shard_file(tree)
    path.write_bytes(path.read_bytes()[:-1])
    unknown = type(part)(id=part.id, num_bytes=part.num_bytes, num_episodes=None)
    reader = read_outcomes(tree, dataset, unknown, convert)
    assert isinstance(next(reader), Drop)
    with pytest.raises(SourceError, match="00000-of-00002 record 1: truncated"):
        next(reader)


@pytest.mark.parametrize(
    ("file", "text", "what"),
    [
        ("features.json", "{", "not a valid TFDS features file"),
        ("features.json", "{}", "pythonClassName is missing"),
        ("dataset_info.json", "[]", "name or splits missing"),
        (
            "dataset_info.json",
            '{"name": "robot", "splits": [{}], "fileFormat": "riegeli"}',
            "expected fileFormat tfrecord or array_record, got 'riegeli'",
        ),
        ("dataset_info.json", '{"name": "robot", "splits": [{"odd": "train"}]}', "'odd': 'train'.* has no name"),
        *(
            (
                "dataset_info.json",
                f'{{"name": "robot", "splits": [{{"name": "train", "shardLengths": {lengths}}}]}}',
                "expected a list of counts as shardLengths, got ",
            )
            for lengths in ('["x"]', "3", "[null]", '["-1"]', "[1.5]", '"12"', "[true]", "{}")
        ),
    ],
)
def test_bad_json_names_the_file(tree: FsspecTree, file: str, text: str, what: str):
    (Path(tree.root) / RELEASE / file).write_text(text)
    with pytest.raises(SourceError, match=f"{RELEASE}/{file}.*{what}"):
        open_dataset(tree, RELEASE)


def test_a_version_folder_given_as_raw_is_explained(tree: FsspecTree):
    inner = FsspecTree(str(Path(tree.root) / RELEASE))
    with pytest.raises(RequestError, match="this is a version folder, give its grandparent"):
        pick_release(inner, ["robot"], None)


def test_a_tree_of_another_dataset_names_what_is_there(tree: FsspecTree):
    with pytest.raises(RequestError, match=r"with name bridge or bridge_orig; found robot/1.2.0$"):
        pick_release(tree, ["bridge", "bridge_orig"], None)


def test_an_unknown_release_names_those_that_are_there(tree: FsspecTree):
    with pytest.raises(RequestError, match=r"--set release=robot/9: not found in .* which contains: robot/1.2.0"):
        pick_release(tree, ["robot"], "robot/9")


# ---------------------------------------------------------------------------------------------------------- frames


def test_jpeg_passes_png_is_decoded_as_rgb_and_rubbish_is_handed_on():
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 0] = 200
    png = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    camera = EncodedFrames([b"\xff\xd8\xff rest", png, b"", b"rubbish"])
    jpeg, decoded, empty, rubbish = camera.read(range(camera.num_frames), ResizeMode.PLAIN)
    assert jpeg == JpegFrame(b"\xff\xd8\xff rest")
    assert isinstance(decoded, RgbFrame)
    assert decoded.pixels.dtype == np.uint8
    np.testing.assert_array_equal(decoded.pixels, image)
    assert (empty, rubbish) == (JpegFrame(b""), JpegFrame(b"rubbish"))
