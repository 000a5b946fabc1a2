"""The contents of a sample's episodes as a table: lengths, cameras with frame sizes, vectors with shape and range."""

from collections.abc import Iterator

import numpy as np

from vita_data.pages.drawing.html import Cell
from vita_data.probe.sample import Sample, SampledEpisode
from vita_data.types import CameraRole, Float64


def reading_rows(sample: Sample) -> Iterator[tuple[Cell, ...]]:
    """Make a row for the length, for each camera and for each vector, over all episodes with it."""
    if sample.episodes:
        lengths = [len(sampled.episode.step_index) for sampled in sample.episodes]
        span = f"{min(lengths)} to {max(lengths)}, median {np.median(lengths):g}"
        yield "rows of an episode", len(lengths), "int", span
    for role in sorted({role for sampled in sample.episodes for role in sampled.num_frames}):
        frames = {frame for sampled in sample.episodes for frame in _frame_kinds(sampled, role)}
        num = sum(role in sampled.num_frames for sampled in sample.episodes)
        yield f"camera {role}", num, ", ".join(sorted(frames)) or "not checked", "uint8 RGB"
    values: dict[str, list[Float64]] = {}
    for sampled in sample.episodes:
        for name, value in sampled.readings():
            values.setdefault(name, []).append(value)
    for name, found in values.items():
        shapes = sorted({f"{value.dtype} [T{''.join(f', {size}' for size in value.shape[1:])}]" for value in found})
        finite = [value[np.isfinite(value)] for value in found]
        low, high = min(v.min(initial=np.inf) for v in finite), max(v.max(initial=-np.inf) for v in finite)
        yield name, len(found), ", ".join(shapes), f"{low:.4g} to {high:.4g}"


def _frame_kinds(sampled: SampledEpisode, role: CameraRole) -> set[str]:
    return {f"{f.height}x{f.width} {f.encoding}" for f in sampled.frames if f.role is role}
