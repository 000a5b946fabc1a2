"""Writes a built source as Parquet, one row a clip, which `datasets` and polars open as it is."""

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from vita_data.builder.names import stored_name
from vita_data.command.progress import SILENT, Progress
from vita_data.export.card import ExportNote, card_text, write_card
from vita_data.export.opened import ExportRequest, ExportResult, OpenedSource, clips_of, export_folder, open_for_export
from vita_data.export.tables import FEATURES_KEY, TableFiles
from vita_data.slots import ACTION_DIM, STATE_DIM
from vita_data.types import CameraRole, Clip, Split, Track

FILE_BYTES = 500e6
_GROUP_BYTES = 32e6
"""Clips are read and written in groups of this size, so that small clips do not each have their own."""
_ABOUT = """Parquet with one row a clip: {num} clips.

- `action` [T, 40] and `state` [T, 64] in physical units. `action_mask` and `state_mask` say which columns are real; the
  others are 0 and have no meaning. `action_valid` [T] is False where an action may not be learned from.
- Columns of `action`: left arm from 0, right arm from 16 (a single arm is the right one): dx dy dz in m, droll dpitch
  dyaw in rad (extrinsic xyz Euler angles of the turn, base frame, per native step), gripper (0 closed, 1 open), seven
  joint targets in rad; base dx dy dyaw from 32.
- Columns of `state`: left arm from 0, right arm from 24: x y z in m, the first two columns of the rotation matrix,
  gripper, seven joints in rad, seven joint velocities in rad/s; base x y yaw from 48.
- Each camera is a list of JPEG images; `NAME_rows` says to which rows they belong.
- `step_index` [T]: the native step of each row, `hz` of them in a second.
"""


def export_parquet(
    request: ExportRequest, *, progress: Progress = SILENT, file_bytes: float = FILE_BYTES
) -> ExportResult:
    """Write the tables; progress counts clips.

    Raises:
        ManifestError: nothing is built in the folder.
        RequestError: the output is taken, or the licence forbids passing on.
        ShardError: a shard is damaged.
    """
    source = open_for_export(request)
    cameras = _cameras(source)
    num_rows = 0
    with export_folder(request.out) as root:
        progress.start(source.num_clips)
        for split in source.splits:
            files = TableFiles(root, _template(split.split), max_bytes=file_bytes)
            try:
                num_rows += _write_clips(clips_of(split), files, cameras, progress)
            finally:
                files.close()
        note = ExportNote(
            source=source.name, format="parquet", licence=source.licence, redistributable=source.redistributable
        )
        write_card(root, _card(source), note)
    notes = ("depth images are not exported",) if source.has_depth else ()
    return ExportResult(
        folder=str(request.out), num_clips=source.num_clips, num_episodes=source.num_clips, num_rows=num_rows,
        notes=notes,
    )  # fmt: skip


def _write_clips(clips: Iterator[Clip], files: TableFiles, cameras: Sequence[CameraRole], progress: Progress) -> int:
    """Write clips; return the number of their rows."""
    pending, schema = list[pa.Table](), _schema(cameras)
    num_rows = num_bytes = 0
    for clip in clips:
        pending.append(_table(clip, cameras, schema))
        num_rows, num_bytes = num_rows + clip.num_steps, num_bytes + pending[-1].nbytes
        if num_bytes >= _GROUP_BYTES:
            files.write(pa.concat_tables(pending))
            pending, num_bytes = [], 0
        progress.update()
    if pending:
        files.write(pa.concat_tables(pending))
    return num_rows


def _template(split: Split) -> str:
    # `datasets` finds splits by such names, and there is never more than one folder of 1000 files in reach.
    return f"data/{split}-" + "{chunk_index:03d}{file_index:03d}.parquet"


def _cameras(source: OpenedSource) -> tuple[CameraRole, ...]:
    found = {name for split in source.splits for names in split.clips["cameras"].to_list() for name in names}
    return tuple(role for role in CameraRole if role in found)


def _schema(cameras: Sequence[CameraRole]) -> pa.Schema:
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    said = pa.list_(pa.struct([("text", pa.string()), ("origin", pa.string())]))
    texts = ("key", "source", "release", "episode", "split", "modality", "embodiment", "arms")
    fields = [(name, pa.string()) for name in texts]
    fields += [
        ("hz", pa.float64()), ("instruction", pa.string()), ("instructions", said), ("num_steps", pa.int64()),
        ("step_index", pa.list_(pa.int64())), ("gaps", pa.string()), ("keyframes", pa.list_(pa.int64())),
        ("action", pa.list_(pa.list_(pa.float32(), ACTION_DIM))), ("action_mask", pa.list_(pa.bool_())),
        ("action_valid", pa.list_(pa.bool_())), ("action_origin", pa.string()),
        ("state", pa.list_(pa.list_(pa.float32(), STATE_DIM))), ("state_mask", pa.list_(pa.bool_())),
    ]  # fmt: skip
    for role in cameras:
        fields += [(role, pa.list_(picture)), (f"{role}_rows", pa.list_(pa.int64()))]
    schema = pa.schema([*fields, ("provenance", pa.string()), ("extras", pa.string())])
    described = {field.name: _described(field.type, picture) for field in schema}
    return schema.with_metadata({FEATURES_KEY: json.dumps({"info": {"features": described}})})


def _described(kind: pa.DataType, picture: pa.DataType) -> object:
    """Describe a column in the words of `datasets`, which then decodes the images."""
    if kind == picture:
        return {"_type": "Image"}
    if pa.types.is_struct(kind):
        return {field.name: _described(field.type, picture) for field in kind}
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _described(kind.value_type, picture), "length": kind.list_size, "_type": "List"}
    if pa.types.is_list(kind):
        return {"feature": _described(kind.value_type, picture), "_type": "List"}
    named = {pa.float32(): "float32", pa.float64(): "float64"}
    return {"dtype": named.get(kind, str(kind)), "_type": "Value"}


def _table(clip: Clip, cameras: Sequence[CameraRole], schema: pa.Schema) -> pa.Table:
    row = {**dict(_facts(clip)), **_vectors(clip)}
    for role in cameras:
        stored = clip.frames.get(role, ())
        row[role] = [
            {"bytes": frame.jpeg, "path": f"{clip.key}.{role}.{clip.step_index[frame.row]:06d}.jpg"} for frame in stored
        ]
        row[f"{role}_rows"] = [frame.row for frame in stored]
    return pa.table({field.name: _one(row[field.name], field.type) for field in schema}, schema=schema)


def _facts(clip: Clip) -> Iterator[tuple[str, object]]:
    for name in ("key", "source", "release", "episode", "split", "modality", "embodiment", "arms", "hz", "gaps",
                 "num_steps", "step_index", "keyframes"):  # fmt: skip
        yield name, getattr(clip, name)
    yield "instruction", clip.instruction.text
    yield "instructions", [{"text": text.text, "origin": text.origin} for text in clip.instructions]
    for name, values in (("provenance", clip.provenance), ("extras", clip.extras)):
        yield name, stored_name(json.dumps(dict(values), sort_keys=True, ensure_ascii=False))


def _vectors(clip: Clip) -> dict[str, object]:
    action = clip.action
    return {
        **_track("action", None if action is None else action.track),
        "action_valid": None if action is None else action.is_valid,
        "action_origin": None if action is None else action.origin,
        **_track("state", clip.state),
    }


def _track(name: str, track: Track | None) -> dict[str, object]:
    return {name: None if track is None else track.values, f"{name}_mask": None if track is None else track.mask}


def _one(value: object, kind: pa.DataType) -> pa.Array:
    """Make a column of one row; matrices without a detour over lists of Python."""
    if not isinstance(value, np.ndarray) or value.ndim == 1:
        return pa.array([value], kind)
    rows = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(value).reshape(-1)), value.shape[1])
    return pa.ListArray.from_arrays(pa.array([0, len(value)], pa.int32()), rows)


def _card(source: OpenedSource) -> str:
    splits = [split.split for split in source.splits if len(split)]
    about = _ABOUT.format(num=source.num_clips)
    return card_text(
        source, tags=["robotics"], files=[(name, f"data/{name}-*.parquet") for name in splits], about=about
    )
