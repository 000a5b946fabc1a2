"""One clip for the viewer: its texts, the times of its images, its plots with units, and groups of its images.

Images are read group by group, so that a clip of ten minutes opens as fast as one of ten seconds.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from vita_data.curation.quality import measure_motion
from vita_data.pages.drawing.chart import Band, Shade, evenly
from vita_data.pages.shards.clips import depth_steps, gap_bands, invalid_bands, shrink_jpeg, stored_steps
from vita_data.pages.shards.column_groups import ACTION_GROUPS, GRIPPER_UNIT, STATE_GROUPS, Group
from vita_data.pages.viewer.catalog import Place
from vita_data.pages.viewer.depth import DepthRange, depth_jpeg
from vita_data.shards.clip_fields import DEPTH
from vita_data.shards.index import invalid_content, read_clip, read_images
from vita_data.shards.reader import ShardFiles
from vita_data.shards.schema import frame_name, npy_array
from vita_data.types import Clip, Json, Track

GROUP = 24
"""Images that are loaded together."""
_THUMBNAIL_SIZE = 96
_NUM_FOR_RANGE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Columns of one unit over the clip's rows: `values` is base64 of float32 [columns, rows], little-endian."""

    kind: str
    title: str
    unit: str
    names: Sequence[str]
    always: Sequence[float]
    """Values that the axis always includes, so that a closed gripper does not look like an open one."""
    values: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaded:
    """A range of seconds and what it means."""

    start: float
    stop: float
    meaning: str
    is_fault: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSteps:
    """A camera, or the depth of one, and the native steps of its stored images."""

    name: str
    steps: Sequence[int]
    note: str = ""
    """What the colours mean, if they are not those of the scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewedClip:
    """Everything about a clip except its images; time is step / hz."""

    key: str
    hz: float
    steps: Sequence[int]
    keyframes: Sequence[int]
    """Native steps on the 1-second stride."""
    cameras: Sequence[CameraSteps]
    plots: Sequence[Plot]
    shaded: Sequence[Shaded]
    facts: Sequence[tuple[str, str]]


def view_clip(files: ShardFiles, place: Place) -> ViewedClip:
    """Read a clip without its images.

    Raises:
        ShardError: a member is damaged.
    """
    clip = read_clip(files, place.shard, place.row, with_frames=False)
    action = None if clip.action is None else clip.action.track
    return ViewedClip(
        key=clip.key,
        hz=clip.hz,
        steps=clip.step_index.tolist(),
        keyframes=clip.step_index[list(clip.keyframes)].tolist(),
        cameras=list(_cameras(files, place)),
        plots=[*_plots("action", action, ACTION_GROUPS), *_plots("state", clip.state, STATE_GROUPS)],
        shaded=[_shaded(band) for band in (*invalid_bands(clip), *gap_bands(clip))],
        facts=_facts(clip),
    )


def image_group(files: ShardFiles, place: Place, camera: int, group: int) -> list[str]:
    """Read a group of a camera's images, each as base64 of its JPEG.

    Raises:
        IndexError: the clip has no such camera or group.
        ShardError: an image is damaged.
    """
    name, steps = list(shown_steps(place.row).items())[camera]
    wanted = steps[group * GROUP : (group + 1) * GROUP]
    if not wanted:
        raise IndexError(f"expected a group below {num_groups(len(steps))}, got {group}")
    images = _images(files, place, name, wanted)
    if name.startswith(DEPTH):
        range_m = _depth_range(files, place, name, steps)
        images = [depth_jpeg(npy_array(image), range_m) for image in images]
    return [base64.b64encode(jpeg).decode("ascii") for jpeg in images]


def thumbnail(files: ShardFiles, place: Place) -> bytes:
    """Shrink the middle image of the first camera.

    Raises:
        IndexError: the clip has no image.
        ShardError: the image is damaged.
    """
    role, steps = next(iter(stored_steps(place.row).items()), (None, []))
    if role is None:
        raise IndexError("the clip has no image")
    (jpeg,) = _images(files, place, role, [steps[len(steps) // 2]])
    with invalid_content(f"shard {place.shard}, clip {place.row['key']}"):
        return shrink_jpeg(jpeg, max_width=_THUMBNAIL_SIZE)


def num_groups(num_images: int) -> int:
    """Count the groups of a camera's images."""
    return -(-num_images // GROUP)


def shown_steps(row: Json) -> dict[str, list[int]]:
    """List the native steps of the images that are shown: those of the cameras, then those of their depth."""
    return {**{str(role): steps for role, steps in stored_steps(row).items()}, **depth_steps(row)}


def _cameras(files: ShardFiles, place: Place) -> Iterator[CameraSteps]:
    for name, steps in shown_steps(place.row).items():
        note = str(_depth_range(files, place, name, steps)) if name.startswith(DEPTH) else ""
        yield CameraSteps(name=name, steps=steps, note=note)


def _depth_range(files: ShardFiles, place: Place, name: str, steps: Sequence[int]) -> DepthRange:
    """Take one range for a clip, from a few of its depth images, so that colours do not change over time."""
    some = _images(files, place, name, [steps[at] for at in evenly(len(steps), _NUM_FOR_RANGE)])
    return DepthRange.of(np.stack([npy_array(image) for image in some]))


def _images(files: ShardFiles, place: Place, camera: str, steps: Sequence[int]) -> list[bytes]:
    names = [frame_name(camera, step) for step in steps]
    found = read_images(files, place.shard, place.row, names)
    return [found[name] for name in names]


def _plots(kind: str, track: Track | None, groups: Sequence[Group]) -> list[Plot]:
    if track is None:
        return []
    real = [(group, [column for column in group.columns() if track.mask[column]]) for group in groups]
    return [
        Plot(
            kind=kind, title=group.title, unit=group.unit,
            names=[group.names[column - group.start] for column in columns],
            always=(0.0, 1.0) if group.unit == GRIPPER_UNIT else (),
            values=base64.b64encode(np.ascontiguousarray(track.values[:, columns].T, "<f4").tobytes()).decode("ascii"),
        )
        for group, columns in real if columns
    ]  # fmt: skip


def _shaded(band: Band) -> Shaded:
    return Shaded(start=band.start, stop=band.stop, meaning=band.meaning, is_fault=band.shade is Shade.FAULT)


def _facts(clip: Clip) -> list[tuple[str, str]]:
    texts = "\n".join(f"{text.text or '(empty)'} [{text.origin}]" for text in clip.instructions)
    found = [
        ("all texts", texts or "none"),
        ("key", clip.key),
        ("episode", clip.episode),
        ("source", f"{clip.source} {clip.release}"),
        ("split, modality", f"{clip.split}, {clip.modality}"),
        ("embodiment", f"{clip.embodiment} (arms: {clip.arms})"),
        ("rate", f"{clip.hz:.6g} Hz, keyframes every {clip.stride} steps"),
        ("steps, keyframes", f"{clip.num_steps:,}, {len(clip.keyframes):,}"),
        *_measures(clip),
        ("action origin", "none" if clip.action is None else str(clip.action.origin)),
        ("provenance", json.dumps(dict(clip.provenance), sort_keys=True, ensure_ascii=False)),
        ("extras", json.dumps(dict(clip.extras), sort_keys=True, ensure_ascii=False)),
    ]
    return [(name, value) for name, value in found if value != "{}"]


def _measures(clip: Clip) -> list[tuple[str, str]]:
    """List the measures of the clip's actions, as `vita-data episodes --quality` names them."""
    quality = measure_motion(clip)
    values = [(field.name, getattr(quality, field.name)) for field in fields(quality)]
    return [
        (name, f"{value:.4g}" if isinstance(value, float) else value)
        for name, value in values
        if value not in ("", None)
    ]
