"""One clip on a page: which clips to show, its stored images as a contact sheet, its actions and state as charts.

Reads only the images that are shown, so that a clip of ten minutes takes no longer than one of ten seconds.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import simplejpeg

from vita_data.errors import RequestError
from vita_data.pages.drawing.chart import Band, Chart, Series, Shade, evenly
from vita_data.pages.drawing.html import Picture
from vita_data.pages.shards.column_groups import ACTION_GROUPS, STATE_GROUPS, Group
from vita_data.shards.clip_fields import DEPTH
from vita_data.shards.episodes import EPISODES
from vita_data.shards.index import SourceIndex, invalid_content, open_source, read_clip, read_images
from vita_data.shards.reader import ShardFiles
from vita_data.shards.schema import frame_name
from vita_data.storage.files import AnyPath
from vita_data.types import CameraRole, Clip, Gaps, Json, Split, Track

THUMBNAIL_SIZE = 128
_QUALITY = 80
_MAX_KEYS_COMPARED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipView:
    """A clip without its images, and small copies of some of them."""

    clip: Clip
    num_stored: Mapping[CameraRole, int]
    pictures: Mapping[CameraRole, tuple[Picture, ...]]

    def sheets(self) -> Iterator[tuple[str, Sequence[Picture]]]:
        """Yield what to say about the images of each camera, and the images."""
        for camera, pictures in self.pictures.items():
            yield f"Camera {camera}: {len(pictures)} of {self.num_stored[camera]} stored images", pictures


def first_clips(folder: AnyPath, *, max_clips: int, max_frames: int) -> list[ClipView]:
    """Read the first clips of a built source, train before val, each with up to `max_frames` images per camera.

    Raises:
        ManifestError: the source has not been built in the folder.
        ShardError: a shard is damaged.
    """
    views: list[ClipView] = []
    for index in (open_source(folder, split) for split in Split):
        for shard, table in zip(index.shards, index.tables, strict=True):
            rows = table.slice(0, max_clips - len(views)).to_pylist()
            views += [_view(shard, row, max_frames=max_frames) for row in rows]
    return views


def clip_by_key(folder: AnyPath, key: str, *, max_frames: int) -> ClipView:
    """Read one clip of a built source.

    Raises:
        RequestError: no clip has that key; names similar keys and the place of the full list.
        ManifestError: the source has not been built in the folder.
        ShardError: a shard is damaged.
    """
    indexes = [open_source(folder, split) for split in Split]
    for index in indexes:
        for shard, table in zip(index.shards, index.tables, strict=True):
            row = pc.index(table.column("key"), key).as_py()
            if row >= 0:
                return _view(shard, table.slice(row, 1).to_pylist()[0], max_frames=max_frames)
    raise RequestError(f"no clip {key!r} in {folder}; {_hint(indexes, key)}"
                       f"the column `clip` of {folder / EPISODES} lists the first key of each episode")  # fmt: skip


def _hint(indexes: Sequence[SourceIndex], key: str) -> str:
    """Guess what was meant: an episode's id instead of its clip's key, or a misspelled key."""
    for table in (index.table for index in indexes):
        row = pc.index(table.column("episode"), key).as_py()
        if row >= 0:
            return f"it is an episode; its clip is {table.column('key')[row].as_py()!r}; "
    keys = pa.concat_tables([index.table.select(["key"]) for index in indexes]).slice(0, _MAX_KEYS_COMPARED)
    near = difflib.get_close_matches(key, keys.column("key").to_pylist(), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def _view(shard: AnyPath, row: Json, *, max_frames: int) -> ClipView:
    files = ShardFiles()
    try:
        clip = read_clip(files, shard, row, with_frames=False)
        stored = stored_steps(row)
        pictures = {
            camera: tuple(_thumbnails(files, shard, row, camera, [steps[at] for at in evenly(len(steps), max_frames)]))
            for camera, steps in stored.items()
        }
    finally:
        files.close()
    return ClipView(clip=clip, num_stored={role: len(steps) for role, steps in stored.items()}, pictures=pictures)


def stored_steps(row: Json) -> dict[CameraRole, list[int]]:
    """List the native steps of each camera's stored images, from a row of the index."""
    return {CameraRole(name): steps for name, steps in _steps(row).items() if not name.startswith(DEPTH)}


def depth_steps(row: Json) -> dict[str, list[int]]:
    """List the native steps of the stored depth images, by `depth_` and the camera."""
    return {name: steps for name, steps in _steps(row).items() if name.startswith(DEPTH)}


def _steps(row: Json) -> dict[str, list[int]]:
    frames = row["frames"]
    steps: dict[str, list[int]] = {}
    for frame in frames if isinstance(frames, list) else []:
        steps.setdefault(frame["camera"], []).append(frame["step"])
    return steps


def _thumbnails(
    files: ShardFiles, shard: AnyPath, row: Json, camera: CameraRole, steps: Sequence[int]
) -> Iterator[Picture]:
    hz = float(str(row["hz"]))
    wanted = {frame_name(camera, step): step for step in steps}
    jpegs = read_images(files, shard, row, list(wanted))
    for name, step in wanted.items():
        with invalid_content(f"shard {shard}, clip {row['key']}, member {name}"):
            small = shrink_jpeg(jpegs[name], max_width=THUMBNAIL_SIZE)
        yield Picture(jpeg=small, caption=f"step {step}, {step / hz:.2f} s")


def shrink_jpeg(jpeg: bytes, *, max_width: int) -> bytes:
    """Scale a JPEG down to a width, for a smaller page; a smaller JPEG is returned unchanged.

    Raises:
        ValueError: the bytes are not a JPEG.
    """
    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    if width <= max_width:
        return jpeg
    size = (max_width, max(1, round(height * max_width / width)))
    small = cv2.resize(simplejpeg.decode_jpeg(jpeg), size, interpolation=cv2.INTER_AREA)
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(small), quality=_QUALITY, colorsubsampling="420")
    return encoded


def action_charts(clip: Clip) -> tuple[Chart, ...]:
    """Draw the existing canonical actions, one chart per unit; rows that are not used in training are shaded."""
    if clip.action is None:
        return ()
    return _track_charts(clip, clip.action.track, ACTION_GROUPS, tuple(invalid_bands(clip)))


def state_charts(clip: Clip) -> tuple[Chart, ...]:
    """Draw the existing state columns, one chart per unit."""
    return () if clip.state is None else _track_charts(clip, clip.state, STATE_GROUPS, ())


def _track_charts(
    clip: Clip, track: Track, groups: Sequence[Group], bands: tuple[Band, ...]
) -> tuple[Chart, ...]:  # fmt: skip
    breaks = np.flatnonzero(np.diff(clip.step_index) > 1) + 1
    x = np.insert(clip.step_index.astype(np.float64), breaks, clip.step_index[breaks] - 0.5) / clip.hz
    values = np.insert(track.values.astype(np.float64), breaks, np.nan, axis=0)
    real = [(group, [column for column in group.columns() if track.mask[column]]) for group in groups]
    return tuple(
        Chart(
            title=f"{group.title} ({group.unit})", x_label="time (s)", y_label=group.unit,
            series=tuple(Series(name=group.names[column - group.start], x=x, y=values[:, column], colour=colour)
                         for colour, column in enumerate(columns)),
            bands=(*bands, *gap_bands(clip)),
        )
        for group, columns in real if columns
    )  # fmt: skip


def invalid_bands(clip: Clip) -> Iterator[Band]:
    """Yield the times whose actions are not used in training."""
    if clip.action is not None:
        for start, stop in _time_ranges(clip, _outside(clip.action.valid, clip.num_steps)):
            yield Band(start=start, stop=stop, meaning="invalid rows, not used in training", shade=Shade.FAULT)


def gap_bands(clip: Clip) -> Iterator[Band]:
    """Yield the times whose steps were removed."""
    meaning = {Gaps.BREAK: "removed steps", Gaps.BRIDGE: "removed steps without motion"}[clip.gaps]
    for row in np.flatnonzero(np.diff(clip.step_index) > 1):
        start, stop = clip.step_index[row] / clip.hz, clip.step_index[row + 1] / clip.hz
        yield Band(start=float(start), stop=float(stop), meaning=meaning, shade=Shade.ABSENCE)


def _outside(valid: Sequence[tuple[int, int]], num_rows: int) -> list[tuple[int, int]]:
    """Return the row ranges outside the valid ones."""
    edges = [0, *(edge for span in valid for edge in span), num_rows]
    return [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if stop > start]


def _time_ranges(clip: Clip, ranges: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """Convert row ranges to seconds, half a step wider on both sides so that a single row is visible."""
    steps = clip.step_index
    return [(float(steps[a] - 0.5) / clip.hz, float(steps[b - 1] + 0.5) / clip.hz) for a, b in ranges]
