"""LIBERO: 130 simulated Franka tasks x 50 demonstrations; `paired`, commanded deltas.

The facts come from the benchmark's own recorder and environment. Three releases are read and detected by content: the
official HDF5 files, OpenVLA's replays of them in HDF5 (`release.py`), and those replays in RLDS (`rlds.py`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import h5py
import numpy as np

from vita_data.action_convention import FLIP_STRIDES, LIBERO_FINGERS_OPEN_M, Convention
from vita_data.action_convention import Flip as Orientation
from vita_data.errors import EpisodeError, RequestError, SourceError
from vita_data.formats.hdf5.opener import demo_names, find_group, json_attribute, open_hdf5, read_floats
from vita_data.formats.rlds.dataset import RldsDataset, list_parts, open_dataset, read_outcomes
from vita_data.formats.rlds.files import RldsSettings, refuse_rlds_settings
from vita_data.formats.rlds.find import RecordFinder
from vita_data.formats.rlds.record import RldsRecord
from vita_data.geometry import matrix_from_axis_angle
from vita_data.guard import guarded
from vita_data.slots import ARM_DIM, RIGHT_ACTION
from vita_data.sources.libero.demonstration import read_demonstration
from vita_data.sources.libero.hdf5 import read_libero_demo
from vita_data.sources.libero.lerobot import LiberoConversions, LiberoMeaning, refuse_libero_settings
from vita_data.sources.libero.release import ROWS_TO_ACTION, Release, suite_of, tell_release
from vita_data.sources.libero.rlds import ACTION, read_libero_record
from vita_data.sources.libero.toy import ToyLiberoRobot, write_toy_no_noops, write_toy_official, write_toy_replayed
from vita_data.sources.libero.tree import choose_files, task_of
from vita_data.stored_actions import actions_of, rows_of
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
    Drop,
    Episode,
    Float64,
    Gaps,
    Instruction,
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

HZ = 20.0
"""Control rate (LIBERO, scripts/create_dataset.py)."""
POSITION_SCALE_M = 0.05
"""Displacement of a command of 1 (robosuite osc_pose.json)."""
ROTATION_SCALE_RAD = 0.5
"""Rotation of a command of 1, as a rotation vector (robosuite osc_pose.json)."""

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
    raw_layout="libero_{spatial,object,goal,10,90}*/<task>_demo.hdf5 (official or replayed), or libero_*/<version>: "
    "dataset_info.json, features.json, <name>-train.tfrecord-XXXXX-of-YYYYY (no_noops)",
    notes=(
        "State is in the world frame, hand orientation: ee_pos is the grip site, ee_ori the hand body, as recorded.",
        "The simulated controller reaches only 22 to 25 % of a commanded step, so deltas do not integrate to poses.",
        "Row t pairs observation t with action t+1: the recorder stores what was seen after each action. In the "
        "releases replayed and no_noops it pairs with action t: the replay stores what was seen before it.",
        "Raw actions are not stored. The constants in extras give them back, except that commands beyond +-1 come back "
        "clipped and negative (opening) gripper commands of any size as -1: the simulator does the same with them.",
        "No-op rows are removed and leave a gap in step_index; action chunks bridge it.",
        "The releases replayed and no_noops left no-ops out before they were replayed, so step_index counts their own "
        "rows and shows no gap: they are one control step of the replay apart, and the time that the demonstrator let "
        "pass between them is not known. They have successful replays alone.",
    ),
    tracks_commands=False,
    published_episodes={"official, VITA Table 10": 6500},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RldsSettings):
    """Settings (`--set`) of LIBERO; empty `suites` or `tasks` mean all that are found."""

    orientation: Orientation = Orientation.ROT180
    """How to flip the simulator's images; those of the release no_noops are already rotated by 180 degrees."""
    suites: tuple[str, ...] = ()
    """Names without `_no_noops`, or folders of the raw tree, such as `libero_goal_regen` or `libero_goal/1.0.1`."""
    tasks: tuple[str, ...] = ()
    """File names without `_demo.hdf5`; only for HDF5 files."""
    release: Release | None = None
    """The release to read if the raw tree contains several, or the release of files whose content does not tell."""


def parts(raw: RawTree, settings: SourceSettings) -> list[Part]:
    """List one part per task file of the releases official and replayed, or per tfrecord file of no_noops.

    Raises:
        RequestError: nothing is found, or several releases are found and none was chosen; a requested suite or task
            does not exist; the release does not support the requested tasks or orientation; or its content cannot be
            told.
        SourceError: a JSON file of a no_noops suite cannot be read.
    """
    settings = _own(settings)
    if _LEROBOT.are_in(raw, asked=settings.release):
        refuse_rlds_settings(settings)
        refuse_libero_settings(suites=settings.suites, tasks=settings.tasks, orientation=settings.orientation)
        return _LEROBOT.parts(raw, settings)
    release, files = choose_files(
        raw, release=settings.release, suites=settings.suites, tasks=settings.tasks, layout=INFO.raw_layout
    )
    if release is Release.NO_NOOPS:
        _refuse_fixed(settings)
        datasets = [open_dataset(raw, file.folder, settings) for file in files]
        return sorted((part for dataset in datasets for part in list_parts(raw, dataset)), key=lambda part: part.id)
    refuse_rlds_settings(settings)
    return [Part(id=file.path, num_bytes=raw.size(file.path), num_episodes=file.num_demos) for file in files]


def _refuse_fixed(settings: Settings) -> None:
    if settings.tasks:
        raise RequestError("--set tasks: a file of release no_noops contains several tasks; choose suites instead")
    if settings.orientation is not Orientation.ROT180:
        raise RequestError(
            f"--set orientation={settings.orientation}: the images of release no_noops are stored as rot180 and are "
            "not rotated again; omit orientation, or build from HDF5 files"
        )


def episodes(raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
    """Read the demonstrations of one file, those of a task in the order of their numbers.

    Raises:
        SourceError: the file cannot be opened, has no demonstrations, or is damaged with an unknown loss.
    """
    settings = _own(settings)
    if _LEROBOT.has_part(part):
        return _LEROBOT.episodes(raw, part, settings)
    if part.id.endswith(".hdf5"):
        return _demos(raw, part, settings)
    dataset = open_dataset(raw, str(PurePosixPath(part.id).parent), settings)
    return read_outcomes(raw, dataset, part, partial(_replay, dataset, settings))


def command_reader(raw: RawTree, settings: SourceSettings) -> CommandReader:
    """Make a reader of recorded commands, as the simulator executes them, and of those that the constants give."""
    own = _own(settings)
    finder = RecordFinder(raw, lambda release: open_dataset(raw, release, own))
    return lambda clip: (_compare_commands(clip, _recorded_commands(raw, clip, finder)),)


def demonstration_reader(raw: RawTree, settings: SourceSettings) -> DemonstrationReader:
    """Make a reader of recordings, as the simulator needs them."""
    return partial(read_demonstration, raw)


def _recorded_commands(raw: RawTree, clip: Clip, finder: RecordFinder) -> Float64:
    name = str(clip.provenance["file"])
    if not name.endswith(".hdf5"):
        record = finder.find(clip.provenance)
        return rows_of(record.floats(ACTION), clip.step_index, name=record.id)
    with open_hdf5(raw.local_path(name), name=name) as file:
        demo = find_group(file, f"data/{clip.provenance['record']}", name=name)
        commands = read_floats(demo, "actions", width=7, name=name)
    return rows_of(commands, clip.step_index + ROWS_TO_ACTION[Release(clip.release)], name=clip.episode)


def _compare_commands(clip: Clip, recorded: Float64) -> CommandPair:
    """Compare what the simulator executes: it clips the motion, and of the gripper only the sign counts."""
    convention = Convention.of(clip.extras)
    if convention is None:
        raise EpisodeError(f"clip {clip.key}: expected the constants of the controller in extras, got none")
    executed = np.column_stack([np.clip(recorded[:, :6], -1.0, 1.0), np.sign(recorded[:, 6])])
    rebuilt = convention.commands(actions_of(clip)[:, RIGHT_ACTION : RIGHT_ACTION + ARM_DIM].astype(np.float32))
    return CommandPair(name="actions", recorded=executed, rebuilt=rebuilt.astype(np.float64))


def _replay(dataset: RldsDataset, settings: Settings, record: RldsRecord) -> Outcome:
    """Read a demonstration of the release no_noops, whose observations are from before their actions.

    Source: the replay appends observation and action, then steps the simulator; it skips no-ops without a step
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
        release = settings.release or _told(file, names, part.id)
        texts = _instructions(file, part.id)
        for name in names:
            yield guarded(f"{part.id}#{name}", partial(_read_demo, file, name, release, part, texts, settings))


def _told(file: h5py.File, names: list[str], name: str) -> Release:
    told = tell_release(file, names, name=name)
    if told.release is None:
        raise SourceError(told.unclear(name))
    return told.release


def _read_demo(
    file: h5py.File, name: str, release: Release, part: Part, texts: tuple[Instruction, ...], settings: Settings
) -> Outcome:
    demo = find_group(file, f"data/{name}", name=part.id)
    strides = FLIP_STRIDES[settings.orientation]
    found = read_libero_demo(demo, rows_to_action=ROWS_TO_ACTION[release], strides=strides, name=part.id)
    if not found.rows.size:
        detail = f"{found.num_actions} steps, all no-ops"
        return Drop(episode=f"{part.id}#{name}", reason=Reason.IDLE, detail=detail)
    suite, task = _suite(part.id), task_of(part.id)
    return Episode(
        id=f"{part.id}#{name}",
        source=INFO.name,
        release=release.value,
        split=None,
        embodiment=INFO.embodiment,
        arms=INFO.arms,
        hz=settings.hz or HZ,
        step_index=found.rows,
        instructions=texts,
        cameras=found.cameras,
        right=_arm(found.state, found.joints_rad, found.action),
        action_origin=INFO.action_origin,
        gaps=Gaps.BRIDGE,
        provenance={"file": part.id, "record": name, "suite": suite, "task": task},
        extras=_simulator_convention(suite, task, settings.orientation),
    )


def _arm(state: Float64, joints_rad: Float64 | None, command: Float64) -> Arm:
    """Pair a state [T, 8] (position, axis-angle, two fingers) with the raw command [T, 7] issued for it."""
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
    """Return the text of the file name, which evaluation uses as prompt, then that of `problem_info` if different."""
    task = re.sub(r"^[A-Z_]+_SCENE\d+_", "", task_of(name)).replace("_", " ")
    main = Instruction(text=task, origin="task_name")
    info = json_attribute(file["data"], "problem_info", name=name)
    spoken = (info or {}).get("language_instruction", "")
    text = " ".join(map(str, spoken)) if isinstance(spoken, list) else str(spoken)
    return (main,) if text in ("", task) else (main, Instruction(text=text, origin="template"))


def _simulator_convention(suite: str, task: str, orientation: Orientation) -> Json:
    """Return the constants that map canonical actions back to the simulator's.

    Assumes: evaluation with these constants is as good as with a copy of the raw actions. They give what the simulator
        executes: commands clipped to +-1, and -1 for any negative gripper command, since only its sign counts.
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


def _own(settings: SourceSettings) -> Settings:
    if not isinstance(settings, Settings):
        raise TypeError(f"expected the Settings of libero, got {type(settings).__name__}")
    return settings


def _suite(file: str) -> str:
    return suite_of(PurePosixPath(file).parts[0]) or ""


_LEROBOT = LiberoConversions(
    INFO,
    LiberoMeaning(
        hz=HZ,
        position_scale_m=POSITION_SCALE_M,
        rotation_scale_rad=ROTATION_SCALE_RAD,
        arm=_arm,
        convention=_simulator_convention,
    ),
)

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


def _write_toy_replayed(root: str) -> None:
    """Write two suites of the release replayed with one task and two demonstrations each."""
    write_toy_replayed(root, _TOY_ROBOT)
