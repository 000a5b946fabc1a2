"""CALVIN: teleoperated play of a simulated Franka, one `.npz` file per frame; `paired`, reached poses.

Language mode reads the labelled windows, play mode the recordings themselves, which have no text. The facts come from
the benchmark's own recorder and renderer. Tactile images, precomputed text embeddings and `rel_actions` are not read:
`rel_actions` is clipped, while `actions` contains the exact pose.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from vita_data.action_convention import Convention
from vita_data.errors import EpisodeError, RequestError, SourceError
from vita_data.formats.npz import NpzDepths, NpzImages, NpzSequence
from vita_data.geometry import matrix_from_euler_xyz
from vita_data.guard import guarded
from vita_data.slots import ARM_DIM, RIGHT_ACTION
from vita_data.sources.calvin.annotations import (
    LABELS,
    SPANS,
    FrameWindow,
    labelled_windows,
    play_windows,
    read_scenes,
    read_spans,
)
from vita_data.sources.calvin.lerobot import calvin_conversions
from vita_data.sources.calvin.recording import (
    SPLITS,
    frame_name,
    frame_place,
    read_demonstration,
    recorded_commands,
)
from vita_data.sources.calvin.toy import write_calvin_toy
from vita_data.stored_actions import actions_of, states_of
from vita_data.types import (
    ActionOrigin,
    Arm,
    ArmAction,
    Arms,
    CameraRole,
    Clip,
    CommandPair,
    CommandReader,
    DemonstrationReader,
    Episode,
    Instruction,
    Int64,
    Json,
    Modality,
    Outcome,
    Part,
    PoseTarget,
    RawTree,
    SourceInfo,
    SourceSettings,
    TextStyle,
)

HZ = 30.0
"""Control rate of the recorder (calvin_env, play_table_env.py)."""
WIDTH_OPEN_M = 0.08
"""Width of the open gripper; slightly negative widths are recorded when it is closed."""
_CAMERAS = {CameraRole.PRIMARY: "rgb_static", CameraRole.WRIST_RIGHT: "rgb_gripper"}
_DEPTHS = {CameraRole.PRIMARY: "depth_static", CameraRole.WRIST_RIGHT: "depth_gripper"}
_VECTORS = (("robot_obs", 15), ("actions", 7))
_RIGHT_ARM = slice(RIGHT_ACTION, RIGHT_ACTION + ARM_DIM)
_XYZ, _EULER, _WIDTH, _JOINTS = slice(0, 3), slice(3, 6), 6, slice(7, 14)
_INDEXES = (SPANS, LABELS)
_PART_FRAMES = 2048
"""After this many frames (about half a gigabyte), a part ends at the next frame that no window shares."""
_NUM_KEPT = 1024
"""Cached reads: the vectors and four images of all frames that two overlapping windows of 65 frames can share."""

INFO = SourceInfo(
    name="calvin",
    title="CALVIN",
    embodiment="franka",
    arms=Arms.RIGHT,
    modality=Modality.PAIRED,
    hz=HZ,
    cameras=_CAMERAS,
    action_origin=ActionOrigin.REACHED,
    action_space="absolute pose reached at the next frame, world frame, xyz and extrinsic xyz Euler; gripper +1 open",
    text_style=TextStyle.IMPERATIVE,
    licence="MIT (code); the data comes without a licence text",
    redistributable=False,
    access="open",
    url="http://calvin.cs.uni-freiburg.de",
    raw_layout="task_ABC_D/{training,validation}/: episode_<7 digits>.npz, ep_start_end_ids.npy, scene_info.npy, "
    "lang_annotations/auto_lang_ann.npy",
    notes=(
        "The training folder is train, the validation folder (scene D) is val and is never trained on.",
        "Downloads made before 16 September 2022 have wrong annotations and scenes for ABC; files do not tell: fetch "
        "lang_annotations again if yours may be older.",
        "The training folder of task_ABCD_D holds frames of its validation set (its issue 40), task_ABC_D's does not.",
        "Commanded targets were not stored: motion is the pose reached next, the gripper the command in force then.",
        "Windows overlap, so a frame may be in several clips. Wrist images are enlarged from 84x84.",
        "A recording of play is one episode, however long; its clips have an empty instruction: stages that need text "
        "skip them.",
    ),
)


class Mode(StrEnum):
    """Which raw episodes are read: the labelled windows, or the recordings without text."""

    LANGUAGE = "language"
    PLAY = "play"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SourceSettings):
    """Settings (`--set`) of CALVIN."""

    mode: Mode = Mode.LANGUAGE
    depth: bool = False
    release: str | None = None
    """Folder such as `task_ABC_D`, required if the raw tree contains several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """The opened folder of one split: facts about all its frames, and the frames."""

    path: str
    raw: RawTree
    spans: Int64
    scenes: Mapping[str, tuple[int, int]]
    steps: NpzSequence


def parts(raw: RawTree, settings: SourceSettings) -> list[Part]:
    """List the parts; windows that share frames are in the same part.

    Assumes: frame files are about equally large, so that the size of a part is that of its first frame times its number
        of frames; a stat of each of 1.8 million files would take too long.

    Raises:
        RequestError: no split of CALVIN exists, several releases exist, or the annotations for training are missing.
        SourceError: an index file that the training windows need cannot be read.
    """
    settings = _own(settings)
    if _LEROBOT.are_in(raw, asked=settings.release):
        _refuse_others(settings)
        return _LEROBOT.parts(raw, settings)
    release = _pick_release(raw, settings.release)
    folders = [f"{release}/{name}" for name in SPLITS]
    folders = [folder for folder in folders if any(raw.exists(f"{folder}/{index}") for index in _INDEXES)]
    return [part for folder in folders for part in _parts(raw, folder, settings, is_first=folder == folders[0])]


def _parts(raw: RawTree, folder: str, settings: Settings, *, is_first: bool) -> list[Part]:
    """List the parts of a split; a validation split without a readable index becomes one failing part.

    Downloads whose validation folder has no annotations are common (mees/calvin, issues 115 and 121).
    """
    try:
        return [_part(raw, folder, windows) for windows in _groups(_windows(raw, folder, settings))]
    except (RequestError, SourceError):
        if is_first:
            raise
        return [Part(id=f"{folder}/{_index(settings)}", num_bytes=0, num_episodes=None)]


def episodes(raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
    """Read the windows of one part in the order of their frames; each array of a frame is decoded only once.

    Raises:
        SourceError: an index file cannot be read.
    """
    settings = _own(settings)
    if _LEROBOT.has_part(part):
        yield from _LEROBOT.episodes(raw, part, settings)
        return
    folder, _, frames = part.id.partition("#")
    if not frames:
        raise SourceError(_index_fault(raw, folder.removesuffix(f"/{_index(settings)}"), settings))
    first, last = (int(number) for number in frames.split("-"))
    windows = [window for window in _windows(raw, folder, settings) if first <= window.first <= last]
    opened = _Folder(
        path=folder,
        raw=raw,
        spans=read_spans(raw, folder),
        scenes=read_scenes(raw, folder),
        steps=NpzSequence(partial(frame_place, raw, folder), num_kept=_NUM_KEPT),
    )
    for window in windows:
        yield guarded(_id(folder, window), partial(_read_window, opened, window, settings))


def command_reader(raw: RawTree, settings: SourceSettings) -> CommandReader:
    """Make a reader of recorded `rel_actions` and of those that the constants in extras give."""
    return lambda clip: (_compare_commands(raw, clip),)


def demonstration_reader(raw: RawTree, settings: SourceSettings) -> DemonstrationReader:
    """Make a reader of labelled windows, as CALVIN's simulator needs them."""
    return partial(read_demonstration, raw)


def _compare_commands(raw: RawTree, clip: Clip) -> CommandPair:
    recorded = recorded_commands(raw, clip)
    convention = Convention.of(clip.extras)
    if convention is None:
        raise EpisodeError(f"clip {clip.key}: expected the constants of rel_actions in extras, got none")
    actions, states = actions_of(clip)[:, _RIGHT_ARM].astype(np.float32), states_of(clip).astype(np.float32)
    rebuilt = [convention.commands(action[None], state)[0] for action, state in zip(actions, states, strict=True)]
    return CommandPair(name="rel_actions", recorded=recorded, rebuilt=np.stack(rebuilt).astype(np.float64))


def _read_window(folder: _Folder, window: FrameWindow, settings: Settings) -> Episode:
    if window.fault:
        raise EpisodeError(window.fault)
    if window.last - window.first > _PART_FRAMES and not folder.raw.exists(
        last := frame_name(folder.path, window.last)
    ):  # before a window of a million frames is read up to the first missing one
        raise EpisodeError(f"{last}: the file does not exist; fetch the missing part of the download")
    frames, steps, cameras = range(window.first, window.last + 1), folder.steps, _recorded(folder, window)
    scenes = [name for name, (first, last) in folder.scenes.items() if first <= window.first <= last]
    return Episode(
        id=_id(folder.path, window),
        source=INFO.name,
        release=PurePosixPath(folder.path).parts[0],
        split=SPLITS[PurePosixPath(folder.path).name],
        embodiment=INFO.embodiment,
        arms=INFO.arms,
        hz=settings.hz or HZ,
        step_index=np.arange(len(frames)),
        instructions=() if window.text is None else (Instruction(text=window.text, origin="auto"),),
        cameras={role: NpzImages(steps, frames=frames, key=key) for role, key in cameras.items()},
        depths={role: NpzDepths(steps, frames=frames, key=_DEPTHS[role]) for role in cameras if settings.depth},
        right=_arm(steps, frames, next_frame=_next_frame(folder, window)),
        action_origin=INFO.action_origin,
        provenance={
            "file": f"{folder.path}/{LABELS if window.text is not None else SPANS}",
            "record": window.record,
            "first_frame": window.first,
            "last_frame": window.last,
        },
        extras=_simulator_convention(window.task, next(iter(scenes), None)),
    )


def _recorded(folder: _Folder, window: FrameWindow) -> dict[CameraRole, str]:
    """Return the cameras of a window: those of its first frame."""
    return {role: key for role, key in _CAMERAS.items() if folder.steps.has(window.first, key)}


def _arm(steps: NpzSequence, frames: range, *, next_frame: int | None) -> Arm:
    """Pair each frame with the pose that its own `actions` give as reached next.

    The gripper is the command in force at the next frame, `actions[6]`, not `robot_obs[14]`, the one at this frame.
    The last joint target is the next frame's joints if the recording continues, else its own (vita_data/README.md).
    """
    observed, reached = steps.vectors(frames, _VECTORS)
    joints = observed[:, _JOINTS]
    after = joints[-1:] if next_frame is None else steps.vectors([next_frame], _VECTORS)[0][:, _JOINTS]
    return Arm(
        xyz_m=observed[:, _XYZ],
        rotation=matrix_from_euler_xyz(observed[:, _EULER]),
        gripper_open=np.clip(observed[:, _WIDTH] / WIDTH_OPEN_M, 0.0, 1.0),
        joint_position_rad=joints,
        action=ArmAction(
            motion=PoseTarget(xyz_m=reached[:, _XYZ], rotation=matrix_from_euler_xyz(reached[:, _EULER])),
            gripper_open=(reached[:, 6] + 1.0) / 2.0,
            joint_target_rad=np.concatenate([joints[1:], after]),
        ),
    )


def _simulator_convention(task: str | None, scene: str | None) -> Json:
    """Return the constants that map canonical actions back to the scaled form of the environment.

    Source: calvin_env, utils.to_relative_action; these constants replace a copy of `rel_actions`.
    """
    known = {"task": task, "scene": scene}
    return {key: value for key, value in known.items() if value is not None} | {
        "rel_actions_position_scale_m": 0.02,
        "rel_actions_euler_scale_rad": 0.05,
        "rel_actions_limit": 1.0,
        "gripper_open_command": 1,
        "gripper_closed_command": -1,
    }


_LEROBOT = calvin_conversions(INFO, hz=HZ, convention=_simulator_convention(None, None))


def _refuse_others(settings: Settings) -> None:
    if settings.depth or settings.mode is Mode.PLAY:
        raise RequestError("--set depth and --set mode=play: a LeRobot dataset has neither; omit them")


def _windows(raw: RawTree, folder: str, settings: Settings) -> list[FrameWindow]:
    """List a split's raw episodes in the order of their frames, so that episodes that share frames are consecutive."""
    index = _index(settings)
    if not raw.exists(f"{folder}/{index}"):
        hint = "" if settings.mode is Mode.PLAY else ", or read only the recordings with --set mode=play"
        raise RequestError(f"--raw {raw.root}: {folder}/{index} not found; fetch it{hint}")
    windows = play_windows(raw, folder) if settings.mode is Mode.PLAY else labelled_windows(raw, folder)
    return sorted(windows, key=lambda window: (window.first, window.last, window.record))


def _index(settings: Settings) -> str:
    return SPANS if settings.mode is Mode.PLAY else LABELS


def _index_fault(raw: RawTree, folder: str, settings: Settings) -> str:
    """Explain why the windows of a split are unknown, and how to build without it."""
    reason = "the file does not exist"
    if raw.exists(f"{folder}/{_index(settings)}"):
        try:
            _windows(raw, folder, settings)
            reason = "it could not be read when the build started"
        except SourceError as error:
            reason = str(error)
    return (
        f"{folder}/{_index(settings)}: the windows of {folder} are unknown: {reason}. Fetch the file, or move {folder} "
        "out of the raw tree to build without it, and build into an empty --out"
    )


def _next_frame(folder: _Folder, window: FrameWindow) -> int | None:
    """Return the frame after a window if the same recording has one, or if no recordings are known."""
    following, spans = window.last + 1, folder.spans
    goes_on = bool(np.any((spans[:, 0] <= window.last) & (following <= spans[:, 1])))
    exists = folder.raw.exists(frame_name(folder.path, following))
    return following if exists and (goes_on or not len(spans)) else None


def _groups(windows: Sequence[FrameWindow]) -> Iterator[list[FrameWindow]]:
    group: list[FrameWindow] = []
    last = -1
    for window in windows:
        if window.first > last and _num_frames(group) >= _PART_FRAMES:
            yield group
            group = []
        group.append(window)
        last = max(last, window.last)
    if group:
        yield group


def _part(raw: RawTree, folder: str, windows: Sequence[FrameWindow]) -> Part:
    first, last = windows[0].first, max(window.last for window in windows)
    name = frame_name(folder, first)
    frame_bytes = raw.size(name) if raw.exists(name) else 0
    return Part(
        id=f"{folder}#{first:07d}-{last:07d}",
        num_bytes=frame_bytes * _num_frames(windows),
        num_episodes=len(windows),
    )


def _num_frames(windows: Sequence[FrameWindow]) -> int:
    """Count the frames of windows sorted by first frame; shared frames count once."""
    num_frames, last = 0, -1
    for window in windows:
        num_frames += max(0, window.last - max(window.first - 1, last))
        last = max(last, window.last)
    return num_frames


def _pick_release(raw: RawTree, wanted: str | None) -> str:
    paths = [path for split in SPLITS for index in _INDEXES for path in raw.glob(f"*/{split}/{index}")]
    found = sorted({PurePosixPath(path).parts[0] for path in paths})
    if wanted is not None and wanted not in found:
        raise RequestError(f"--set release={wanted}: not in {raw.root}; found {', '.join(found) or 'none'}")
    if not found:
        raise RequestError(f"--raw {raw.root}: */training/{SPANS} not found; give the folder that contains task_ABC_D")
    if wanted is None and len(found) > 1:
        raise RequestError(f"--raw {raw.root} contains {', '.join(found)}; choose one with --set release=")
    return wanted or found[0]


def _id(folder: str, window: FrameWindow) -> str:
    kind = "play" if window.text is None else "language"
    return f"{folder}#{kind}-{window.record:06d}-{window.first:07d}-{window.last:07d}"


def _own(settings: SourceSettings) -> Settings:
    if not isinstance(settings, Settings):
        raise TypeError(f"expected the Settings of calvin, got {type(settings).__name__}")
    return settings


# ------------------------------------------------------------------------------------------------------- toy tree


def write_toy(root: str) -> None:
    """Write `task_ABC_D`: three recordings and five windows for training, one of each for validation."""
    write_calvin_toy(root, hz=HZ, width_open_m=WIDTH_OPEN_M)
