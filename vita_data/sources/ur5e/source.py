"""The UR-5e set of VITA 10.2: one real arm with a Robotiq 2F-85; `paired`, commanded actions.

The set is not published; `recording.py` defines the two forms in which such recordings are read.

Assumes: row t pairs an observation with the command issued on it (VITA 10.2: each row is aligned with one command); a
    recording that does not say whether it succeeded did; a missing wrist camera is an absent view.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

import numpy as np

from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.lerobot.episode import LeRobotEpisode
from vita_data.geometry import matrix_from_axis_angle, matrix_from_euler_xyz
from vita_data.guard import guarded
from vita_data.sources.ur5e.recording import (
    CAMERAS,
    HZ,
    WIDTH_OPEN_M,
    ActionSpace,
    Ur5eCommands,
    Ur5eRecording,
    finite,
    list_lerobot_recordings,
    read_hdf5_commands,
    read_hdf5_recording,
    read_lerobot_commands,
    read_lerobot_recording,
    require_lerobot,
)
from vita_data.sources.ur5e.toy import write_ur5e_toy
from vita_data.stored_actions import hand_rotation, hand_xyz, moves, openings, rotation_pair, turns
from vita_data.types import (
    ActionOrigin,
    Arm,
    ArmAction,
    Arms,
    Clip,
    CommandPair,
    CommandReader,
    Drop,
    Episode,
    Float64,
    Instruction,
    Int64,
    Json,
    Modality,
    Outcome,
    Part,
    PoseDelta,
    PoseTarget,
    RawTree,
    Reason,
    SourceInfo,
    SourceSettings,
    TextStyle,
)

_KEPT = ("scene", "task_type", "intrinsics", "extrinsics")
"""Attributes of a recording that clips keep."""
_RATE_TOLERANCE = 0.1
_RATE_ROWS = 8
"""Number of rows over which the rate is measured."""
_JITTER_ROWS = 7
"""Number of rows before and after a long interval whose median distinguishes a stall from jitter."""
_LONG_INTERVAL, _STALL = 1.5, 0.75
"""In typical intervals: the length of a possible stall, and the delay of the rows after a real one."""

INFO = SourceInfo(
    name="ur5e",
    title="UR-5e real robot (VITA 10.2)",
    embodiment="ur5e",
    arms=Arms.RIGHT,
    modality=Modality.PAIRED,
    hz=HZ,
    cameras=CAMERAS,
    action_origin=ActionOrigin.COMMANDED,
    action_space="as each file says: abs_tcp (xyz m, axis-angle, gripper 1 open) or delta_base (canonical)",
    text_style=TextStyle.IMPERATIVE,
    licence="unpublished, its owner's",
    redistributable=False,
    access="not published; own recordings in this format",
    url="https://www.universal-robots.com/products/ur5e/",
    raw_layout="<task_id, two digits>/<scene>/<episode>.hdf5, or LeRobot: meta/info.json, data/, videos/",
    published_episodes={"VITA Table 12": 3300},
    notes=(
        "The paper does not say whether actions are absolute: every recording must say it in action_space.",
        "Commanded joint targets were not recorded; the seventh joint slot is masked.",
        "Steps follow the time stamps: where the recorder stalled, step_index jumps and action chunks end.",
        "Unsuccessful recordings are dropped.",
    ),
)


class Form(StrEnum):
    """The storage form of a recording, used as its `release`."""

    HDF5 = "hdf5"
    LEROBOT = "lerobot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SourceSettings):
    """Settings (`--set`) of the UR-5e set."""

    depth: bool = False
    release: Form | None = None
    """The form to read, required if the raw tree contains both."""


def parts(raw: RawTree, settings: SourceSettings) -> list[Part]:
    """List one part per recording.

    Raises:
        RequestError: there is no recording, both forms exist and none was chosen, or no recording of a LeRobot dataset
            can be read: other columns, cameras or rate, or no task or action space anywhere.
        SourceError: the description of a LeRobot dataset cannot be read.
    """
    settings = _own(settings)
    asked = settings.release
    found = {form: listed for form, listed in _listed(raw).items() if listed and asked in (None, form)}
    if not found:
        raise RequestError(
            f"--raw {raw.root}: found neither <task_id>/<scene>/<episode>.hdf5 nor meta/info.json"
            f"{f' of release {asked}' if asked else ''}; give the folder that contains the task folders, "
            "or a LeRobot dataset"
        )
    if len(found) > 1:
        raise RequestError(
            f"--raw {raw.root}: found recordings as {' and as '.join(found)}; choose one with --set release="
        )
    ((form, listed),) = found.items()
    if form is Form.LEROBOT:
        require_lerobot(raw, hz=settings.hz or HZ, tolerance=_RATE_TOLERANCE)
        _refuse_undescribed(raw)
    return [
        Part(id=name, num_bytes=sum(raw.size(file) for file in files), num_episodes=1)
        for name, files in sorted(listed.items())
    ]


def _refuse_undescribed(raw: RawTree) -> None:
    """Refuse datasets that would fail in every recording: LeRobot itself has no task number and no action space."""
    faults: list[str] = []
    for name, stored in list_lerobot_recordings(raw).items():
        if stored.episode.fault:
            continue
        try:
            _task(stored.attributes, name)
            _action_space(stored.attributes, name)
            return
        except EpisodeError as error:
            faults.append(str(error))
    raise RequestError(
        f"--raw {raw.root}: none of {len(faults)} recordings can be read; the first error is: {faults[0]}"
    )


def _listed(raw: RawTree) -> Mapping[Form, Mapping[str, list[str]]]:
    """List the recordings of each form with their existing files; a recording without its table does not count."""
    tables, files = list_lerobot_recordings(raw), raw.glob("*/*/*.hdf5")
    # Other datasets also have HDF5 files two folders deep: LIBERO, seen from one level too high.
    is_numbered = any(path[0].isdigit() for path in files)
    return {
        Form.HDF5: {path: [path] for path in files if is_numbered},
        Form.LEROBOT: {name: _present(raw, stored.episode) for name, stored in tables.items()},
    }


def _present(raw: RawTree, episode: LeRobotEpisode) -> list[str]:
    files = (episode.table, *(span.path for span in episode.videos.values()))
    return [file for file in files if raw.exists(file)] if raw.exists(episode.table) else []


def episodes(raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
    """Read one recording; an unreadable one is a Failure with its own id."""
    settings = _own(settings)
    yield guarded(part.id, lambda: _outcome(_read(raw, part.id, settings), part.id, settings))


def _read(raw: RawTree, name: str, settings: Settings) -> Ur5eRecording:
    if name.endswith(".hdf5"):
        return read_hdf5_recording(raw.local_path(name), name=name, with_depth=settings.depth)
    return read_lerobot_recording(raw, list_lerobot_recordings(raw)[name])


def command_reader(raw: RawTree, settings: SourceSettings) -> CommandReader:
    """Make a reader of recorded and rebuilt commands: poses or displacements, as each recording says."""
    tables = list_lerobot_recordings(raw)

    def read(clip: Clip) -> tuple[CommandPair, ...]:
        name = str(clip.provenance["file"])
        if name.endswith(".hdf5"):
            return _compare_commands(clip, read_hdf5_commands(raw.local_path(name), name=name))
        if name not in tables:
            raise EpisodeError(f"{name}: the recording is not in {raw.root}; is it the same download?")
        return _compare_commands(clip, read_lerobot_commands(raw, tables[name]))

    return read


def _compare_commands(clip: Clip, found: Ur5eCommands) -> tuple[CommandPair, ...]:
    steps = _steps(found.time_s, clip.hz, clip.episode)
    if missing := set(clip.step_index.tolist()) - set(steps.tolist()):
        raise EpisodeError(f"{clip.episode}: expected a row of step {min(missing)}, got none; is it the same download?")
    action = found.action[np.searchsorted(steps, clip.step_index)]
    gripper = CommandPair(name="gripper (1 opens)", recorded=action[:, 6:], rebuilt=openings(clip))
    if clip.extras["action_space"] == ActionSpace.ABS_TCP:
        turned, rebuilt = matrix_from_axis_angle(action[:, 3:6]), turns(clip) @ hand_rotation(clip)
        xyz = CommandPair(name="position (m)", recorded=action[:, :3], rebuilt=hand_xyz(clip) + moves(clip))
    else:
        turned, rebuilt = matrix_from_euler_xyz(action[:, 3:6]), turns(clip)
        xyz = CommandPair(name="displacement (m)", recorded=action[:, :3], rebuilt=moves(clip))
    return xyz, rotation_pair("rotation (matrix)", turned, rebuilt), gripper


def _outcome(recording: Ur5eRecording, name: str, settings: Settings) -> Episode | Drop:
    attributes = recording.attributes
    if str(attributes.get("success", True)).lower() in ("false", "0"):
        return Drop(episode=name, reason=Reason.UNSUCCESSFUL, detail="the recording says success = false")
    hz = settings.hz or HZ
    space = _action_space(attributes, name)
    return Episode(
        id=name,
        source=INFO.name,
        release=Form.HDF5 if name.endswith(".hdf5") else Form.LEROBOT,
        split=None,
        embodiment=INFO.embodiment,
        arms=INFO.arms,
        hz=hz,
        step_index=_steps(recording.time_s, hz, name),
        instructions=tuple(Instruction(text=text, origin="human") for text in recording.texts),
        cameras=recording.cameras,
        depths=recording.depths,
        right=_arm(recording, space),
        action_origin=INFO.action_origin,
        provenance={"file": name, "record": 0},
        extras={
            **{key: finite(attributes[key]) for key in _KEPT if key in attributes},
            "task": _task(attributes, name),
            "action_space": space.value,
            "timestamp_s": recording.time_s.tolist(),
        },
    )


def _arm(recording: Ur5eRecording, space: ActionSpace) -> Arm:
    action = recording.action
    motion: PoseTarget | PoseDelta
    if space is ActionSpace.ABS_TCP:
        motion = PoseTarget(xyz_m=action[:, :3], rotation=matrix_from_axis_angle(action[:, 3:6]))
    else:
        motion = PoseDelta(xyz_m=action[:, :3], rotation=matrix_from_euler_xyz(action[:, 3:6]))
    return Arm(
        xyz_m=recording.tcp[:, :3],
        rotation=matrix_from_axis_angle(recording.tcp[:, 3:]),
        gripper_open=np.clip(recording.width_m / WIDTH_OPEN_M, 0.0, 1.0),
        joint_position_rad=recording.joints_rad,
        action=ArmAction(motion=motion, gripper_open=action[:, 6]),
    )


def _steps(time_s: Float64, hz: float, name: str) -> Int64:
    """Number rows [T] by their time stamps: a stall of n typical intervals counts n; jitter and drift count nothing.

    A late row opens a gap only if the rows after it stay late: their median delay is compared with that of earlier
    rows.

    Assumes: a stall delays the rest of the recording by at least three quarters of an interval.

    Raises:
        EpisodeError: time does not increase, or the rate is not the expected one.
    """
    interval_s = np.diff(time_s)
    if not interval_s.size:
        return np.zeros(len(time_s), np.int64)
    if not np.all(interval_s > 0):
        row = int(np.argmin(interval_s > 0))
        raise EpisodeError(f"{name}: timestamp does not increase after row {row}")
    # over several rows, so that jitter of single stamps cancels; over few, so that most spans have no stall
    num_rows = max(1, min(_RATE_ROWS, len(interval_s) // 4))
    typical_s = float(np.median(time_s[num_rows:] - time_s[:-num_rows])) / num_rows
    if abs(typical_s * hz - 1) > _RATE_TOLERANCE:
        raise EpisodeError(
            f"{name}: the time stamps give {1 / typical_s:.1f} Hz, expected {hz:g} Hz; "
            "give the true rate with --set hz="
        )
    steps = np.arange(len(time_s))
    late = (time_s - time_s[0]) / typical_s - steps
    for row in np.argsort(-interval_s, kind="stable") + 1:
        if interval_s[row - 1] <= _LONG_INTERVAL * typical_s:
            break
        # later stalls are not removed yet: the median of a few rows around this one is hardly affected by them
        jump = np.median(late[row : row + _JITTER_ROWS]) - np.median(late[max(0, row - _JITTER_ROWS) : row])
        if jump >= _STALL:
            steps[row:] += max(1, round(jump))
            late[row:] -= max(1, round(jump))
    return steps


def _action_space(attributes: Json, name: str) -> ActionSpace:
    found = attributes.get("action_space")
    if found not in list(ActionSpace):
        raise EpisodeError(
            f"{name}: action_space is {found!r}; set it to {' or '.join(ActionSpace)} in the file "
            "(LeRobot: in meta/info.json)"
        )
    return ActionSpace(str(found))


def _task(attributes: Json, name: str) -> str:
    """Return the task's two digits, which select it in a manifest; a folder named by a number must agree."""
    folder = PurePosixPath(name).parts[0] if name.endswith(".hdf5") else ""
    number = attributes.get("task_id", folder)
    if not re.fullmatch(r"\d+", str(number)):
        raise EpisodeError(f"{name}: task_id is {number!r}, expected a number")
    if re.fullmatch(r"\d+", folder) and int(folder) != int(str(number)):
        raise EpisodeError(f"{name}: is in the folder of task {folder}, but its task_id is {number}")
    return f"{int(str(number)):02d}"


def _own(settings: SourceSettings) -> Settings:
    if not isinstance(settings, Settings):
        raise TypeError(f"expected the Settings of ur5e, got {type(settings).__name__}")
    return settings


# ------------------------------------------------------------------------------------------------------- toy tree


def write_toy(root: str) -> None:
    """Write five recordings of three tasks: one failed, one short, one that stalled, one with raw 256x256 images."""
    write_ur5e_toy(root)
