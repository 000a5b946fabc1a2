"""Shards of a stranger whose sums are right and whose content is not: each reader says so in words."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg
from isal.isal_zlib import crc32

import vita_data
from vita_data.builder.stored_plan import read_plan
from vita_data.cli.main import main
from vita_data.curation.quality import measure
from vita_data.dataset import BuiltSource
from vita_data.errors import RequestError, ShardError, StorageError
from vita_data.merge.inputs import open_inputs
from vita_data.pages.shards.clips import clip_by_key
from vita_data.pages.viewer.catalog import Place
from vita_data.pages.viewer.clip import image_group
from vita_data.shards.clip_fields import CLIP_JSON
from vita_data.shards.episodes import read_episodes
from vita_data.shards.index import card_bytes, open_source
from vita_data.shards.reader import ShardFiles
from vita_data.shards.schema import INDEX_SCHEMA
from vita_data.shards.stats import compute_stats, load_stats
from vita_data.shards.sums import with_sum
from vita_data.shards.tar import END, header, padding, walk
from vita_data.shards.verify import verify
from vita_data.shards.verify_files import file_sha256
from vita_data.storage.files import read_files
from vita_data.types import Split

Value = dict[str, Any]
FIGURES = {"count": 1, "mask": [True], **{name: [1.0] for name in ("mean", "std", "min", "max", "q01", "q99")}}
SHORT = json.dumps({"source": {"bridge": {"action": FIGURES}}, "embodiment": {}}).encode()
"""Statistics of one column."""


@pytest.fixture
def bridge(toy_shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_shards / "bridge", tmp_path / "bridge"))


def shard_of(folder: Path) -> Path:
    return min((folder / "train").glob("*.tar"))


def seal(folder: Path) -> None:
    """Give the card the sums of its files, as a stranger would."""
    card = json.loads((folder / "dataset.json").read_bytes())
    for split, entries in card["shards"].items():
        for entry in entries:
            shard = folder / split / entry["name"]
            index = shard.with_suffix(".arrow")
            entry |= {
                "num_bytes": shard.stat().st_size,
                "sha256": file_sha256(shard),
                "index_sha256": file_sha256(index),
            }
    card["sums"] = {name: file_sha256(folder / name) for name in card["sums"]}
    (folder / "dataset.json").write_bytes(card_bytes({**card, "sha256": None}))


def change_index(folder: Path, how: Callable[[list[Value]], object]) -> None:
    index = shard_of(folder).with_suffix(".arrow")
    rows = pa.ipc.open_file(index.read_bytes()).read_all().to_pylist()
    how(rows)
    write_index(folder, pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))


def write_index(folder: Path, table: pa.Table) -> None:
    with (
        pa.OSFile(str(shard_of(folder).with_suffix(".arrow")), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as out,
    ):
        out.write_table(table)
    seal(folder)


def change_metadata(folder: Path, how: Callable[[bytes], bytes]) -> None:
    """Write the first shard anew with another clip.json of its first clip, and the index that fits it."""
    change_member(folder, next(one.name for one in walk(shard_of(folder)) if one.name.endswith(CLIP_JSON)), how)


def change_member(folder: Path, wanted: str, how: Callable[[bytes], bytes]) -> None:
    """Write the first shard anew with other bytes of one member, and the index that fits it."""
    shard, parts, places, end = shard_of(folder), [], {}, 0
    for member in walk(shard):
        data = how(member.data) if member.name == wanted else member.data
        parts += [header(member.name, len(data)), data, padding(len(data))]
        places[member.ref.offset] = {"offset": end + 512, "size": len(data), "crc32": crc32(data)}
        end += sum(map(len, parts[-3:]))
    shard.write_bytes(b"".join(parts) + END)
    change_index(folder, lambda rows: [place.update(places[place["offset"]]) for row in rows for place in members(row)])


def long_texts(table: pa.Table, num_rows: int, text: str) -> pa.Table:
    """Make a table that is small in a file: one text, in one column of each row."""
    first = table.take(pa.array(np.zeros(num_rows, np.int64)))
    return first.set_column(4, "detail", pa.DictionaryArray.from_arrays(pa.array([0] * num_rows), [text]))


def members(row: Value) -> list[Value]:
    return [one for one in (row["clip"], row["action"], row["state"], *row["frames"]) if one]


def changed(**values: object) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({**json.loads(data), **values}).encode()


@pytest.mark.parametrize(
    "how",
    [
        lambda data: b"[" * 200_000 + b"]" * 200_000,
        lambda data: b"[]",
        lambda data: b"\xff{",
        lambda data: b'{"hz": ' + b"9" * 5000 + b"}",
        changed(step_index="abc"),
        changed(step_index=[10**30]),
        changed(instructions=[{"words": 7}]),
        changed(provenance=7, split="evil", modality=[]),
    ],
)
def test_metadata_of_another_form_is_named_by_every_reader(bridge: Path, how: Callable[[bytes], bytes]) -> None:
    change_metadata(bridge, how)

    (problem,) = verify(bridge).problems
    assert ": the checksum matches, but the content is not that of a clip (" in problem
    with pytest.raises(ShardError, match="the content is not that of a clip"):
        _ = BuiltSource(bridge)[0].action
    with pytest.raises(ShardError, match="the content is not that of a clip"):
        compute_stats(open_source(bridge, Split.TRAIN))


def test_a_member_of_any_size_takes_no_memory(bridge: Path) -> None:
    change_index(bridge, lambda rows: rows[0]["action"].update(size=1 << 28))
    assert any("action.npy: tar header is damaged" in problem for problem in verify(bridge).problems)
    with pytest.raises(ShardError, match="do not match crc32"):
        _ = BuiltSource(bridge)[0].action


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (lambda rows: rows[0].update(key=None), "column key has nulls"),
        (lambda rows: rows[0]["frames"][0].update(camera=None), "column frames has members without camera"),
        (lambda rows: rows[0]["frames"][0].update(camera="evil"), "column frames: expected depth_primary, "),
        (lambda rows: rows[0]["clip"].update(offset=-512), "column clip: expected offset from 0 to "),
        (lambda rows: rows[0]["action"].update(size=-1), "column action: expected size from 0 to "),
        (lambda rows: rows[0]["action"].update(size=1 << 60), "column action: expected size from 0 to "),
        (
            lambda rows: rows[0].update(frames=[{**one, "size": 1 << 28} for one in rows[0]["frames"] * 20]),
            "column frames: expected at most 2147483648 bytes for a clip, found ",
        ),
        (lambda rows: rows[0].update(hz=float("nan")), "column hz: expected hz from "),
        (lambda rows: rows[0].update(hz=5e-324), "column hz: expected hz from 1e-06 to "),
        (lambda rows: rows[0].update(hz=0.0), "column hz: expected hz from "),
        (lambda rows: rows[0].update(num_steps=0), "column num_steps: expected num_steps from 1 to "),
        (lambda rows: rows[0].update(keyframes=[10**9]), "column keyframes has rows that a clip does not have"),
        (lambda rows: rows[0].update(keyframes=[None]), "column keyframes has items that are null"),
        (lambda rows: rows[0].update(cameras=[None]), "column cameras has items that are null"),
        (lambda rows: rows[0].update(action_valid=[{"stop": 1}]), "column action_valid has items that are null"),
        (lambda rows: rows[0]["action_valid"][0].update(stop=10**6), "column action_valid has rows that a clip does "),
        (lambda rows: rows[0]["action_valid"][0].update(start=-1), "column action_valid has rows that a clip does "),
        (lambda rows: rows[0]["step_runs"][0].update(row=-1), "column step_runs has rows that a clip does not have"),
        (lambda rows: rows[0].update(cameras=["evil"]), "column cameras: expected depth_primary, "),
        (lambda rows: rows[0].update(modality="evil"), "column modality: expected "),
    ],
)
def test_an_index_with_values_that_no_build_writes_is_refused(
    bridge: Path, how: Callable[[list[Value]], object], told: str
) -> None:
    change_index(bridge, how)
    with pytest.raises(ShardError, match=told):
        _ = open_source(bridge, Split.TRAIN).table
    assert any(told in problem for problem in verify(bridge).problems)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (END, "unexpected bytes after the end"),
        (header("a.npy", 1 << 29), "536870912 bytes, expected at most 268435456"),
    ],
)
def test_a_tar_with_a_hole_of_terabytes_is_refused(tmp_path: Path, head: bytes, told: str) -> None:
    shard = tmp_path / "bridge-train-000000.tar"
    shard.write_bytes(head)
    os.truncate(shard, 1 << 42)
    with pytest.raises(ShardError, match=told):
        list(walk(shard))


def test_a_name_that_no_tar_can_have_is_a_problem_of_the_clip(bridge: Path, tmp_path: Path) -> None:
    change_index(bridge, lambda rows: rows[0].update(key="k" * 200))
    assert any("clip.json: tar header is damaged" in problem for problem in verify(bridge).problems)
    assert main(["episodes", str(bridge), "--html", str(tmp_path / "page.html")]) == 1


def test_an_index_whose_offsets_lead_out_of_it_does_not_crash_its_reader(bridge: Path) -> None:
    index = shard_of(bridge).with_suffix(".arrow")
    data = index.read_bytes()
    keys = pa.ipc.open_file(data).read_all()["key"].to_pylist()
    offsets = np.cumsum([0, *map(len, keys)]).astype("<i4")
    wild = np.append(offsets[:1], np.full(len(keys), 1 << 30)).astype("<i4")
    assert data.count(offsets.tobytes()) >= 1
    index.write_bytes(data.replace(offsets.tobytes(), wild.tobytes(), 1))
    seal(bridge)
    with pytest.raises(ShardError, match=r"\.arrow: cannot be opened"):
        _ = open_source(bridge, Split.TRAIN).table


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (lambda table: table.drop_columns(["part"]), "has no column part"),
        (
            lambda table: table.set_column(0, "id", pa.nulls(len(table), pa.string())),
            "column id: expected no nulls, found ",
        ),
        (
            lambda table: table.set_column(0, "id", pa.array(range(len(table)))),
            "column id: expected string, found int64",
        ),
        (lambda table: table.append_column("id", table["id"]), "has 2 column id"),
        (lambda table: long_texts(table, 18_000, "x" * 60_000), "expected at most 1073741824 bytes of text, found "),
        (lambda table: long_texts(table, 1_000_000, "x"), "expected at most one row for each of "),
        (None, "the footer of a Parquet file cannot be read"),
    ],
)
def test_a_list_of_episodes_of_another_form_is_refused(
    bridge: Path, capsys: pytest.CaptureFixture[str], how: Callable[[pa.Table], pa.Table] | None, told: str
) -> None:
    path = bridge / "episodes.parquet"
    if how is None:
        path.write_bytes(b"PAR1" + bytes(50) + b"PAR1")
    else:
        pq.write_table(how(pq.read_table(path)), path, store_schema=False)  # dictionaries are written as texts
    seal(bridge)
    with pytest.raises(ShardError, match=told):
        read_episodes(bridge)
    with pytest.raises(ShardError, match=told):
        open_inputs([bridge, bridge])
    assert any(told in problem for problem in verify(bridge).problems)
    assert main(["episodes", str(bridge)]) == 1
    assert told in capsys.readouterr().err


def test_a_list_of_episodes_that_is_packed_more_densely_than_a_builds_is_refused(bridge: Path) -> None:
    path = bridge / "episodes.parquet"
    pq.write_table(pq.read_table(path), path, compression="zstd")
    seal(bridge)
    with pytest.raises(ShardError, match="its columns are not packed as a build packs them"):
        read_episodes(bridge)


def test_damaged_statistics_of_a_list_of_episodes_do_not_end_the_process(bridge: Path) -> None:
    path = bridge / "episodes.parquet"
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for place in (place for place in range(footer, len(data) - 8) if data[place] == 12):  # the kind of a struct
        changed = bytearray(data)
        changed[place] ^= 4
        path.write_bytes(changed)
        seal(bridge)
        with suppress(ShardError):
            read_episodes(bridge)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_compressed_index_is_refused_before_it_is_unpacked(bridge: Path, codec: str) -> None:
    index = shard_of(bridge).with_suffix(".arrow")
    table = pa.ipc.open_file(index.read_bytes()).read_all()
    with pa.OSFile(str(index), "wb") as sink:
        options = pa.ipc.IpcWriteOptions(compression=codec)
        with pa.ipc.new_file(sink, table.schema, options=options) as out:
            out.write_table(table)
    seal(bridge)
    with pytest.raises(ShardError, match="expected plain columns, found compressed ones"):
        _ = open_source(bridge, Split.TRAIN).table


def test_an_index_that_begins_with_another_kind_of_message_does_not_crash_its_reader(bridge: Path) -> None:
    index = shard_of(bridge).with_suffix(".arrow")
    data = index.read_bytes()
    sizes = [int.from_bytes(data[12:16], "little")]
    rows = data[:8] + data[16 + sizes[0] :]  # without the message of the columns
    index.write_bytes(rows)
    seal(bridge)
    with pytest.raises(ShardError, match=r"\.arrow: cannot be opened"):
        _ = open_source(bridge, Split.TRAIN).table


@pytest.mark.parametrize("name", ["dataset.json", "stats.json", ".build/plan.json"])
def test_a_file_with_a_hole_of_terabytes_is_refused(
    bridge: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    os.truncate(bridge / name, 1 << 42)
    with pytest.raises(StorageError, match="expected at most 67108864 bytes, found more"):
        read_files([bridge / name])
    assert main(["verify", str(bridge)]) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("data", [b"[]", b"{}", b"[" * 200_000, b'{"source": {"bridge": {"action": 7}}}', SHORT])
def test_statistics_of_another_form_are_refused(bridge: Path, data: bytes) -> None:
    (bridge / "stats.json").write_bytes(data)
    seal(bridge)
    with pytest.raises(ShardError, match="expected the statistics of 'bridge', got"):
        load_stats(bridge)


@pytest.mark.parametrize("name", ["", "..", "../../x", "a\\b", "a\x1b[2J", "a\nb"])
def test_a_name_that_is_no_folders_is_refused(bridge: Path, name: str) -> None:
    card = json.loads((bridge / "dataset.json").read_bytes())
    (bridge / "dataset.json").write_bytes(card_bytes({**card, "source": name}))
    with pytest.raises(ShardError, match="expected a card of this version, got source "):
        open_source(bridge, Split.TRAIN)


@pytest.mark.parametrize("values", [{"num_units": 10**12}, {"num_units": "x"}, {"num_units": -1}, {"fingerprint": {}}])
def test_a_plan_of_another_form_is_refused(bridge: Path, values: Value) -> None:
    path = bridge / ".build" / "plan.json"
    plan = {**json.loads(path.read_bytes()), **values}
    path.write_text(json.dumps(with_sum(plan)))
    with pytest.raises(RequestError, match=r"plan\.json: expected the plan of a build, got"):
        read_plan(bridge)


def change_first_image(folder: Path, data: bytes) -> None:
    """Put bytes in place of the first image of the first shard, with right sums; its index fits them."""
    wanted = next(
        member.name for member in walk(shard_of(folder)) if member.name.endswith(".jpg") and "primary" in member.name
    )
    change_member(folder, wanted, lambda _: data)


LARGE = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8)).replace(b"\0\x08\0\x08\x03", b"\xff\0\xff\0\x03", 1)
"""An image that declares 65,280 x 65,280 pixels."""


@pytest.mark.parametrize(
    ("data", "told"),
    [(LARGE, "expected 256x256 YCbCr, got 65280x65280"), (b"", "JPEG"), (b"not an image", "JPEG")],
)
def test_an_image_of_another_form_is_refused_by_every_reader(bridge: Path, data: bytes, told: str) -> None:
    change_first_image(bridge, data)
    assert any(told.lower() in problem.lower() for problem in verify(bridge).problems)
    first = BuiltSource(bridge)[0]
    with pytest.raises(ShardError, match="the content is not that of a clip"):
        first.frames("primary")
    with pytest.raises(ShardError, match="the content is not that of a clip"):
        clip_by_key(bridge, first.key, max_frames=100)
    index = open_source(bridge, Split.TRAIN)
    shard, row = index.place(0)
    with closing(ShardFiles()) as files, pytest.raises(ShardError, match="the content is not that of a clip"):
        measure(files, shard, row)
    with closing(ShardFiles()) as files, pytest.raises(ShardError, match="the content is not that of a clip"):
        image_group(files, Place(shard=shard, row=row), 0, 0)


@pytest.mark.parametrize("header", [b"{'descr': (", b"(" * 5000, b"\xff\xfe", b"{'descr': '<f4'}"])
def test_vectors_of_another_form_are_refused_by_every_reader(bridge: Path, header: bytes) -> None:
    first = next(one.name for one in walk(shard_of(bridge)) if one.name.endswith("action.npy"))
    change_member(bridge, first, lambda data: data[:8] + len(header).to_bytes(2, "little") + header + data[128:])
    assert any("the content is not that of a clip" in problem for problem in verify(bridge).problems)
    with pytest.raises(ShardError, match="the content is not that of a clip"):
        compute_stats(open_source(bridge, Split.TRAIN))


def test_an_index_that_names_a_camera_that_the_clip_lacks_is_told_in_words(bridge: Path) -> None:
    change_metadata(bridge, changed(frames={}))
    with pytest.raises(ShardError, match="camera primary: the checksum matches, but the content is not that of a clip"):
        BuiltSource(bridge)[0].frames("primary")


@pytest.mark.parametrize("values", [{"state_mask": [[True], []]}, {"action_mask": [1] * 40}, {"instructions": [7]}])
def test_metadata_of_another_form_ends_a_training_in_words(bridge: Path, values: Value) -> None:
    change_metadata(bridge, changed(**values))
    with (
        vita_data.open_loader(["bridge"], shards=bridge.parent, stage="finetune", batch_size=32) as loader,
        pytest.raises(ShardError, match=r"member clip\.json: the checksum matches, but the content is invalid"),
    ):
        list(islice(loader, 20))
