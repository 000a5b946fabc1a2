"""A generated source with very many clips: only indexes and card, with empty tars, for opening and planning."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.bench.loader.card import synthetic_card
from pipelines.bench.loader.sizes import IndexSpec
from vita_data.shards.index import CARD, card_bytes
from vita_data.shards.schema import INDEX_SCHEMA
from vita_data.shards.stats import STATS, ColumnStats, GroupStats, StatsFile, stats_bytes
from vita_data.slots import ACTION_DIM, STATE_DIM
from vita_data.types import CameraRole, Gaps, Json, Modality, Split

SOURCE, EMBODIMENT = "wide", "widowx"
HZ = 5
_FRAME_BYTES = 20_000
_JSON_BYTES = 4_000
_EMPTY_SHA256 = hashlib.sha256().hexdigest()


def write_wide_index(raw: Path, spec: IndexSpec) -> int:
    """Write `wide`, a source with one camera and one frame per second; returns the number of frames in its index."""
    folder = raw / SOURCE
    shards = folder / Split.TRAIN
    shards.mkdir(parents=True)
    listed: list[Json] = []
    for number in range(spec.num_shards):
        shard = shards / f"{SOURCE}-train-{number:06d}.tar"
        shard.touch()
        index = _index_file(number, spec)
        shard.with_suffix(".arrow").write_bytes(index)
        listed.append(
            {
                "name": shard.name,
                "num_clips": spec.clips_per_shard,
                "num_bytes": 0,
                "sha256": _EMPTY_SHA256,
                "index_sha256": hashlib.sha256(index).hexdigest(),
            }
        )
    stats = stats_bytes(_stats(spec))
    (folder / STATS).write_bytes(stats)
    sums: Json = {STATS: hashlib.sha256(stats).hexdigest()}
    (folder / CARD).write_bytes(card_bytes(synthetic_card(SOURCE, listed, sums)))
    return spec.num_frames


def _index_file(shard: int, spec: IndexSpec) -> memoryview:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, INDEX_SCHEMA) as writer:
        writer.write_batch(_rows(shard, spec))
    return memoryview(sink.getvalue())


def _rows(shard: int, spec: IndexSpec) -> pa.RecordBatch:
    """Make the index rows of a shard, with offsets as in a real build."""
    clips, rng = spec.clips_per_shard, np.random.default_rng(shard)
    num_steps = (spec.frames_per_clip - 1) * HZ + 1
    sizes = rng.integers(_FRAME_BYTES // 2, _FRAME_BYTES * 2, (clips, spec.frames_per_clip)).astype(np.int32)
    vectors = (num_steps * ACTION_DIM * 4, num_steps * STATE_DIM * 4)
    # Each member has a header of 512 bytes before it; padding is omitted, since nothing is read.
    lengths = np.column_stack([np.tile([vectors[0], _JSON_BYTES], (clips, 1)), sizes, np.full(clips, vectors[1])])
    offsets = np.cumsum(lengths.ravel() + 512).reshape(lengths.shape) - lengths
    keys = [f"{SOURCE}-{number:016x}" for number in range(shard * clips, (shard + 1) * clips)]
    columns = {
        "key": pa.array(keys),
        "episode": pa.array([f"record/{number}" for number in range(shard * clips, (shard + 1) * clips)]),
        **{
            name: pa.array([value] * clips, INDEX_SCHEMA.field(name).type)
            for name, value in {
                "split": str(Split.TRAIN),
                "modality": str(Modality.PAIRED),
                "embodiment": EMBODIMENT,
                "instruction": "put the carrot on the plate",
                "suite": None,
                "task": None,
                "hz": float(HZ),
                "stride": HZ,
                "num_steps": num_steps,
                "gaps": str(Gaps.BREAK),
            }.items()
        },
        "cameras": _lists(pa.array([str(CameraRole.PRIMARY)] * clips), 1),
        "keyframes": _lists(_tiled(np.arange(0, num_steps, HZ), clips), spec.frames_per_clip),
        "step_runs": _lists(_struct("step_runs", np.zeros(clips, np.int32), np.zeros(clips, np.int32)), 1),
        "action_valid": _lists(_struct("action_valid", np.zeros(clips), np.full(clips, num_steps)), 1),
        "action": _members(offsets[:, 0], vectors[0], rng),
        "clip": _members(offsets[:, 1], _JSON_BYTES, rng),
        "state": _members(offsets[:, -1], vectors[1], rng),
        "frames": _frames(offsets[:, 2:-1], sizes, num_steps, rng),
    }
    return pa.RecordBatch.from_arrays([columns[field.name] for field in INDEX_SCHEMA], schema=INDEX_SCHEMA)


def _frames(
    offsets: NDArray[np.int64], sizes: NDArray[np.int32], num_steps: int, rng: np.random.Generator
) -> pa.ListArray:
    clips, frames = offsets.shape
    type_ = INDEX_SCHEMA.field("frames").type.value_type
    values = [
        pa.repeat(pa.scalar(str(CameraRole.PRIMARY)), clips * frames),
        _tiled(np.arange(0, num_steps, HZ), clips),
        pa.array(offsets.ravel()),
        pa.array(sizes.ravel()),
        _sums(clips * frames, rng),
    ]
    return _lists(pa.StructArray.from_arrays(values, fields=list(type_)), frames)


def _members(offsets: NDArray[np.int64], size: int, rng: np.random.Generator) -> pa.StructArray:
    values = [pa.array(offsets), pa.array(np.full(len(offsets), size)), _sums(len(offsets), rng)]
    return pa.StructArray.from_arrays(values, fields=list(INDEX_SCHEMA.field("clip").type))


def _struct(column: str, *parts: NDArray[np.generic]) -> pa.StructArray:
    values = [pa.array(part.astype(np.int32)) for part in parts]
    return pa.StructArray.from_arrays(values, fields=list(INDEX_SCHEMA.field(column).type.value_type))


def _lists(values: pa.Array, length: int) -> pa.ListArray:
    """Split values into lists of equal length."""
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, length, dtype=np.int32)), values)


def _tiled(values: NDArray[np.integer], times: int) -> pa.Array:
    return pa.array(np.tile(values.astype(np.int32), times))


def _sums(count: int, rng: np.random.Generator) -> pa.Array:
    return pa.array(rng.integers(0, 1 << 32, count, dtype=np.uint32))


def _stats(spec: IndexSpec) -> StatsFile:
    num_rows = spec.num_clips * ((spec.frames_per_clip - 1) * HZ + 1)
    action, state = np.zeros(ACTION_DIM, bool), np.zeros(STATE_DIM, bool)
    action[16:23], state[24:34] = True, True
    group = GroupStats(action=_column_stats(action, num_rows), state=_column_stats(state, num_rows))
    return StatsFile(name=SOURCE, source=group, embodiment={EMBODIMENT: group})


def _column_stats(mask: NDArray[np.bool_], num_rows: int) -> ColumnStats:
    def figure(value: float) -> NDArray[np.float64]:
        return np.where(mask, value, np.nan)

    return ColumnStats(
        count=num_rows,
        mean=figure(0.0),
        std=figure(0.5),
        min=figure(-1.0),
        max=figure(1.0),
        q01=figure(-0.9),
        q99=figure(0.9),
        mask=mask,
    )
