"""Annotations of Ego4D in compressed Arrow columns, video by video.

As Python objects, the 3.85 million narrations of the release take gigabytes in every worker, so only those of the
current video are converted back to objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa

from vita_data.sources.ego4d.json_files import FhoAction, Narration, Span, parse_actions, parse_narrations
from vita_data.sources.ego4d.narrations import alpha_of, mean_gaps_s

_REPEATED = pa.dictionary(pa.int32(), pa.string())
_SPAN = pa.struct({"start_s": pa.float64(), "end_s": pa.float64()})
_ACTIONS = pa.schema(
    {
        "uid": pa.string(),
        "span": _SPAN,
        "text": pa.string(),
        "clip_uid": _REPEATED,
        "is_withheld": pa.bool_(),
        "fault": _REPEATED,
    }
)
_NARRATIONS = pa.schema(
    {
        "timeline": _REPEATED,
        "annotation_uid": _REPEATED,
        "place": pa.string(),
        "time_s": pa.float64(),
        "text": pa.string(),
    }
)
# the fastest codec, and good enough: annotations of one video are repetitive
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The annotations of one video; `data` is an Arrow stream."""

    num_rows: int
    data: bytes


def read_actions(file: BinaryIO) -> dict[str, Packed]:
    """Map the uid of each video to its FHO actions; raises like `parse_actions`."""
    return {uid: _pack_actions(actions) for uid, actions in parse_actions(file)}


def read_narrations(file: BinaryIO) -> tuple[dict[str, Packed], float]:
    """Map the uid of each video to its narrations, and compute alpha in seconds; raises like `parse_narrations`."""
    packed: dict[str, Packed] = {}
    gaps_s: dict[str, dict[str, float]] = {}
    for uid, narrations in parse_narrations(file):
        packed[uid], gaps_s[uid] = _pack_narrations(narrations), mean_gaps_s(narrations)
    # for a duplicate uid, the later gaps count, like the later narrations
    return packed, alpha_of(gap for of_video in gaps_s.values() for gap in of_video.values())


def unpack_actions(packed: Packed) -> list[FhoAction]:
    """Return the FHO actions of one video, in file order."""
    return [FhoAction(**{**row, "span": row["span"] and Span(**row["span"])}) for row in _unpack(packed)]


def unpack_narrations(packed: Packed) -> list[Narration]:
    """Return the narrations of one video, in file order."""
    return [Narration(**row) for row in _unpack(packed)]


def _pack_actions(actions: Sequence[FhoAction]) -> Packed:
    columns = {name: [getattr(action, name) for action in actions] for name in _ACTIONS.names}
    spans = [span and {"start_s": span.start_s, "end_s": span.end_s} for span in columns["span"]]
    return _pack({**columns, "span": spans}, _ACTIONS)


def _pack_narrations(narrations: Sequence[Narration]) -> Packed:
    return _pack({name: [getattr(said, name) for said in narrations] for name in _NARRATIONS.names}, _NARRATIONS)


def _pack(columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> Packed:
    batch, sink = pa.RecordBatch.from_pydict(columns, schema=schema), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=_COMPRESSED) as stream:
        stream.write_batch(batch)
    return Packed(num_rows=batch.num_rows, data=sink.getvalue().to_pybytes())


def _unpack(packed: Packed) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.ipc.open_stream(packed.data).read_all().to_pylist()
    return rows
