"""LIBERO: 130 simulated Franka tasks x 50 demonstrations in HDF5; `paired`, commanded deltas.

Facts come from the benchmark's own recorder and environment.
OpenVLA's regenerated RLDS variants (`libero_*_no_noops`) have another layout and are not read here.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from vita_data.errors import EpisodeError, RequestError, SourceError
from vita_data.formats.hdf5 import (
    DatasetStream,
    demo_names,
    find_dataset,
    find_group,
    json_attribute,
    open_hdf5,
    read_floats,
)
from vita_data.formats.toy import toy_arm, toy_frame
from vita_data.geometry import matrix_from_axis_angle, rotation_delta
from vita_data.types import (
    ActionOrigin,
    Arm,
    ArmAction,
    Arms,
    CameraRole,
    Drop,
    Episode,
    Failure,
    Float64,
    Gaps,
    Image,
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
FINGERS_OPEN_M = 0.08
"""Distance of the open Panda fingers."""
NOOP_NORM = 1e-4
_SUFFIX = "_demo"
_CAMERAS = {CameraRole.PRIMARY: "agentview_rgb", CameraRole.WRIST_RIGHT: "eye_in_hand_rgb"}


class Orientation(StrEnum):
    """How stored images, which are upside down, are turned; evaluation has to do the same."""

    ROT180 = "rot180"
    VFLIP = "vflip"
    NONE = "none"


_STRIDES = {Orientation.ROT180: (-1, -1), Orientation.VFLIP: (-1, 1), Orientation.NONE: (1, 1)}

INFO = SourceInfo(
    name="libero",
    title="LIBERO",
    embodiment="franka",
    arms=Arms.RIGHT,
    modality=Modality.PAIRED,
    hz=HZ,
    cameras=_CAMERAS,
    action_origin=ActionOrigin.COMMANDED,
    action_space="robosuite OSC_POSE deltas, +-1 = +-0.05 m and +-0.5 rad axis-angle; gripper -1 open, +1 close",
    text_style=TextStyle.IMPERATIVE,
    licence="CC BY 4.0 (data), MIT (code)",
    redistributable=True,
    access="open",
    url="https://libero-project.github.io",
    raw_layout="libero_{spatial,object,goal,10,90}/<task>_demo.hdf5",
    notes=(
        "State is in the world frame, hand orientation: ee_pos is the grip site, ee_ori the hand body, as recorded.",
        "The simulated controller reaches only 22 to 25 % of a commanded step, so deltas do not integrate to poses.",
        "Row t pairs observation t with action t+1: the recorder stores what was seen after each action.",
        "Raw actions are not stored. The constants in extras give them back, except that commands beyond +-1 come back "
        "clipped and negative (opening) gripper commands of any size as -1: the simulator does the same with them.",
        "No-op rows are removed and leave a gap in step_index; action chunks bridge it.",
    ),
    tracks_commands=False,
    action_lags=(0, 1),
    published_episodes={"official, VITA Table 10": 6500},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SourceSettings):
    """The keys of `--set`; empty `suites` or `tasks` mean all that are found."""

    orientation: Orientation = Orientation.ROT180
    suites: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    """File names without `_demo.hdf5`."""


def parts(raw: RawTree, settings: SourceSettings) -> list[Part]:
    """List one part per task file.

    Raises:
        RequestError: no task file is found, or a suite or task that was asked for is absent.
    """
    settings = _own(settings)
    files = [file for suite in SUITES for file in raw.glob(f"{suite}/*{_SUFFIX}.hdf5")]
    if not files:
        raise RequestError(f"--raw {raw.root}: no {INFO.raw_layout}; --raw is the folder that contains libero_*")
    _refuse_absent("suites", settings.suites, {_suite(file) for file in files}, raw)
    files = [file for file in files if not settings.suites or _suite(file) in settings.suites]
    _refuse_absent("tasks", settings.tasks, {_task(file) for file in files}, raw)
    files = [file for file in files if not settings.tasks or _task(file) in settings.tasks]
    return [Part(id=file, num_bytes=raw.size(file), num_episodes=_num_demos(raw, file)) for file in sorted(files)]


def episodes(raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
    """Read the demonstrations of one task in the order of their numbers.

    Raises:
        SourceError: the file cannot be opened or has no demonstrations.
    """
    settings = _own(settings)
    with open_hdf5(raw.local_path(part.id), name=part.id) as file:
        names = demo_names(file, name=part.id)
        texts = _instructions(file, part.id)
        for name in names:
            try:
                yield _read_demo(find_group(file, f"data/{name}", name=part.id), part, texts, settings)
            except EpisodeError as error:
                yield Failure(episode=f"{part.id}#{name}", detail=str(error))


def _read_demo(demo: h5py.Group, part: Part, texts: tuple[Instruction, ...], settings: Settings) -> Episode | Drop:
    name = PurePosixPath(demo.name).name
    command = read_floats(demo, "actions", width=7, name=part.id)
    rows = _kept_rows(command)
    if not rows.size:
        return Drop(episode=f"{part.id}#{name}", reason=Reason.IDLE, detail=f"{len(command)} steps, all no-ops")
    _refuse_uneven(demo, num_steps=len(command), part=part)
    suite, task = _suite(part.id), _task(part.id)
    return Episode(
        id=f"{part.id}#{name}",
        source=INFO.name,
        release="official",
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
                strides=_STRIDES[settings.orientation],
            )
            for role, key in _CAMERAS.items()
        },
        right=_arm(demo, rows, command, part),
        action_origin=INFO.action_origin,
        gaps=Gaps.BRIDGE,
        provenance={"file": part.id, "record": name, "suite": suite, "task": task},
        extras=_simulator_convention(suite, task, settings),
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


def _arm(demo: h5py.Group, rows: Int64, command: Float64, part: Part) -> Arm:
    def observed(key: str, width: int) -> Float64:
        return read_floats(demo, f"obs/{key}", width=width, name=part.id)[rows]

    # the simulator clips commands to +-1 before it scales them (robosuite, Controller.scale_action)
    paired = np.clip(command[rows + 1], -1.0, 1.0)
    fingers = observed("gripper_states", 2)
    return Arm(
        xyz_m=observed("ee_pos", 3),
        rotation=matrix_from_axis_angle(observed("ee_ori", 3)),
        gripper_open=np.clip(np.abs(fingers[:, 0] - fingers[:, 1]) / FINGERS_OPEN_M, 0.0, 1.0),
        joint_position_rad=observed("joint_states", 7),
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


def _simulator_convention(suite: str, task: str, settings: Settings) -> Json:
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
        "orientation": settings.orientation.value,
    }


def _refuse_uneven(demo: h5py.Group, *, num_steps: int, part: Part) -> None:
    for key in ("ee_pos", "ee_ori", "gripper_states", "joint_states", *_CAMERAS.values()):
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
        with open_hdf5(raw.local_path(file), name=file) as opened:
            return len(demo_names(opened, name=file))
    except SourceError:
        return None


def _own(settings: SourceSettings) -> Settings:
    if not isinstance(settings, Settings):
        raise TypeError(f"libero needs its own Settings, not {type(settings).__name__}")
    return settings


def _suite(file: str) -> str:
    return PurePosixPath(file).parts[0]


def _task(file: str) -> str:
    return PurePosixPath(file).stem.removesuffix(_SUFFIX)


# ------------------------------------------------------------------------------------------------------- toy tree

_TOY = {  # task file -> what problem_info says
    "libero_spatial/pick_up_the_black_bowl_and_place_it_on_the_plate": "Pick the akita bowl and put it on the plate",
    "libero_90/KITCHEN_SCENE1_open_the_top_drawer_of_the_cabinet": "open the top drawer of the cabinet",
}
_TOY_DEMOS = (0, 1, 2, 6)
_TOY_HOLD_AT, _TOY_HOLD_STEPS = 12, 4
"""Where and for how many actions the toy arm waits: no-ops."""


def write_toy(root: str) -> None:
    """Write two suites with one task and four demonstrations each, about 50 steps, images as the simulator stores them.

    Images are gzipped (the official files are not) and the toy arm reaches its commands (the simulator's does not).
    """
    for index, (task, text) in enumerate(_TOY.items()):
        path = Path(root) / f"{task}{_SUFFIX}.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            total = sum(_write_toy_demo(data, number, seed=10 * index + number) for number in _TOY_DEMOS)
            data.attrs.update(
                {
                    "env_name": "Libero_Tabletop_Manipulation",
                    "macros_image_convention": "opengl",
                    "problem_info": json.dumps(
                        {"problem_name": "toy", "domain_name": "robosuite", "language_instruction": text}
                    ),
                    "bddl_file_name": f"{task}.bddl",
                    "env_args": "{}",
                    "num_demos": len(_TOY_DEMOS),
                    "total": total,
                }
            )


def _write_toy_demo(data: h5py.Group, number: int, *, seed: int) -> int:
    """Write a demo whose observation t is seen after action t; the first action is the one that led to it."""
    steps = np.arange(46 + number)
    steps = np.insert(steps, _TOY_HOLD_AT, [_TOY_HOLD_AT] * _TOY_HOLD_STEPS)
    arm = toy_arm(len(steps), hz=HZ, seed=seed)
    xyz, rotation, opening = arm.xyz_m[steps], arm.rotation[steps], arm.gripper_open[steps]
    turn = Rotation.from_matrix(rotation_delta(rotation[:-1], rotation[1:])).as_rotvec()
    actions = np.column_stack([np.diff(xyz, axis=0) / POSITION_SCALE_M, turn / ROTATION_SCALE_RAD, 1 - 2 * opening[1:]])
    demo, after = data.create_group(f"demo_{number}"), slice(1, None)
    hand, axis_angle = xyz[after], Rotation.from_matrix(rotation[after]).as_rotvec()
    fingers = np.outer(opening[after], [FINGERS_OPEN_M / 2, -FINGERS_OPEN_M / 2])
    quaternion = Rotation.from_matrix(rotation[after]).as_quat()
    values = {
        "actions": actions,
        "robot_states": np.column_stack([fingers, hand, quaternion]),
        "obs/ee_pos": hand,
        "obs/ee_ori": axis_angle,
        "obs/ee_states": np.column_stack([hand, axis_angle]),
        "obs/gripper_states": fingers,
        "obs/joint_states": arm.joint_position_rad[steps][after],
        "states": np.column_stack([xyz[:-1], opening[:-1]]),
        "rewards": np.zeros(len(actions), np.uint8),
        "dones": np.arange(len(actions)) == len(actions) - 1,
    }
    for key, value in values.items():
        demo.create_dataset(key, data=value.astype(np.uint8) if key == "dones" else value)
    for camera, key in enumerate(_CAMERAS.values()):
        demo.create_dataset(
            f"obs/{key}",
            data=_toy_images(len(actions), camera, seed),
            compression="gzip",
            compression_opts=1,
            chunks=(1, 128, 128, 3),
        )
    demo.attrs.update({"num_samples": len(actions), "model_file": "<mujoco/>", "init_state": np.zeros(4)})
    return len(actions)


def _toy_images(num_frames: int, camera: int, episode: int) -> Image:
    """Frames stored turned by 180 degrees, so that the default orientation shows them upright."""
    frames = [toy_frame(128, 128, step=step, camera=camera, episode=episode) for step in range(num_frames)]
    return np.stack(frames)[:, ::-1, ::-1]
