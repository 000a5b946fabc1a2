"""Refuses a LeRobot dataset without the features that a source needs, once, before any episode is read."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress

from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.lerobot.dataset import open_rows
from vita_data.formats.lerobot.info import INFO_FILE, features_of, join
from vita_data.formats.lerobot.meta import LeRobotDataset
from vita_data.types import Json, RawTree

_NOT_NUMBERS = ("string", "image", "video", "language")


def require_features(
    raw: RawTree,
    dataset: LeRobotDataset,
    *,
    columns: Mapping[str, int],
    cameras: Sequence[str],
    optional_cameras: Sequence[str] = (),
    texts: Sequence[str] = (),
) -> None:
    """Refuse a dataset without the required features.

    Args:
        raw: the raw tree.
        dataset: the description of the dataset.
        columns: number of values per row of each required numeric feature.
        cameras: required features that are videos, or images in the table.
        optional_cameras: the same, which may be absent.
        texts: required string features.

    Raises:
        RequestError: names the features found and those expected, or a camera without any video.
    """
    features = features_of(dataset.info)
    faults = [fault for key, width in columns.items() if (fault := _column_fault(features, key, width))]
    faults += [fault for key in texts if (fault := _text_fault(features, key))]
    faults += [
        f"camera {key!r} not found; rename your camera in this file and its folder in videos/"
        for key in cameras
        if key not in features
    ]
    present = [key for key in (*cameras, *optional_cameras) if key in features]
    faults += [fault for key in present if (fault := _camera_fault(raw, dataset, key, features[key]))]
    if faults:
        found = ", ".join(f"{key} ({_kind(feature)})" for key, feature in features.items()) or "no features"
        name = join(dataset.root, INFO_FILE)
        raise RequestError(f"{name} in {raw.root}: {'; '.join(faults)}. Found: {found}")


def fits(dataset: LeRobotDataset, *, columns: Mapping[str, int], cameras: Sequence[str]) -> bool:
    """Tell whether a dataset describes numeric features of these widths, and these cameras."""
    features = features_of(dataset.info)
    has_cameras = all(key in features and features[key]["dtype"] in ("video", "image") for key in cameras)
    return has_cameras and not any(_column_fault(features, key, width) for key, width in columns.items())


def _column_fault(features: Mapping[str, Json], key: str, width: int) -> str:
    if key not in features:
        return f"feature {key!r} not found, expected {width} values per row"
    if features[key]["dtype"] in _NOT_NUMBERS:
        return f"{key!r} is {features[key]['dtype']}, expected {width} numbers per row"
    shape = features[key].get("shape")
    if not isinstance(shape, list) or math.prod(shape) == width:
        return ""
    return f"{key!r} has shape {shape}, expected [{width}]"


def _text_fault(features: Mapping[str, Json], key: str) -> str:
    if key not in features:
        return f"feature {key!r} not found, expected a text per row"
    return "" if features[key]["dtype"] == "string" else f"{key!r} is {features[key]['dtype']}, expected string"


def _camera_fault(raw: RawTree, dataset: LeRobotDataset, key: str, feature: Json) -> str:
    kind, told = feature["dtype"], feature.get("info")
    if kind not in ("video", "image"):
        return f"{key!r} is {kind}, expected a video or image"
    if isinstance(told, dict) and (told.get("video.is_depth_map") or told.get("is_depth_map")):
        return f"{key!r} is a depth map, expected colours"
    if kind == "image":
        return _image_fault(raw, dataset, key)
    files = dict.fromkeys(episode.videos[key].path for episode in dataset.episodes if not episode.fault)
    if any(raw.exists(file) for file in files):
        return ""
    return f"all videos of {key!r} are missing, the first is {next(iter(files))}; fetch them, or remove the feature"


def _image_fault(raw: RawTree, dataset: LeRobotDataset, key: str) -> str:
    """Look for the column in the first table that can be read; one that cannot fails its episodes later."""
    for episode in dataset.episodes:
        if not episode.fault and raw.exists(episode.table):
            with suppress(EpisodeError), open_rows(raw, episode) as (file, _):
                is_there = key in file.schema_arrow.names
                return "" if is_there else f"{key!r} is image, but the tables have no such column"
    return ""


def _kind(feature: Json) -> str:
    shape = feature.get("shape")
    return f"{feature['dtype']} {'x'.join(map(str, shape))}" if isinstance(shape, list) else str(feature["dtype"])
