"""An index of a million clips and fifty million frames opens in little memory of the process's own."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.bench.loader.card import synthetic_card
from vita_data.shards.index import card_bytes, open_source
from vita_data.shards.schema import INDEX_SCHEMA
from vita_data.shards.stats import write_stats
from vita_data.types import Split

SHARDS, CLIPS, FRAMES, STRIDE = 1000, 1000, 50, 15
STEPS = FRAMES * STRIDE - STRIDE + 1
PRIVATE_KB = 300 << 10


def _each(value: Any, kind: pa.DataType) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), CLIPS)


def _lists(values: pa.Array, per_clip: int) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(CLIPS + 1, dtype=np.int32) * per_clip), values)


def _struct(**columns: np.ndarray | pa.Array) -> pa.StructArray:
    return pa.StructArray.from_arrays([pa.array(column) for column in columns.values()], names=list(columns))


def _columns() -> dict[str, pa.Array]:
    """What all shards have in common."""
    zeros, steps = np.zeros(CLIPS, np.int32), np.full(CLIPS, STEPS, np.int32)
    keyframes = np.tile(np.arange(FRAMES, dtype=np.int32) * STRIDE, CLIPS)
    member = _struct(offset=np.arange(CLIPS) << 20, size=np.full(CLIPS, 1000), crc32=zeros.astype(np.uint32))
    primary = pa.repeat(pa.scalar("primary"), CLIPS * FRAMES)
    number = np.arange(CLIPS * FRAMES)
    frames = _struct(
        camera=primary, step=keyframes, offset=number * 20480, size=np.full(len(number), 20000, np.int32),
        crc32=number.astype(np.uint32),
    )  # fmt: skip
    text = pa.string()
    return {
        "split": _each("train", text), "modality": _each("paired", text), "embodiment": _each("widowx", text),
        "instruction": pa.array([f"pick up cup {number % 97}" for number in range(CLIPS)]),
        "suite": pa.nulls(CLIPS, text), "task": pa.nulls(CLIPS, text), "hz": _each(float(STRIDE), pa.float64()),
        "stride": _each(STRIDE, pa.int32()), "num_steps": pa.array(steps), "cameras": _lists(_each("primary", text), 1),
        "keyframes": _lists(pa.array(keyframes), FRAMES), "step_runs": _lists(_struct(row=zeros, step=zeros), 1),
        "gaps": _each("break", text), "action_valid": _lists(_struct(start=zeros, stop=steps), 1),
        "clip": member, "action": member, "state": member, "frames": _lists(frames, FRAMES),
    }  # fmt: skip


def write_big(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, columns, listed = root / "arm", _columns(), []
    (folder / "train").mkdir(parents=True)
    for shard in range(SHARDS):
        names = {
            "key": pa.array([f"arm-{shard * CLIPS + number:016x}" for number in range(CLIPS)]),
            "episode": pa.array([f"episode/{shard * CLIPS + number}" for number in range(CLIPS)]),
        }
        table = pa.table({field.name: {**columns, **names}[field.name] for field in INDEX_SCHEMA}, schema=INDEX_SCHEMA)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, INDEX_SCHEMA) as writer:
            writer.write_table(table)
        data, name = sink.getvalue(), f"arm-train-{shard:06d}.tar"
        (folder / "train" / name).touch()
        (folder / "train" / name).with_suffix(".arrow").write_bytes(data)
        listed.append(
            {"name": name, "num_clips": CLIPS, "num_bytes": 0, "sha256": "0" * 64,
             "index_sha256": hashlib.sha256(data).hexdigest()}
        )  # fmt: skip
    (folder / "dataset.json").write_bytes(card_bytes(synthetic_card("arm", listed, {})))
    # There is nothing in the tars to compute statistics from, and they do not matter here.
    monkeypatch.setattr("vita_data.shards.stats._clips", lambda index, progress: iter(()))
    write_stats(folder)


_CODE = """
import sys
from vita_data.loader import MixedModalitySampler, Plan
from vita_data.types import Manifest, MixtureEntry
def told():
    with open("/proc/self/status") as file:
        print([line for line in file if line.startswith("RssAnon")][0].split()[1])
manifest = Manifest(name="t", path="t", entries=(MixtureEntry(source="arm", weight=1),))
plan = Plan.from_manifest(manifest, shards=sys.argv[1], stage=sys.argv[2], batch_size=1024)
told()
sampler = MixedModalitySampler(plan)
for k in range(0, 20_000, 1000):
    assert len(sampler.batch(k).windows) == 1024
told()
print(sum(pool.pool.num_windows for pools in plan.pools.values() for pool in pools))
"""


@pytest.mark.slow
def test_a_million_clips_open_in_little_private_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_big(tmp_path, monkeypatch)
    assert len(open_source(tmp_path / "arm", Split.TRAIN).shards) == SHARDS
    windows = {
        "warmup": SHARDS * CLIPS * (FRAMES - 1 + STEPS), "cotrain": SHARDS * CLIPS * FRAMES,
        "finetune": SHARDS * CLIPS * FRAMES,
    }  # fmt: skip
    for stage, wanted in windows.items():
        done = subprocess.run(
            [sys.executable, "-c", _CODE, tmp_path, stage], capture_output=True, text=True, check=True
        )
        opened_kb, used_kb, num_windows = map(int, re.findall(r"\d+", done.stdout))
        assert num_windows == wanted
        assert max(opened_kb, used_kb) < PRIVATE_KB, stage
    # pytest would keep these gigabytes.
    shutil.rmtree(tmp_path / "arm")
