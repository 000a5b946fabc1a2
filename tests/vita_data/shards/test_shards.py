"""Shards are plain tars, their index can be rebuilt from them, and no flipped bit goes unseen."""

import dataclasses
import json
import shutil
import subprocess
import sys
import tarfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vita_data.builder.finish import finish
from vita_data.builder.records import EpisodeRow, UnitRecord
from vita_data.errors import ManifestError, ShardError
from vita_data.shards import hf_features
from vita_data.shards.index import open_source, read_clip, rows_from_tar
from vita_data.shards.reader import ShardFiles
from vita_data.shards.schema import MemberRef, json_bytes
from vita_data.shards.tar import header, walk
from vita_data.shards.verify import verify
from vita_data.shards.writer import ShardSummary, ShardWriter
from vita_data.sources import load
from vita_data.types import CameraRole, Clip, EpisodeOutcome, Split, StoredDepth


def first_tar(folder: Path) -> Path:
    return min((folder / "train").glob("*.tar"))


def first_rows(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_source(folder, Split.TRAIN).tables[0].to_pylist()
    return rows


def list_as_source(folder: Path, clip: Clip, summary: ShardSummary) -> None:
    """Finish a source of one shard with one clip as a build does."""
    row = EpisodeRow(
        id=clip.episode, part="p", outcome=EpisodeOutcome.OK, clip=clip.key, shard=summary.name, split=clip.split,
        modality=clip.modality, embodiment=clip.embodiment, release=clip.release, num_clips=1,
        num_steps=clip.num_steps, num_frames=sum(map(len, clip.frames.values())),
    )  # fmt: skip
    record = UnitRecord(number=0, plan="", episodes=(row,), shards=((Split.TRAIN, summary),))
    print_ = {"settings": {"resize": "plain"}, "frames": "all", "limit": None, "versions": {}}
    finish(folder, load("libero").INFO, print_, [record])


@pytest.fixture
def libero(toy_shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_shards / "libero", tmp_path / "libero"))


@pytest.mark.parametrize("size", [0, 1, 511, 512, 123456])
def test_headers_are_what_tarfile_writes(size: int) -> None:
    info = tarfile.TarInfo("libero-0123456789abcdef.primary.000000.jpg")
    info.size, info.mode = size, 0o644

    assert header(info.name, size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_a_name_that_ustar_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="USTAR"):
        header("x" * 101, 1)


def test_tar_and_tarfile_read_a_shard_with_adjacent_sorted_members(toy_shards: Path) -> None:
    shard = first_tar(toy_shards / "bridge")
    listed = subprocess.run(["tar", "tf", shard], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(shard) as tar:
        names = tar.getnames()
        assert {(info.mtime, info.uid, info.gid, info.uname) for info in tar} == {(0, 0, 0, "")}

    assert listed == names
    keys = [name.partition(".")[0] for name in names]
    assert keys == sorted(keys, key=keys.index)
    for key in set(keys):
        members = [name for name in names if name.startswith(f"{key}.")]
        assert members == sorted(members)


def test_plain_webdataset_reads_a_shard(toy_shards: Path) -> None:
    import webdataset

    shard = first_tar(toy_shards / "libero")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = list(webdataset.WebDataset(str(shard), shardshuffle=False).decode("rgb8"))
    rows = first_rows(toy_shards / "libero")

    assert [sample["__key__"] for sample in samples] == [row["key"] for row in rows]
    for sample, row in zip(samples, rows, strict=True):
        assert sample["action.npy"].shape == (row["num_steps"], 40)
        assert sample["clip.json"]["instruction"]["text"] == row["instruction"]
        assert sample["primary.000000.jpg"].shape == (256, 256, 3)


def test_datasets_reads_a_shard_with_the_features_we_list(toy_shards: Path, tmp_path: Path) -> None:
    import datasets

    folder = toy_shards / "bridge"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = datasets.load_dataset(
            "webdataset",
            data_files={"train": [str(first_tar(folder))]},
            split="train",
            features=hf_features(folder),
            cache_dir=str(tmp_path),
        )
        rows = first_rows(folder)
        assert table["__key__"][:] == [row["key"] for row in rows]
        assert table[0]["clip.json"]["instruction"]["text"] == rows[0]["instruction"]
        assert np.asarray(table[0]["action.npy"]).shape == (rows[0]["num_steps"], 40)
        assert table[0][f"primary.{rows[0]['frames'][0]['step']:06d}.jpg"].size == (256, 256)


def test_the_index_can_be_rebuilt_from_the_tar_alone(toy_shards: Path) -> None:
    for folder in toy_shards.iterdir():
        for split in Split:
            index = open_source(folder, split)
            for shard, table in zip(index.shards, index.tables, strict=True):
                assert rows_from_tar(shard) == table.to_pylist()


def test_offsets_in_the_index_are_tar_s(toy_shards: Path) -> None:
    shard = first_tar(toy_shards / "libero")
    with tarfile.open(shard) as tar:
        offsets = {info.name: info.offset_data for info in tar}

    for row in first_rows(toy_shards / "libero"):
        assert row["action"]["offset"] == offsets[f"{row['key']}.action.npy"]
        for frame in row["frames"]:
            assert frame["offset"] == offsets[f"{row['key']}.{frame['camera']}.{frame['step']:06d}.jpg"]


def test_members_that_are_not_adjacent_are_refused(toy_shards: Path, tmp_path: Path) -> None:
    members = list(walk(first_tar(toy_shards / "bridge")))
    shard = tmp_path / "bridge-train-000000.tar"
    with open(shard, "wb") as file:
        for member in [*members[1:], members[0]]:
            file.write(header(member.name, member.ref.size) + member.data + bytes(-member.ref.size % 512))
        file.write(bytes(1024))

    with pytest.raises(ShardError, match="expected adjacent members"):
        rows_from_tar(shard)


def test_a_source_that_was_not_built_is_refused_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="vita-data build --source bridge"):
        open_source(tmp_path / "bridge", Split.TRAIN)


def test_verify_names_shard_clip_and_member_for_every_flipped_bit(libero: Path) -> None:
    shard = first_tar(libero)
    data, rng = shard.read_bytes(), np.random.default_rng(0)
    end_of_members = len(data) - 1024
    for _ in range(60):
        at, bit = int(rng.integers(len(data))), int(rng.integers(8))
        damaged = bytearray(data)
        damaged[at] ^= 1 << bit
        shard.write_bytes(damaged)

        problems = verify(libero).problems
        assert problems
        assert shard.name in problems[0]
        assert at >= end_of_members or ("clip libero-" in problems[0] and "member " in problems[0])
    shard.write_bytes(data)
    assert verify(libero).problems == ()


def test_verify_sees_a_flipped_bit_in_the_index(libero: Path) -> None:
    index = first_tar(libero).with_suffix(".arrow")
    data, rng = index.read_bytes(), np.random.default_rng(0)
    for at in rng.integers(len(data), size=30):
        damaged = bytearray(data)
        damaged[at] ^= 1
        index.write_bytes(damaged)

        assert any(index.name in problem for problem in verify(libero).problems)
        with pytest.raises(ShardError, match=index.name):
            _ = open_source(libero, Split.TRAIN).table


@pytest.mark.parametrize("lost", ["tar", "arrow"])
def test_verify_names_a_file_that_is_gone_or_not_listed(libero: Path, lost: str) -> None:
    first_tar(libero).with_suffix(f".{lost}").unlink()
    (libero / "train" / "libero-train-000777.tar").write_bytes(bytes(1024))
    (libero / "train" / "._libero-train-000000.tar").write_bytes(bytes(1024))

    problems = "\n".join(verify(libero).problems)
    assert f"libero-train-000000.{lost}" in problems
    assert "libero-train-000777.tar: not listed" in problems
    assert "._libero" not in problems, "what macOS keeps beside a file is no shard"


def test_a_damaged_member_is_an_error_of_the_read_that_meets_it(libero: Path) -> None:
    index = open_source(libero, Split.TRAIN)
    row = index.tables[0].to_pylist()[0]
    frame = row["frames"][0]
    with open(index.shards[0], "r+b") as file:
        file.seek(frame["offset"] + frame["size"] // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 4]))

    with pytest.raises(ShardError, match=rf"{row['key']}, member {frame['camera']}.{frame['step']:06d}.jpg"):
        read_clip(ShardFiles(), index.shards[0], row)


def test_a_shard_that_vanished_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"gone\.tar, clip k, member m"):
        ShardFiles().read(tmp_path / "gone.tar", MemberRef(0, 1, 0), clip="k", member="m")


def test_more_shards_than_open_handles_can_be_read(tmp_path: Path) -> None:
    files = ShardFiles(max_open=2)
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(b"abc")
    for number in (0, 1, 2, 3, 4, 0):
        ref = MemberRef(0, 3, 0x352441C2)
        assert files.read(tmp_path / f"{number}", ref, clip="k", member="m") == b"abc"
    files.close()


def test_threads_may_open_more_shards_than_handles_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}" for number in range(48)]
    for path in paths:
        path.write_bytes(b"abc")
    files, faults = ShardFiles(max_open=3), []

    def work(number: int) -> None:
        try:
            for turn in range(3000):
                assert files.pread(paths[(turn * 7 + number * 13) % len(paths)], 0, 3) == b"abc"
        except (RuntimeError, OSError, AssertionError) as fault:
            faults.append(fault)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not faults


def test_json_keeps_half_of_a_surrogate_pair_which_utf8_cannot_hold() -> None:
    text = {"text": "pick the \ud83d cup 👋"}

    assert json_bytes(text) == '{"text":"pick the \\ud83d cup 👋"}'.encode()
    assert json.loads(json_bytes(text)) == text


def test_clip_json_holds_the_contract_s_fields(toy_shards: Path) -> None:
    member = next(member for member in walk(first_tar(toy_shards / "libero")) if member.name.endswith("clip.json"))
    meta = json.loads(member.data)

    assert set(meta) >= {
        "schema_version",
        "source",
        "release",
        "episode",
        "split",
        "modality",
        "embodiment",
        "arms",
        "hz",
        "stride",
        "num_steps",
        "step_index",
        "frames",
        "keyframes",
        "instruction",
        "instructions",
        "action_mask",
        "state_mask",
        "action_valid",
        "action_origin",
        "provenance",
        "extras",
    }
    assert len(meta["action_mask"]) == 40
    assert len(meta["state_mask"]) == 64


def test_depth_is_stored_in_metres_beside_the_images_and_read_back(toy_shards: Path, tmp_path: Path) -> None:
    index = open_source(toy_shards / "libero", Split.TRAIN)
    clip = read_clip(ShardFiles(), index.shards[0], index.tables[0].to_pylist()[0])
    depth = np.linspace(0.1, 2.0, 256 * 256, dtype=np.float32).reshape(256, 256)
    clip = dataclasses.replace(clip, depths={CameraRole.PRIMARY: (StoredDepth(20, depth),)})
    folder = tmp_path / "libero"
    with ShardWriter(folder / "train" / "libero-train-000000.tar") as writer:
        writer.add(clip)
    assert writer.summary is not None
    list_as_source(folder, clip, writer.summary)

    built = open_source(folder, Split.TRAIN)
    row = built.tables[0].to_pylist()[0]
    again = read_clip(ShardFiles(), built.shards[0], row)
    assert verify(folder).problems == ()
    assert f"{clip.key}.depth_primary.{clip.step_index[20]:06d}.npy" in {m.name for m in walk(built.shards[0])}
    np.testing.assert_array_equal(again.depths[CameraRole.PRIMARY][0].metres, depth)
    assert f"depth_primary.{clip.step_index[20]:06d}.npy" in hf_features(folder)


@pytest.mark.parametrize("damage", ["[]", "{", '{"shards": {"train": [{"name": "x"}]}}', "\\xff"])
def test_a_damaged_card_is_named_in_one_line(libero: Path, damage: str) -> None:
    (libero / "dataset.json").write_bytes(damage.encode("latin-1").decode("unicode_escape").encode("latin-1"))

    with pytest.raises(ShardError, match=r"dataset\.json: expected a card of this version"):
        verify(libero)
