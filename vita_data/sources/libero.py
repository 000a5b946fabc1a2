"""LIBERO: 130 simulated Franka tasks x 50 demonstrations; `paired`, commanded deltas.

Facts come from the benchmark's own recorder and environment. Two releases are read: the official HDF5 files, and
OpenVLA's replay of them without no-ops, whose RLDS layout is in `formats/libero_rlds.py`. OpenVLA's intermediate HDF5
files are not read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import PurePosixPath

import h5py
import numpy as np

from vita_data.convention import FLIP_STRIDES, LIBERO_FINGERS_OPEN_M
from vita_data.convention import Flip as Orientation
from vita_data.errors import EpisodeError, RequestError, SourceError, raise_machine_fault
from vita_data.formats.hdf5 import (
    DatasetStream,
    demo_names,
    find_dataset,
    find_group,
    json_attribute,
    open_hdf5,
    read_floats,
)
from vita_data.formats.libero_rlds import SUITE_SUFFIX, VERSION, read_libero_record
from vita_data.formats.libero_toy import ToyLiberoRobot, write_toy_no_noops, write_toy_official
from vita_data.formats.rlds import RldsDataset, list_parts, open_dataset, read_outcomes
from vita_data.formats.rlds_files import RldsSettings, refuse_rlds_settings
from vita_data.formats.rlds_record import RldsRecord
from vita_data.geometry import matrix_from_axis_angle
from vita_data.guard import guarded
from vita_data.types import (
    ActionOrigin,
    Arm,
    ArmAction,
    Arms,
    CameraRole,
    Drop,
    Episode,
    Float64,
    Gaps,
    Instruction,
    Int64,
    Json,
    Modality,
    Outcome,
    Part,
    PoseDelta,
    RawTree,
    Reason,
    SourceInfo,
    SourceSettings,
    TextStyle,
)

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
HZ = 20.0
"""Control rate (LIBERO, scripts/create_dataset.py)."""
POSITION_SCALE_M = 0.05
"""What a command of 1 moves (robosuite osc_pose.json)."""
ROTATION_SCALE_RAD = 0.5
"""What a command of 1 turns, as a rotation vector (robosuite osc_pose.json)."""
NOOP_NORM = 1e-4
_SUFFIX = "_demo"
_LIST_BLOCK_BYTES = 1 << 16
"""Listing the demonstrations touches some twenty small places all over a file."""
_STATE_WIDTHS = {"ee_pos": 3, "ee_ori": 3, "gripper_states": 2}
_CAMERAS = {CameraRole.PRIMARY: "agentview_rgb", CameraRole.WRIST_RIGHT: "eye_in_hand_rgb"}


class Release(StrEnum):
    """Whose files are read."""

    OFFICIAL = "official"
    NO_NOOPS = "no_noops"


_PATTERNS = {
    Release.OFFICIAL: f"{{}}/*{_SUFFIX}.hdf5",
    Release.NO_NOOPS: f"{{}}{SUITE_SUFFIX}/{VERSION}/dataset_info.json",
}

INFO = SourceInfo(
    name="libero",
    title="LIBERO",
    embodiment="franka",
    arms=Arms.RIGHT,
    modality=Modality.PAIRED,
    hz=HZ,
    cameras={
        CameraRole.PRIMARY: "agentview_rgb, or image (no_noops)",
        CameraRole.WRIST_RIGHT: "eye_in_hand_rgb, or wrist_image (no_noops)",
    },
    action_origin=ActionOrigin.COMMANDED,
    action_space="robosuite OSC_POSE deltas, +-1 = +-0.05 m and +-0.5 rad axis-angle; gripper -1 open, +1 close",
    text_style=TextStyle.IMPERATIVE,
    licence="CC BY 4.0 (data), MIT (code)",
    redistributable=True,
    access="open",
    url="https://libero-project.github.io",
    raw_layout="libero_{spatial,object,goal,10,90}/<task>_demo.hdf5 (official), or libero_*_no_noops/1.0.0: "
    "dataset_info.json, features.json, <name>-train.tfrecord-XXXXX-of-YYYYY (no_noops)",
    notes=(
        "State is in the world frame, hand orientation: ee_pos is the grip site, ee_ori the hand body, as recorded.",
        "The simulated controller reaches only 22 to 25 % of a commanded step, so deltas do not integrate to poses.",
        "Row t pairs observation t with action t+1: the recorder stores what was seen after each action. In the "
        "release no_noops it pairs with action t: the replay stores what was seen before it.",
        "Raw actions are not stored. The constants in extras give them back, except that commands beyond +-1 come back "
        "clipped and negative (opening) gripper commands of any size as -1: the simulator does the same with them.",
        "No-op rows are removed and leave a gap in step_index; action chunks bridge it.",
        "The release no_noops left no-ops out before it was replayed, so step_index counts its own rows and shows no "
        "gap: they are one control step of the replay apart, and the time that the demonstrator let pass between them "
        "is not known. It has successful replays alone.",
    ),
    tracks_commands=False,
    action_lags=(0, 1),
    published_episodes={"official, VITA Table 10": 6500},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RldsSettings):
    """The keys of `--set`; empty `suites` or `tasks` mean all that are found."""

    orientation: Orientation = Orientation.ROT180
    """Of the simulator's images; those of the release no_noops are stored rotated by 180 degrees and stay so."""
    suites: tuple[str, ...] = ()
    """Names without `_no_noops`."""
    tasks: tuple[str, ...] = ()
    """File names without `_demo.hdf5`; in the release official alone."""
    release: Release | None = None
    """Which release to read, where the raw tree holds both."""


def parts(raw: RawTree, settings: SourceSettings) -> list[Part]:
    """List one part per task file of the release official, or per tfrecord file of no_noops.

    Raises:
        RequestError: nothing is found, or both releases are and none was chosen; a suite or task that was asked for is
            absent; or the release cannot have the tasks or orientation asked for.
        SourceError: a JSON file of a no_noops suite cannot be read.
    """
    settings = _own(settings)
    release, files = _pick_release(raw, settings.release)
    _refuse_absent("suites", settings.suites, {_suite(file) for file in files}, raw)
    files = [file for file in files if not settings.suites or _suite(file) in settings.suites]
    if release is Release.NO_NOOPS:
        _refuse_fixed(settings)
        datasets = [open_dataset(raw, str(PurePosixPath(file).parent), settings) for file in files]
        return sorted((part for dataset in datasets for part in list_parts(raw, dataset)), key=lambda part: part.id)
    refuse_rlds_settings(settings)
    _refuse_absent("tasks", settings.tasks, {_task(file) for file in files}, raw)
    files = [file for file in files if not settings.tasks or _task(file) in settings.tasks]
    return [Part(id=file, num_bytes=raw.size(file), num_episodes=_num_demos(raw, file)) for file in sorted(files)]


def _pick_release(raw: RawTree, asked: Release | None) -> tuple[Release, list[str]]:
    """Choose the release and list its files: demonstrations, or one dataset_info.json a suite."""
    listed = {
        release: [file for suite in SUITES for file in raw.glob(pattern.format(suite))]
        for release, pattern in _PATTERNS.items()
        if asked in (None, release)
    }
    found = {release: files for release, files in listed.items() if files}
    if not found:
        raise RequestError(
            f"--raw {raw.root}: no {INFO.raw_layout}{f' for --set release={asked}' if asked else ''}; "
            "--raw is the folder that contains libero_*"
        )
    if len(found) > 1:
        raise RequestError(
            f"--raw {raw.root} holds the releases {' and '.join(found)}; choose one with "
            f"--set release={next(iter(found))}"
        )
    return next(iter(found.items()))


def _refuse_fixed(settings: Settings) -> None:
    if settings.tasks:
        raise RequestError("--set tasks: a file of release no_noops holds several tasks; choose suites instead")
    if settings.orientation is not Orientation.ROT180:
        raise RequestError(
            f"--set orientation={settings.orientation}: the images of release no_noops are stored as rot180 and are "
            "not turned again; leave orientation out, or build from --set release=official"
        )


def episodes(raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
    """Read the demonstrations of one file, those of a task in the order of their numbers.

    Raises:
        SourceError: the file cannot be opened, has no demonstrations, or is damaged at an unknown loss.
    """
    settings = _own(settings)
    if part.id.endswith(".hdf5"):
        return _demos(raw, part, settings)
    dataset = open_dataset(raw, str(PurePosixPath(part.id).parent), settings)
    return read_outcomes(raw, dataset, part, partial(_replay, dataset, settings))


def _replay(dataset: RldsDataset, settings: Settings, record: RldsRecord) -> Outcome:
    """Read a demonstration of the release no_noops, whose rows are seen before their actions.

    Source: the replay appends observation and action, then steps the simulator; it passes over no-ops without a step
    (OpenVLA, regenerate_libero_dataset.py). Its gripper command is the raw one, -1 open (OpenVLA, transforms.py).
    """
    found = read_libero_record(record)
    if not len(found.action):
        return Drop(episode=record.id, reason=Reason.SHORT, detail="no steps")
    suite = _suite(record.file)
    return Episode(
        id=record.id,
        source=INFO.name,
        release=Release.NO_NOOPS.value,
        split=dataset.split_of(record),
        embodiment=INFO.embodiment,
        arms=INFO.arms,
        hz=settings.hz or HZ,
        step_index=np.arange(len(found.action)),
        instructions=tuple(Instruction(text=text, origin="task_name") for text in found.texts),
        cameras=found.cameras,
        right=_arm(found.state, found.joints_rad, found.action),
        action_origin=INFO.action_origin,
        gaps=Gaps.BRIDGE,
        provenance={"file": record.file, "record": record.index, "suite": suite, "task": found.task},
        extras=_simulator_convention(suite, found.task, Orientation.ROT180),
    )


def _demos(raw: RawTree, part: Part, settings: Settings) -> Iterator[Outcome]:
    with open_hdf5(raw.local_path(part.id), name=part.id) as file:
        names = demo_names(file, name=part.id)
        texts = _instructions(file, part.id)
        for name in names:
            yield guarded(f"{part.id}#{name}", partial(_read_demo, file, name, part, texts, settings))


def _read_demo(file: h5py.File, name: str, part: Part, texts: tuple[Instruction, ...], settings: Settings) -> Outcome:
    demo = find_group(file, f"data/{name}", name=part.id)
    command = read_floats(demo, "actions", width=7, name=part.id)
    rows = _kept_rows(command)
    if not rows.size:
        return Drop(episode=f"{part.id}#{name}", reason=Reason.IDLE, detail=f"{len(command)} steps, all no-ops")
    _refuse_uneven(demo, num_steps=len(command), part=part)
    suite, task = _suite(part.id), _task(part.id)
    state = [read_floats(demo, f"obs/{key}", width=width, name=part.id) for key, width in _STATE_WIDTHS.items()]
    return Episode(
        id=f"{part.id}#{name}",
        source=INFO.name,
        release=Release.OFFICIAL.value,
        split=None,
        embodiment=INFO.embodiment,
        arms=INFO.arms,
        hz=settings.hz or HZ,
        step_index=rows,
        instructions=texts,
        cameras={
            role: DatasetStream(
                find_dataset(demo, f"obs/{key}", name=part.id),
                rows=rows,
                name=part.id,
                strides=FLIP_STRIDES[settings.orientation],
            )
            for role, key in _CAMERAS.items()
        },
        right=_arm(
            np.column_stack(state)[rows],
            read_floats(demo, "obs/joint_states", width=7, name=part.id)[rows],
            command[rows + 1],
        ),
        action_origin=INFO.action_origin,
        gaps=Gaps.BRIDGE,
        provenance={"file": part.id, "record": name, "suite": suite, "task": task},
        extras=_simulator_convention(suite, task, settings.orientation),
    )


def _kept_rows(command: Float64) -> Int64:
    """Which observations stay: t pairs with action t+1, and no-ops go.

    Source: a no-op moves less than 1e-4 and repeats the gripper command of the last kept action; before any action was
    kept, smallness is enough (OpenVLA, regenerate_libero_dataset.py).
    """
    kept: list[int] = []
    for row, action in enumerate(command[1:]):
        still = float(np.linalg.norm(action[:6])) < NOOP_NORM
        if not (still and (not kept or action[6] == command[kept[-1] + 1, 6])):
            kept.append(row)
    return np.array(kept, np.int64)


def _arm(state: Float64, joints_rad: Float64 | None, command: Float64) -> Arm:
    """Pair a state [T, 8] (position, axis-angle, two fingers) with the raw command [T, 7] given on it."""
    # the simulator clips commands to +-1 before it scales them (robosuite, Controller.scale_action)
    paired = np.clip(command, -1.0, 1.0)
    return Arm(
        xyz_m=state[:, :3],
        rotation=matrix_from_axis_angle(state[:, 3:6]),
        gripper_open=np.clip(np.abs(state[:, 6] - state[:, 7]) / LIBERO_FINGERS_OPEN_M, 0.0, 1.0),
        joint_position_rad=joints_rad,
        action=ArmAction(
            motion=PoseDelta(
                xyz_m=paired[:, :3] * POSITION_SCALE_M,
                rotation=matrix_from_axis_angle(paired[:, 3:6] * ROTATION_SCALE_RAD),
            ),
            gripper_open=1.0 - np.clip(paired[:, 6], 0.0, 1.0),
        ),
    )


def _instructions(file: h5py.File, name: str) -> tuple[Instruction, ...]:
    """The text of the file name, which evaluation uses as prompt, then `problem_info`'s where it differs."""
    task = re.sub(r"^[A-Z_]+_SCENE\d+_", "", _task(name)).replace("_", " ")
    main = Instruction(text=task, origin="task_name")
    info = json_attribute(file["data"], "problem_info", name=name)
    spoken = (info or {}).get("language_instruction", "")
    text = " ".join(map(str, spoken)) if isinstance(spoken, list) else str(spoken)
    return (main,) if text in ("", task) else (main, Instruction(text=text, origin="template"))


def _simulator_convention(suite: str, task: str, orientation: Orientation) -> Json:
    """What maps canonical actions back to the simulator's.

    Assumes: these constants do for evaluation what a copy of the raw actions would. They give back what the simulator
    carries out: commands clipped to +-1, and -1 for a negative gripper command of any size, for only its sign counts.
    """
    return {
        "suite": suite,
        "task": task,
        "controller": "OSC_POSE",
        "position_scale_m": POSITION_SCALE_M,
        "rotation_scale_rad": ROTATION_SCALE_RAD,
        "rotation": "axis-angle",
        "gripper_open_command": -1,
        "gripper_closed_command": 1,
        "orientation": orientation.value,
    }


def _refuse_uneven(demo: h5py.Group, *, num_steps: int, part: Part) -> None:
    for key in (*_STATE_WIDTHS, "joint_states", *_CAMERAS.values()):
        found = find_dataset(demo, f"obs/{key}", name=part.id)
        num_rows = len(found) if found.ndim else 0
        if num_rows != num_steps:
            raise EpisodeError(f"{part.id}: {found.name} has {num_rows} rows but there are {num_steps} actions")


def _refuse_absent(key: str, asked: tuple[str, ...], found: set[str], raw: RawTree) -> None:
    absent = sorted(set(asked) - found)
    if absent:
        raise RequestError(f"--set {key}: {', '.join(absent)} not in {raw.root}; found {', '.join(sorted(found)[:8])}")


def _num_demos(raw: RawTree, file: str) -> int | None:
    try:
        with raw.open(file, block_bytes=_LIST_BLOCK_BYTES) as stored, open_hdf5(stored, name=file) as opened:
            return len(demo_names(opened, name=file))
    except (SourceError, OSError) as error:
        raise_machine_fault(error, file)
        return None


def _own(settings: SourceSettings) -> Settings:
    if not isinstance(settings, Settings):
        raise TypeError(f"libero needs its own Settings, not {type(settings).__name__}")
    return settings


def _suite(file: str) -> str:
    return PurePosixPath(file).parts[0].removesuffix(SUITE_SUFFIX)


def _task(file: str) -> str:
    return PurePosixPath(file).stem.removesuffix(_SUFFIX)


# ------------------------------------------------------------------------------------------------------- toy tree

_TOY_ROBOT = ToyLiberoRobot(
    hz=HZ,
    position_scale_m=POSITION_SCALE_M,
    rotation_scale_rad=ROTATION_SCALE_RAD,
    fingers_open_m=LIBERO_FINGERS_OPEN_M,
)


def write_toy(root: str) -> None:
    """Write two suites of the release official with one task and four demonstrations each."""
    write_toy_official(root, _TOY_ROBOT)


def _write_toy_no_noops(root: str) -> None:
    """Write two suites of the release no_noops: one with 2 files of 2 and 1 episodes, one with a single episode."""
    write_toy_no_noops(root, _TOY_ROBOT)
