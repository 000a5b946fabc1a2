"""Checks the values of an index, which may come from a stranger: readers take its numbers and names as they are."""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vita_data.shards.clip_fields import CAMERAS, LEAST_HZ, MOST_HZ
from vita_data.shards.tar import MAX_MEMBER_BYTES
from vita_data.types import Gaps, Modality, Split

_MAY_BE_NULL = frozenset({"instruction", "suite", "task", "action_valid", "action", "state"})
_LISTS = ("cameras", "keyframes", "step_runs", "action_valid")
_MEMBERS = ("clip", "action", "state")
_RANGES: Mapping[str, tuple[float, float]] = {
    "hz": (LEAST_HZ, MOST_HZ),
    "stride": (1, 1 << 30),
    "num_steps": (1, 1 << 30),
    "offset": (0, 1 << 50),
    "size": (0, MAX_MEMBER_BYTES),
}
"""Least and greatest numbers, far wider than any build writes."""
_MAX_CLIP_BYTES = 1 << 31
"""Most bytes of a clip's members, which are read together; ten minutes of three cameras at 30 Hz have about 1 GB."""
_NAMES: Mapping[str, type[StrEnum]] = {"split": Split, "modality": Modality, "gaps": Gaps}


def index_fault(table: pa.Table) -> str:
    """Describe the first column with a value that no build writes; empty if there is none.

    Args:
        table: the columns of `schema.INDEX_SCHEMA`, with valid offsets.
    """
    for name in table.column_names:
        if table[name].null_count and name not in _MAY_BE_NULL:
            return f"column {name} has nulls"
    checks: tuple[Callable[[pa.Table], Iterator[str]], ...] = (
        _item_faults, _number_faults, _name_faults, _member_faults, _size_faults, _span_faults,
    )  # fmt: skip
    return next((fault for check in checks for fault in check(table)), "")


def _item_faults(table: pa.Table) -> Iterator[str]:
    for name in _LISTS:
        items = pc.list_flatten(table[name].combine_chunks())
        parts = [items, *items.flatten()] if pa.types.is_struct(items.type) else [items]
        if any(part.null_count for part in parts):
            yield f"column {name} has items that are null"


def _number_faults(table: pa.Table) -> Iterator[str]:
    for name in ("hz", "stride", "num_steps"):
        yield from _range_faults(table[name], name, name)
    keyframes = table["keyframes"].combine_chunks()
    rows, num_steps = pc.list_flatten(keyframes), table["num_steps"].combine_chunks()
    if _are_within(rows, 0, (pc.min(num_steps).as_py() or 0) - 1):
        return  # rows that the shortest clip has are in every clip; looking up each one's clip takes far longer
    is_inside = pc.and_(pc.greater_equal(rows, 0), pc.less(rows, num_steps.take(pc.list_parent_indices(keyframes))))
    if not pc.all(is_inside, min_count=0).as_py():
        yield "column keyframes has rows that a clip does not have"


def _name_faults(table: pa.Table) -> Iterator[str]:
    for name, kind in _NAMES.items():
        yield from _unknown(table[name], name, frozenset(map(str, kind)))
    yield from _unknown(pc.list_flatten(table["cameras"]), "cameras", CAMERAS)


def _member_faults(table: pa.Table) -> Iterator[str]:
    for name, members in _members(table):
        for part in members.type:
            values = pc.struct_field(members, part.name)
            if values.null_count:
                yield f"column {name} has members without {part.name}"
            elif part.name == "camera":
                yield from _unknown(values, name, CAMERAS)
            elif part.name in _RANGES:
                yield from _range_faults(values, part.name, name)


def _size_faults(table: pa.Table) -> Iterator[str]:
    frames = table["frames"].combine_chunks()
    sizes = pc.struct_field(pc.list_flatten(frames), "size")
    if (pc.sum(sizes).as_py() or 0) <= _MAX_CLIP_BYTES:
        return  # true of nearly all shards; adding up each clip's takes longer
    totals = np.bincount(pc.list_parent_indices(frames).to_numpy(), sizes.to_numpy(), minlength=len(frames))
    if totals.max() > _MAX_CLIP_BYTES:
        yield f"column frames: expected at most {_MAX_CLIP_BYTES} bytes for a clip, found {totals.max():.0f}"


def _span_faults(table: pa.Table) -> Iterator[str]:
    num_steps = table["num_steps"].combine_chunks()
    for name, first, last in (("step_runs", "row", "row"), ("action_valid", "start", "stop")):
        lists = table[name].combine_chunks()
        items = pc.list_flatten(lists)
        start, stop = pc.struct_field(items, first), pc.struct_field(items, last)
        is_inside = pc.and_(pc.greater_equal(start, 0), pc.less_equal(start, stop))
        is_inside = pc.and_(is_inside, pc.less_equal(stop, num_steps.take(pc.list_parent_indices(lists))))
        if not pc.all(is_inside, min_count=0).as_py():
            yield f"column {name} has rows that a clip does not have"


def _members(table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    for name in _MEMBERS:
        yield name, table[name].combine_chunks().drop_null()
    yield "frames", pc.list_flatten(table["frames"].combine_chunks())


def _range_faults(values: pa.Array | pa.ChunkedArray, what: str, column: str) -> Iterator[str]:
    least, most = _RANGES[what]
    if not _are_within(values, least, most):
        is_inside = pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most))  # false for a NaN
        wrong = values.filter(pc.invert(is_inside))[0].as_py()
        yield f"column {column}: expected {what} from {least:g} to {most:g}, found {wrong}"


def _are_within(values: pa.Array | pa.ChunkedArray, least: float, most: float) -> bool:
    """Tell whether all numbers lie in a range, by the least and the greatest of them; a NaN does not."""
    ends = pc.min_max(values)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    has_nan = pa.types.is_floating(values.type) and pc.any(pc.is_nan(values), min_count=0).as_py()
    return low is None or (least <= low and high <= most and not has_nan)


def _unknown(values: pa.Array | pa.ChunkedArray, column: str, known: frozenset[str]) -> Iterator[str]:
    if isinstance(values, pa.StringArray) and len(values) and are_all(values, first := values[0].as_py()):
        values = pa.array([first])  # most columns have one name, and telling that is faster than collecting names
    if unknown := set(pc.unique(values).to_pylist()) - known:
        yield f"column {column}: expected {', '.join(sorted(known))}, found {min(map(repr, unknown)):.80}"


def are_all(texts: pa.StringArray, name: str) -> bool:
    """Tell whether all texts [n] are the same name, from the column's bytes: text by text takes three times as long."""
    if texts.null_count or not len(texts):
        return not len(texts)
    _, ends, letters = texts.buffers()
    offsets, size = np.frombuffer(ends, np.int32)[texts.offset : texts.offset + len(texts) + 1], len(name)
    if not (offsets[1:] - offsets[:-1] == size).all():
        return False
    each = np.frombuffer(letters, np.uint8)[offsets[0] : offsets[-1]]
    # Each letter equals the one a name earlier, and the first name is the wanted one.
    return each[:size].tobytes() == name.encode() and bool((each[size:] == each[:-size]).all())
