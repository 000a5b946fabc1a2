"""OpenVLA's RLDS releases of LIBERO, `<suite>_no_noops/1.0.0` or renamed: detection, reading, and toy trees.

Keys and types are those of the conversion's dataset builder. The source interprets the actions.

Assumes: copies without `joint_state`, `wrist_image` or `file_path` exist, since not all descriptions of the release
    name these keys.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath

import numpy as np

from vita_data.errors import EpisodeError
from vita_data.formats.encoded_frames import EncodedFrames, any_image
from vita_data.formats.rlds.features import FeatureKind, FeatureSpec
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.rlds.write import RldsValues, write_rlds
from vita_data.formats.toy import ToyArm, toy_frames, toy_jpeg
from vita_data.sources.libero.release import OFFICIAL_SIZE
from vita_data.types import CameraRole, CameraStream, Float64

CAMERAS = {CameraRole.PRIMARY: "image", CameraRole.WRIST_RIGHT: "wrist_image"}
_TOY_RELEASE = "{}_no_noops/1.0.0"
_SIZE = 256
ACTION = "steps/action"
"""Raw commands [T, 7]."""
_STATE, _JOINTS = "steps/observation/state", "steps/observation/joint_state"
_TEXT, _FILE_PATH = "steps/language_instruction", "episode_metadata/file_path"
_IMAGE = f"steps/observation/{CAMERAS[CameraRole.PRIMARY]}"
_NEEDED: Mapping[str, tuple[int, ...] | None] = {_IMAGE: None, _STATE: (8,), ACTION: (7,), _TEXT: None}
"""The shape of a step's value by key; None if it may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiberoRecord:
    """One replayed demonstration of T steps as recorded: each observation is from before its action."""

    state: Float64
    """[T, 8] hand position m, axis-angle rad, two finger positions m"""
    joints_rad: Float64 | None
    """[T, 7]"""
    action: Float64
    """[T, 7] raw command"""
    cameras: Mapping[CameraRole, CameraStream]
    texts: tuple[str, ...]
    """Each text once, in the order of the steps; one empty text if there is none."""
    task: str
    """The simulator's name of the task."""


def layout_fault(features: Mapping[str, FeatureSpec]) -> str | None:
    """Describe a missing or unexpected key; None if all of LIBERO's keys are as expected."""
    for key, shape in _NEEDED.items():
        if key not in features:
            return f"expected {key}, got the keys {', '.join(sorted(features))}"
        if shape not in (None, features[key].shape):
            return f"expected {key} of shape {shape}, got {features[key].shape}"
    return None


def is_replay(features: Mapping[str, FeatureSpec]) -> bool:
    """Tell whether the images have another size than in the official files.

    A plain conversion of the official files keeps their 128x128 and pairs each observation with the action that led
    to it; OpenVLA's replay records 256x256 and, like all replays, before the action.

    Source: the conversions' dataset builders (libero_dataset_builder; OpenVLA's rlds_dataset_builder).
    """
    size = image_size(features)
    return None not in size and size != OFFICIAL_SIZE


def image_size(features: Mapping[str, FeatureSpec]) -> tuple[int | None, int | None]:
    """Return (height, width) of the primary camera's images; None if features.json does not give it."""
    height, width, *_ = *features[_IMAGE].shape, None, None
    return height, width


def read_libero_record(record: RldsRecord) -> LiberoRecord:
    """Read one record; its JPEG bytes are passed on as stored. A camera without any image is omitted.

    Raises:
        EpisodeError: a key is missing, or has another shape or another length than the actions.
    """
    action, state = _wide(record, ACTION, 7), _wide(record, _STATE, 8)
    joints = _wide(record, _JOINTS, 7) if record.has(_JOINTS) else None
    keys = {role: f"steps/observation/{key}" for role, key in CAMERAS.items()}
    images = {role: record.byte_strings(key) for role, key in keys.items() if record.has(key)}
    images = {role: frames for role, frames in images.items() if any_image(frames)}
    texts = tuple(text for text in dict.fromkeys(record.texts(_TEXT)) if text.strip()) or ("",)
    sizes = {_STATE: len(state), **{f"{role} images": len(frames) for role, frames in images.items()}}
    for key, size in (sizes if joints is None else sizes | {_JOINTS: len(joints)}).items():
        if size != len(action):
            raise EpisodeError(f"{record.id}: {key} has {size} rows but there are {len(action)} actions")
    return LiberoRecord(
        state=state,
        joints_rad=joints,
        action=action,
        cameras={role: EncodedFrames(frames) for role, frames in images.items()},
        texts=texts,
        task=_task(record, texts[0]),
    )


def _wide(record: RldsRecord, key: str, width: int) -> Float64:
    values = record.floats(key)
    if values.ndim != 2 or values.shape[1] != width:
        raise EpisodeError(f"{record.id}: {key} has shape {values.shape}, expected [T, {width}]")
    return values


def _task(record: RldsRecord, text: str) -> str:
    """Name the task after the file it was converted from, which has the scene that the text lacks.

    The rest of that path, in any system's format, is from the converter's machine and is removed.

    Assumes: without a file, the text with underscores names the task; the scene is then missing in suites with scenes.
    """
    paths = record.texts(_FILE_PATH) if record.has(_FILE_PATH) else []
    name = PureWindowsPath(paths[0]).stem.removesuffix("_demo") if paths else ""
    return name or text.replace(" ", "_")


# ------------------------------------------------------------------------------------------------------- toy tree


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyLiberoEpisode:
    """The content of a toy record of T steps besides its frames; `number` identifies its frames."""

    number: int
    arm: ToyArm
    """At least T rows."""
    state: Float64
    joints_rad: Float64
    action: Float64
    task: str
    text: str


def write_libero_rlds(root: str, *, suite: str, files: Sequence[Sequence[ToyLiberoEpisode]]) -> None:
    """Write `<suite>_no_noops/1.0.0`, which, like the real releases, has only the split train."""
    flags = {f"steps/{name}": _spec(dtype="bool") for name in ("is_first", "is_last", "is_terminal")}
    features = flags | {
        ACTION: _spec(7),
        _STATE: _spec(8),
        _JOINTS: _spec(7),
        **{
            f"steps/observation/{key}": FeatureSpec(
                kind=FeatureKind.IMAGE, dtype="uint8", shape=(_SIZE, _SIZE, 3), num_levels=1
            )
            for key in CAMERAS.values()
        },
        _TEXT: FeatureSpec(kind=FeatureKind.TEXT, dtype="string", num_levels=1),
        "steps/discount": _spec(),
        "steps/reward": _spec(),
        _FILE_PATH: FeatureSpec(kind=FeatureKind.TEXT, dtype="string"),
    }
    train = [[_toy_record(episode) for episode in episodes] for episodes in files]
    write_rlds(root, release=_TOY_RELEASE.format(suite), features=features, splits={"train": train})


def _spec(*shape: int, dtype: str = "float32") -> FeatureSpec:
    return FeatureSpec(shape=shape, dtype=dtype, num_levels=1)


def _toy_record(episode: ToyLiberoEpisode) -> RldsValues:
    num_steps = len(episode.action)
    step = np.arange(num_steps)
    last = step == num_steps - 1
    return {
        "steps/is_first": step == 0,
        "steps/is_last": last,
        "steps/is_terminal": last,
        ACTION: episode.action,
        _STATE: episode.state,
        _JOINTS: episode.joints_rad,
        **{
            f"steps/observation/{key}": _toy_jpegs(episode, camera, role)
            for camera, (role, key) in enumerate(CAMERAS.items())
        },
        _TEXT: [episode.text.encode()] * num_steps,
        "steps/discount": np.ones(num_steps),
        "steps/reward": last.astype(np.float64),
        _FILE_PATH: [f"/home/converter/libero/{episode.task}_demo.hdf5".encode()],
    }


def _toy_jpegs(episode: ToyLiberoEpisode, camera: int, role: CameraRole) -> list[bytes]:
    steps = range(len(episode.action))
    frames = toy_frames(_SIZE, _SIZE, steps, camera=camera, episode=episode.number, arms=[episode.arm], role=role)
    return [toy_jpeg(frame) for frame in frames]
