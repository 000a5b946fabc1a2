"""FMB, the Functional Manipulation Benchmark, in RLDS form; the authors' `.npy` files are not read.

The module reads `fmb_dataset/1.0.0` and TensorFlow Datasets' smaller copy `fmb/0.1.0`, which have the same keys. The
meaning of an action comes from the recording environment (rail-berkeley/fmb, robot_infra/envs/franka_fmb_env.py).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.encoded_frames import EncodedFrames, any_image
from vita_data.formats.rlds.dataset import RldsDataset, list_parts, open_dataset, pick_release, read_outcomes
from vita_data.formats.rlds.features import FeatureKind, FeatureSpec, TensorEncoding, require_features
from vita_data.formats.rlds.files import RldsSettings, refuse_rlds_settings
from vita_data.formats.rlds.find import RecordFinder
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.rlds.write import RldsValues, write_rlds
from vita_data.formats.toy import toy_arm, toy_frames, toy_jpeg
from vita_data.geometry import (
    euler_xyz_from_matrix,
    matrix_from_euler_xyz,
    matrix_from_quat_xyzw,
    quat_fault,
    rotation_delta,
)
from vita_data.sources._shared.lerobot.oxe import fmb_conversions
from vita_data.stored_actions import moves, openings, rotation_pair, rows_of, turns
from vita_data.types import (
    ActionOrigin,
    Arm,
    ArmAction,
    Arms,
    CameraRole,
    Clip,
    CommandPair,
    CommandReader,
    Drop,
    Episode,
    Float32,
    Float64,
    Instruction,
    Modality,
    Outcome,
    Part,
    PoseDelta,
    RawTree,
    Reason,
    SourceInfo,
    TextStyle,
)

_HZ = 10.0
_CAMERAS = {
    CameraRole.PRIMARY: "image_side_1",
    CameraRole.SECONDARY: "image_side_2",
    CameraRole.WRIST_RIGHT: "image_wrist_1",
}

INFO = SourceInfo(
    name="fmb",
    title="FMB: Functional Manipulation Benchmark (RLDS)",
    embodiment="franka",
    arms=Arms.RIGHT,
    modality=Modality.PAIRED,
    hz=_HZ,
    cameras=_CAMERAS,
    action_origin=ActionOrigin.COMMANDED,
    action_space="7-D: commanded displacement clipped to 0.06 m and 0.25 rad an axis as the robot's controller does, "
    "gripper command 1 = open (stored 1 = close)",
    text_style=TextStyle.IMPERATIVE,
    licence="CC BY 4.0",
    redistributable=True,
    access="public, no account",
    url="https://functional-manipulation-benchmark.github.io/",
    raw_layout="fmb_dataset/1.0.0 or fmb/0.1.0: dataset_info.json, features.json, "
    "<name>-<split>.tfrecord-XXXXX-of-YYYYY",
    notes=(
        "The text is the episode's; the primitives' texts are further instructions, their steps are extras.segments.",
        "Opening and closing the gripper blocked recording for 0.6 to 1.2 s: steps are not evenly spaced there.",
        "Depth is read as levels of 0.1 mm, the unit of the D405 camera; 0 is no reading. image_wrist_2 is not read.",
        "Colours are taken as RGB. The authors' .npy files are BGR and no document says who swapped them: look first.",
        "A release without a validation split has 5% of its episodes, by hash, as val; the public one has none.",
    ),
    published_episodes={"fmb_dataset/1.0.0": 8612, "VITA Table 10": 8611, "fmb/0.1.0": 1804},
)

_NAMES = ("fmb_dataset", "fmb")
_ACTION = "steps/action"
_OBSERVATION = "steps/observation"
_POSE = f"{_OBSERVATION}/eef_pose"
_GRIPPER = f"{_OBSERVATION}/state_gripper_pose"
_JOINTS, _JOINT_SPEED = f"{_OBSERVATION}/joint_pos", f"{_OBSERVATION}/joint_vel"
_NUMBERS = (_ACTION, _POSE, _GRIPPER, _JOINTS, _JOINT_SPEED)
_STEP_TEXT = "steps/language_instruction"
_REQUIRED: dict[str, int | None] = {
    _ACTION: 7,
    _POSE: 7,
    _GRIPPER: 1,
    _JOINTS: 7,
    _JOINT_SPEED: 7,
    _STEP_TEXT: None,
    **{f"{_OBSERVATION}/{key}": None for key in _CAMERAS.values()},
}
_EPISODE_TEXT = "episode_metadata/episode_language_instruction"
_FILE_PATH = "episode_metadata/file_path"
_MAX_COMMAND_M, _MAX_COMMAND_RAD = 0.06, 0.25
_DEPTH_LEVEL_M, _NO_READING = 1e-4, 65535
_LEROBOT = fmb_conversions(INFO, hz=_HZ, limit_m=_MAX_COMMAND_M, limit_rad=_MAX_COMMAND_RAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RldsSettings):
    """Settings (`--set`) of FMB."""

    release: str | None = None
    """`<name>/<version>`, required if the raw tree contains several."""
    depth: bool = False
    """Also store the depth of the three cameras."""


class _DepthLevels:
    """A depth camera of an episode as a `DepthStream`; decoded when read, since an episode takes about 35 MB.

    Assumes: the stored floats are the camera's 16-bit levels, 0.1 mm each (the builders in rail-berkeley/fmb cast them
    and give no unit; it is the default of a RealSense D405), and the greatest level means no reading, as 0 does.
    """

    def __init__(self, record: RldsRecord, path: str, *, num_rows: int) -> None:
        self._record, self._path, self._num_rows = record, path, num_rows

    def read(self, rows: Sequence[int]) -> Iterator[Float32]:
        levels = self._record.floats(self._path)
        if len(levels) != self._num_rows:
            raise EpisodeError(f"{self._record.id}: {len(levels)} images in {self._path} for {self._num_rows} steps")
        for row in rows:
            level = levels[row]
            yield np.where(level < _NO_READING, level * _DEPTH_LEVEL_M, 0.0).astype(np.float32)


def parts(raw: RawTree, settings: Settings) -> list[Part]:
    """List the tfrecord files of the release.

    Raises:
        RequestError: no release of FMB exists, several exist and none was chosen, the release lacks keys, or it has no
            depth but depth is requested.
        SourceError: its JSON files cannot be read.
    """
    if _LEROBOT.are_in(raw, asked=settings.release):
        refuse_rlds_settings(settings)
        return _LEROBOT.parts(raw, settings)
    dataset = open_dataset(raw, pick_release(raw, _NAMES, settings.release), settings)
    require_features(dataset.features, _REQUIRED, place=f"{dataset.release}/features.json in {raw.root}")
    lacking = [_depth_key(role) for role in _CAMERAS if _depth_key(role) not in dataset.features]
    if settings.depth and lacking:
        raise RequestError(
            f"--set depth=true: {dataset.release}/features.json in {raw.root} has no {', '.join(lacking)}; "
            "omit the setting, or download a release with depth"
        )
    return list_parts(raw, dataset)


def episodes(raw: RawTree, part: Part, settings: Settings) -> Iterator[Outcome]:
    """Read one tfrecord file; every step of an episode is a row.

    Raises:
        SourceError: the file is damaged, and dataset_info.json does not tell how many episodes are lost.
    """
    if _LEROBOT.has_part(part):
        return _LEROBOT.episodes(raw, part, settings)
    dataset = open_dataset(raw, str(PurePosixPath(part.id).parent), settings)
    return read_outcomes(raw, dataset, part, partial(_outcome, dataset, settings))


def command_reader(raw: RawTree, settings: Settings) -> CommandReader:
    """Make a reader of recorded and rebuilt commands; the recorded ones are clipped as the robot's controller does."""
    finder = RecordFinder(raw, lambda release: open_dataset(raw, release, settings))
    return lambda clip: _compare_commands(clip, finder.find(clip.provenance))


def _compare_commands(clip: Clip, record: RldsRecord) -> tuple[CommandPair, ...]:
    command = rows_of(record.floats(_ACTION), clip.step_index, name=record.id)
    turn = np.clip(command[:, 3:6], -_MAX_COMMAND_RAD, _MAX_COMMAND_RAD)
    return (
        CommandPair(
            name="displacement (m)",
            recorded=np.clip(command[:, :3], -_MAX_COMMAND_M, _MAX_COMMAND_M),
            rebuilt=moves(clip),
        ),
        rotation_pair("rotation (matrix)", matrix_from_euler_xyz(turn), turns(clip)),
        CommandPair(name="gripper (1 closes)", recorded=command[:, 6:], rebuilt=1.0 - openings(clip)),
    )


def _outcome(dataset: RldsDataset, settings: Settings, record: RldsRecord) -> Outcome:
    images = {role: record.byte_strings(f"{_OBSERVATION}/{key}") for role, key in _CAMERAS.items()}
    texts = record.texts(_STEP_TEXT)
    num_steps = _num_steps(record, images, texts)
    if not num_steps:
        return Drop(episode=record.id, reason=Reason.SHORT, detail="no steps")
    if broken := [path for path in _NUMBERS if not np.isfinite(record.floats(path)).all()]:
        return Drop(episode=record.id, reason=Reason.NONFINITE, detail=f"NaN or infinity in {', '.join(broken)}")
    if fault := quat_fault(record.floats(_POSE)[:, 3:]):
        return Drop(episode=record.id, reason=Reason.NONFINITE, detail=f"{_POSE} has {fault}")
    cameras = {role: EncodedFrames(frames) for role, frames in images.items() if any_image(frames)}
    depths = {role: _DepthLevels(record, _depth_key(role), num_rows=num_steps) for role in cameras}
    return Episode(
        id=record.id,
        source=INFO.name,
        release=dataset.release,
        split=dataset.split_of(record),
        embodiment=INFO.embodiment,
        arms=INFO.arms,
        hz=settings.hz or _HZ,
        step_index=np.arange(num_steps),
        instructions=_instructions(record, texts),
        cameras=cameras,
        depths=depths if settings.depth else {},
        right=_arm(record),
        action_origin=INFO.action_origin,
        provenance=_provenance(record),
        extras={"segments": _segments(texts)},
    )


def _num_steps(record: RldsRecord, images: Mapping[CameraRole, Sequence[bytes]], texts: Sequence[str]) -> int:
    counts = {path: len(record.floats(path)) for path in _NUMBERS}
    counts |= {_CAMERAS[role]: len(frames) for role, frames in images.items()} | {_STEP_TEXT: len(texts)}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{path} {count}" for path, count in counts.items())
        raise EpisodeError(f"{record.id}: its keys differ in steps ({found}); fetch the file again")
    return counts[_ACTION]


def _arm(record: RldsRecord) -> Arm:
    """Pair each measured pose with its command, clipped as in the environment's `step`.

    Assumes: the workspace box that `step` also clips to is not applied; it changed between tasks and is not recorded.
    """
    pose, command = record.floats(_POSE), record.floats(_ACTION)
    try:
        rotation = matrix_from_quat_xyzw(pose[:, 3:])
    except ValueError as error:
        raise EpisodeError(f"{record.id}: {_POSE} contains an invalid quaternion ({error})") from error
    motion = PoseDelta(
        xyz_m=np.clip(command[:, :3], -_MAX_COMMAND_M, _MAX_COMMAND_M),
        rotation=matrix_from_euler_xyz(np.clip(command[:, 3:6], -_MAX_COMMAND_RAD, _MAX_COMMAND_RAD)),
    )
    return Arm(
        xyz_m=pose[:, :3],
        rotation=rotation,
        gripper_open=1.0 - record.floats(_GRIPPER),
        joint_position_rad=record.floats(_JOINTS),
        joint_velocity_rad_s=record.floats(_JOINT_SPEED),
        action=ArmAction(motion=motion, gripper_open=1.0 - command[:, 6]),
    )


def _instructions(record: RldsRecord, step_texts: Sequence[str]) -> tuple[Instruction, ...]:
    """Put the episode's text first, even if empty, then the texts of the primitives, in order."""
    whole = record.texts(_EPISODE_TEXT) if record.has(_EPISODE_TEXT) else []
    distinct = dict.fromkeys(text for text in (*whole, *step_texts) if text.strip())
    return tuple(Instruction(text=text, origin="template") for text in distinct or [""])


def _segments(step_texts: Sequence[str]) -> list[dict[str, object]]:
    """Split the steps where the primitive's text changes, into half-open ranges of native steps."""
    segments: list[dict[str, object]] = []
    start = 0
    for text, steps in itertools.groupby(step_texts):
        stop = start + len(list(steps))
        segments.append({"start": start, "stop": stop, "text": text})
        start = stop
    return segments


def _provenance(record: RldsRecord) -> dict[str, object]:
    place: dict[str, object] = {"file": record.file, "record": record.index}
    path = record.text(_FILE_PATH)
    # The folders are those of the authors' disk; the file name alone identifies the trajectory.
    return place if path is None else place | {"file_path": PurePosixPath(path).name}


def _depth_key(role: CameraRole) -> str:
    return f"{_OBSERVATION}/{_CAMERAS[role]}_depth"


# ------------------------------------------------------------------------------------------------------- toy tree

_TOY_STEPS = (26, 20, 22, 16, 8)
_TOY_NO_TEXT = 3
_TOY_CLIPPED_STEP = 6
_TOY_PRIMITIVES = {
    "grasp": "Pick up the large long red hexagon object.",
    "move_up": "Move up.",
    "insert": "Insert the large long red hexagon object.",
}
_TOY_TEXT = "Pick up the large long red hexagon object and insert it."
_TOY_FLAGS = ("steps/is_first", "steps/is_last", "steps/is_terminal")
_TOY_WRENCH = (f"{_OBSERVATION}/eef_force", f"{_OBSERVATION}/eef_torque")
_TOY_IMAGES = tuple(f"{_OBSERVATION}/image_{name}" for name in ("side_1", "side_2", "wrist_1", "wrist_2"))
_TOY_ROLES = (CameraRole.PRIMARY, CameraRole.SECONDARY, CameraRole.WRIST_RIGHT)


def write_toy(root: str) -> None:
    """Write `fmb_dataset/1.0.0`: train with 2 files of 3 and 2 episodes.

    One episode has no text, one is too short, and all have a command beyond what the robot executes. Depth is deflated
    here, unlike in the release: uncompressed, it would be 1 MB per step.
    """
    records = [_toy_record(number, num_steps) for number, num_steps in enumerate(_TOY_STEPS)]
    write_rlds(
        root, release="fmb_dataset/1.0.0", features=_toy_features(), splits={"train": [records[:3], records[3:]]}
    )


def _toy_features() -> dict[str, FeatureSpec]:
    text = FeatureSpec(kind=FeatureKind.TEXT, dtype="string")
    step_text = FeatureSpec(kind=FeatureKind.TEXT, dtype="string", num_levels=1)
    image = FeatureSpec(kind=FeatureKind.IMAGE, dtype="uint8", shape=(256, 256, 3), num_levels=1)
    depth = FeatureSpec(shape=(256, 256), encoding=TensorEncoding.ZLIB, num_levels=1)
    return {
        **dict.fromkeys(_TOY_FLAGS, FeatureSpec(dtype="bool", num_levels=1)),
        **dict.fromkeys(_TOY_WRENCH, FeatureSpec(shape=(3,), num_levels=1)),
        _ACTION: FeatureSpec(shape=(7,), num_levels=1),
        _POSE: FeatureSpec(shape=(7,), num_levels=1),
        _GRIPPER: FeatureSpec(num_levels=1),
        _JOINTS: FeatureSpec(shape=(7,), num_levels=1),
        _JOINT_SPEED: FeatureSpec(shape=(7,), num_levels=1),
        f"{_OBSERVATION}/primitive": step_text,
        _STEP_TEXT: step_text,
        **dict.fromkeys(_TOY_IMAGES, image),
        **{f"{key}_depth": depth for key in _TOY_IMAGES},
        _EPISODE_TEXT: text,
        _FILE_PATH: text,
    }


def _toy_record(number: int, num_steps: int) -> RldsValues:
    has_text = number != _TOY_NO_TEXT
    primitives = [list(_TOY_PRIMITIVES)[3 * step // num_steps] for step in range(num_steps)]
    last = np.arange(num_steps) == num_steps - 1
    return _toy_motion(number, num_steps) | {
        **dict(zip(_TOY_FLAGS, (np.arange(num_steps) == 0, last, last), strict=True)),
        **dict.fromkeys(_TOY_WRENCH, np.zeros((num_steps, 3))),
        f"{_OBSERVATION}/primitive": [name.encode() for name in primitives],
        _STEP_TEXT: [_TOY_PRIMITIVES[name].encode() if has_text else b"" for name in primitives],
        **{key: _toy_jpegs(number, num_steps, camera=camera) for camera, key in enumerate(_TOY_IMAGES[:3])},
        _TOY_IMAGES[3]: [toy_jpeg(np.zeros((256, 256, 3), np.uint8), quality=90)] * num_steps,
        **{f"{key}_depth": _toy_depth(num_steps, camera=camera) for camera, key in enumerate(_TOY_IMAGES)},
        _EPISODE_TEXT: [_TOY_TEXT.encode() if has_text else b""],
        _FILE_PATH: [f"/media/disk/fmb/board_1/np/6_L_L_2_horizontal_n_{number}.npy".encode()],
    }


def _toy_motion(number: int, num_steps: int) -> dict[str, Float64]:
    """Make measured poses and the commands between them; one command asks for more than is executed."""
    arm = toy_arm(num_steps, hz=_HZ, seed=number)
    xyz = arm.xyz_m.copy()
    xyz[_TOY_CLIPPED_STEP + 1 :, 0] += xyz[_TOY_CLIPPED_STEP, 0] + _MAX_COMMAND_M - xyz[_TOY_CLIPPED_STEP + 1, 0]
    command = np.zeros((num_steps, 7))
    command[:-1, :3] = np.diff(xyz, axis=0)
    command[:-1, 3:6] = euler_xyz_from_matrix(rotation_delta(arm.rotation[:-1], arm.rotation[1:]))
    command[:, 6] = 1.0 - np.append(arm.gripper_open[1:], 0.0)
    command[_TOY_CLIPPED_STEP, 0] = 3 * _MAX_COMMAND_M
    return {
        _ACTION: command,
        _POSE: np.column_stack([xyz, _quat_xyzw(arm.rotation)]),
        _GRIPPER: 1.0 - arm.gripper_open,
        _JOINTS: arm.joint_position_rad,
        _JOINT_SPEED: arm.joint_velocity_rad_s,
    }


def _quat_xyzw(rotation: Float64) -> Float64:
    """Convert matrices [T, 3, 3] of hands that point down (roll near pi, so x is never small) to [T, 4] x y z w."""
    x = np.sqrt(1 + rotation[:, 0, 0] - rotation[:, 1, 1] - rotation[:, 2, 2]) / 2
    y, z = rotation[:, 0, 1] + rotation[:, 1, 0], rotation[:, 0, 2] + rotation[:, 2, 0]
    w = rotation[:, 2, 1] - rotation[:, 1, 2]
    return np.column_stack([x, y / (4 * x), z / (4 * x), w / (4 * x)])


def _toy_depth(num_steps: int, *, camera: int) -> Float32:
    """Make levels [T, 256, 256] that encode camera and step: 0.2 m plus 0.1 m per camera and 1 mm per step."""
    levels = np.full((num_steps, 256, 256), 2000.0, np.float32)
    levels += 1000 * camera + 10 * np.arange(num_steps, dtype=np.float32)[:, None, None]
    levels[:, 0, 0], levels[:, 0, 1] = 0, _NO_READING
    return levels


def _toy_jpegs(number: int, num_steps: int, *, camera: int) -> list[bytes]:
    arm, role = toy_arm(num_steps, hz=_HZ, seed=number), _TOY_ROLES[camera]
    frames = toy_frames(256, 256, range(num_steps), camera=camera, episode=number, arms=[arm], role=role)
    return [toy_jpeg(frame, quality=90) for frame in frames]
