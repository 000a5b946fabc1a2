"""Frame files of a split, and those that a built clip came from: its commands, and the state to start from."""

from pathlib import PurePosixPath

import numpy as np

from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.npz import read_members
from vita_data.types import Clip, Demonstration, Float64, Json, RawTree, Split

SPLITS = {"training": Split.TRAIN, "validation": Split.VAL}
_VALIDATION_SCENE = "calvin_scene_D"
"""Of every release, also where `scene_info.npy` is missing."""


def frame_name(folder: str, frame: int) -> str:
    """Name the file of a frame."""
    return f"{folder}/episode_{frame:07d}.npz"


def frame_place(raw: RawTree, folder: str, frame: int) -> tuple[str, str]:
    """Give the local path of a frame's file, and its name in the raw tree."""
    name = frame_name(folder, frame)
    return raw.local_path(name), name


def recorded_commands(raw: RawTree, clip: Clip) -> Float64:
    """Read the `rel_actions` [T, 7] of a clip's frames."""
    return _read(raw, clip, [_first(clip) + int(step) for step in clip.step_index], "rel_actions")


def read_demonstration(raw: RawTree, clip: Clip) -> Demonstration:
    """Read the frames of a labelled window from the clip's first one on.

    The state is `robot_obs` [15], then `scene_obs` [24]; `world` has `task` and `scene`.

    Raises:
        RequestError: the window is unlabelled, or its scene is unknown.
        SourceError, EpisodeError: a frame cannot be read.
    """
    start, last = _first(clip) + int(clip.step_index[0]), int(str(clip.provenance["last_frame"]))
    frames, world = list(range(start, last + 1)), _world(clip)
    commands = _read(raw, clip, frames, "rel_actions")
    state = [_read(raw, clip, frames[:1], key)[0] for key in ("robot_obs", "scene_obs")]
    return Demonstration(
        rows=clip.step_index - clip.step_index[0],
        commands=commands,
        executed=commands,
        end_m=_read(raw, clip, frames[-1:], "actions")[0, :3],
        success=True,  # a window is labelled because its task was solved in it
        state=np.concatenate(state),
        world=world,
    )


def _world(clip: Clip) -> Json:
    if "task" not in clip.extras:
        raise RequestError(f"{clip.episode}: expected a labelled window (--set mode=language), which has a task")
    scene = clip.extras.get("scene", _VALIDATION_SCENE if clip.split is Split.VAL else None)
    if scene is None:
        raise RequestError(f"{clip.episode}: its scene is unknown; fetch scene_info.npy and build again")
    return {"task": clip.extras["task"], "scene": scene}


def _first(clip: Clip) -> int:
    if "first_frame" not in clip.provenance:
        raise EpisodeError(f"{clip.episode}: only frames of the owner's form have rel_actions to compare")
    return int(str(clip.provenance["first_frame"]))


def _read(raw: RawTree, clip: Clip, frames: list[int], key: str) -> Float64:
    parents = PurePosixPath(str(clip.provenance["file"])).parents
    folder = str(next(parent for parent in parents if parent.name in SPLITS))
    places = [frame_place(raw, folder, frame) for frame in frames]
    return np.stack([read_members(path, (key,), name=name)[0] for path, name in places]).astype(np.float64)
