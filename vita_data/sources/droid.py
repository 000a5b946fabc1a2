"""DROID in RLDS form, both public versions and the 100-episode sample; the raw MP4 and HDF5 files are not read.

Positions are commanded targets. The velocities of the release are unitless shares of the greatest speed
(droid-dataset/droid, robot_ik_solver.py) and are used only for the idle filter, which compares joint velocities.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.encoded_frames import EncodedFrames, any_image
from vita_data.formats.rlds.dataset import RldsDataset, list_parts, open_dataset, pick_release, read_outcomes
from vita_data.formats.rlds.features import FeatureKind, FeatureSpec, require_features
from vita_data.formats.rlds.files import RldsSettings, refuse_rlds_settings
from vita_data.formats.rlds.find import RecordFinder
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.rlds.write import RldsValues, write_rlds
from vita_data.formats.toy import toy_arm, toy_frames, toy_jpeg
from vita_data.geometry import euler_xyz_from_matrix, matrix_from_euler_xyz, rotation_delta
from vita_data.sources._shared.droid_idle import MIN_IDLE_STEPS, MIN_MOVING_STEPS, moving_steps
from vita_data.sources._shared.lerobot.droid import droid_conversions
from vita_data.stored_actions import (
    hand_rotation,
    hand_xyz,
    joint_targets,
    moves,
    openings,
    rotation_pair,
    rows_of,
    turns,
)
from vita_data.types import (
    ActionOrigin,
    ActionRange,
    Arm,
    ArmAction,
    Arms,
    CameraRole,
    Clip,
    CommandPair,
    CommandReader,
    Drop,
    Episode,
    Float64,
    Instruction,
    Int64,
    Modality,
    Outcome,
    Part,
    PoseTarget,
    RawTree,
    Reason,
    SourceInfo,
    SourceSettings,
    TextStyle,
)

_HZ = 15.0

INFO = SourceInfo(
    name="droid",
    title="DROID (RLDS)",
    embodiment="franka",
    arms=Arms.RIGHT,
    modality=Modality.PAIRED,
    hz=_HZ,
    cameras={
        CameraRole.PRIMARY: "exterior_image_1_left or exterior_image_2_left, by hash of the episode",
        CameraRole.SECONDARY: "the other exterior camera",
        CameraRole.WRIST_RIGHT: "wrist_image_left",
    },
    action_origin=ActionOrigin.COMMANDED,
    action_space="7-D: displacement from the measured to the commanded pose (composed rotations), "
    "gripper command 1 = open (stored 1 = closed)",
    text_style=TextStyle.IMPERATIVE,
    licence="CC BY 4.0",
    redistributable=True,
    access="public, no account",
    url="https://droid-dataset.github.io/",
    raw_layout="droid/1.0.1, droid/1.0.0 or droid_100/1.0.0: dataset_info.json, features.json, "
    "<name>-<split>.tfrecord-XXXXX-of-YYYYY",
    notes=(
        "Only episodes whose path contains `success` are kept; Table 10 of the paper counts the failures too.",
        "Idle steps are removed by openpi's rule and leave gaps; `--set idle=none` keeps every step.",
        "Camera extrinsics are not read: they are known to be unreliable.",
        "A release without a validation split has 5% of its episodes, by hash, as val; the public one has none.",
    ),
    published_episodes={"VITA Table 10": 92233},
    # Public statistics of the unitless velocity, times the controller's 0.075 m and 0.15 rad per step.
    published_range=ActionRange(
        q01=(-0.0584, -0.0435, -0.0435, -0.0969, -0.1056, -0.1335),
        q99=(0.0570, 0.0430, 0.0551, 0.1007, 0.0969, 0.1335),
    ),
)

_NAMES = ("droid", "droid_100")
_EXTERIOR = ("steps/observation/exterior_image_1_left", "steps/observation/exterior_image_2_left")
_WRIST = "steps/observation/wrist_image_left"
_POSE, _TARGET = "steps/observation/cartesian_position", "steps/action_dict/cartesian_position"
_GRIPPER, _GRIPPER_TARGET = "steps/observation/gripper_position", "steps/action_dict/gripper_position"
_JOINTS, _JOINT_TARGET = "steps/observation/joint_position", "steps/action_dict/joint_position"
_JOINT_SPEED = "steps/action_dict/joint_velocity"
_NUMBERS = (_JOINT_SPEED, _POSE, _TARGET, _GRIPPER, _GRIPPER_TARGET, _JOINTS, _JOINT_TARGET)
_TEXTS = ("steps/language_instruction", "steps/language_instruction_2", "steps/language_instruction_3")
_FILE_PATH = "episode_metadata/file_path"
_SUCCESS, _FAILURE = "success", "failure"
_REQUIRED: dict[str, int | None] = {
    _JOINT_SPEED: 7,
    _POSE: 6,
    _TARGET: 6,
    _GRIPPER: 1,
    _GRIPPER_TARGET: 1,
    _JOINTS: 7,
    _JOINT_TARGET: 7,
    **dict.fromkeys((*_EXTERIOR, _WRIST, _FILE_PATH)),
}


class IdleFilter(StrEnum):
    """Which steps become rows: those that openpi's DROID training keeps, or all."""

    OPENPI = "openpi"
    NONE = "none"


class Outcomes(StrEnum):
    """Which episodes are kept, by the word in their path: successes, all but failures, or any."""

    SUCCESS = "success"
    NOT_FAILURE = "not_failure"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RldsSettings):
    """Settings (`--set`) of DROID."""

    release: str | None = None
    """`<name>/<version>`, required if the raw tree contains several."""
    idle: IdleFilter = IdleFilter.OPENPI
    outcome: Outcomes = Outcomes.SUCCESS
    """`not_failure` also keeps own recordings, whose path often has neither word (droid_policy_learning, issue 3)."""


def parts(raw: RawTree, settings: Settings) -> list[Part]:
    """List the tfrecord files of the release.

    Raises:
        RequestError: no release of DROID exists, several exist and none was chosen, or the release lacks keys.
        SourceError: its JSON files cannot be read.
    """
    if _LEROBOT.are_in(raw, asked=settings.release):
        refuse_rlds_settings(settings)
        _refuse_not_failure(settings)
        return _LEROBOT.parts(raw, settings)
    dataset = open_dataset(raw, pick_release(raw, _NAMES, settings.release), settings)
    place = f"{dataset.release}/features.json in {raw.root}"
    require_features(dataset.features, _REQUIRED, place=place, any_of=_TEXTS)
    return list_parts(raw, dataset)


def episodes(raw: RawTree, part: Part, settings: Settings) -> Iterator[Outcome]:
    """Read one tfrecord file.

    Raises:
        SourceError: the file is damaged, and dataset_info.json does not tell how many episodes are lost.
    """
    if _LEROBOT.has_part(part):
        return _LEROBOT.episodes(raw, part, settings)
    dataset = open_dataset(raw, str(PurePosixPath(part.id).parent), settings)
    return read_outcomes(raw, dataset, part, partial(_outcome, dataset, settings))


def command_reader(raw: RawTree, settings: Settings) -> CommandReader:
    """Make a reader of recorded and rebuilt commands, which are absolute poses."""
    finder = RecordFinder(raw, lambda release: open_dataset(raw, release, settings))
    return lambda clip: _compare_commands(clip, finder.find(clip.provenance))


def _compare_commands(clip: Clip, record: RldsRecord) -> tuple[CommandPair, ...]:
    def recorded(path: str) -> Float64:
        return rows_of(record.floats(path), clip.step_index, name=f"{record.id}: {path}")

    target = recorded(_TARGET)
    return (
        CommandPair(name="position (m)", recorded=target[:, :3], rebuilt=hand_xyz(clip) + moves(clip)),
        rotation_pair("rotation (matrix)", matrix_from_euler_xyz(target[:, 3:]), turns(clip) @ hand_rotation(clip)),
        CommandPair(name="gripper (1 closes)", recorded=recorded(_GRIPPER_TARGET), rebuilt=1.0 - openings(clip)),
        CommandPair(name="joints (rad)", recorded=recorded(_JOINT_TARGET), rebuilt=joint_targets(clip)),
    )


def _outcome(dataset: RldsDataset, settings: Settings, record: RldsRecord) -> Outcome:
    path = record.text(_FILE_PATH)
    if path is None:
        raise EpisodeError(f"{record.id}: expected a text in {_FILE_PATH}, which tells whether the episode succeeded")
    if drop := _outcome_drop(record.id, path, settings.outcome):
        return drop
    images = {key: record.byte_strings(key) for key in (*_EXTERIOR, _WRIST)}
    num_steps = _num_steps(record, images)
    if not num_steps:
        return Drop(episode=record.id, reason=Reason.SHORT, detail="no steps")
    if broken := [path for path in _NUMBERS if not np.isfinite(record.floats(path)).all()]:
        return Drop(episode=record.id, reason=Reason.NONFINITE, detail=f"NaN or infinity in {', '.join(broken)}")
    rows = _kept_rows(record.floats(_JOINT_SPEED), settings)
    if not len(rows):
        detail = f"of {num_steps} steps no {MIN_MOVING_STEPS} in a row are free of {MIN_IDLE_STEPS} idle ones"
        return Drop(episode=record.id, reason=Reason.IDLE, detail=detail)
    return Episode(
        id=record.id,
        source=INFO.name,
        release=dataset.release,
        split=dataset.split_of(record),
        embodiment=INFO.embodiment,
        arms=INFO.arms,
        hz=settings.hz or _HZ,
        step_index=rows,
        instructions=_instructions(record),
        cameras=_cameras(record.id, images, rows),
        right=_arm(record, rows),
        action_origin=INFO.action_origin,
        provenance={"file": record.file, "record": record.index, "file_path": _relative(path)},
    )


def _outcome_drop(episode: str, path: str, kept: Outcomes) -> Drop | None:
    """Drop an episode whose path says failure, or does not say success, depending on the setting."""
    if _SUCCESS in path or kept is Outcomes.ANY:
        return None
    if _FAILURE in path:
        return Drop(episode=episode, reason=Reason.UNSUCCESSFUL, detail=f"no `{_SUCCESS}` in {_relative(path)}")
    if kept is Outcomes.NOT_FAILURE:
        return None
    detail = f"neither `{_SUCCESS}` nor `{_FAILURE}` in {_relative(path)}; --set outcome=not_failure keeps it"
    return Drop(episode=episode, reason=Reason.NO_OUTCOME, detail=detail)


def _num_steps(record: RldsRecord, images: Mapping[str, Sequence[bytes]]) -> int:
    counts = {path: len(record.floats(path)) for path in _NUMBERS} | {key: len(images[key]) for key in images}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{path} {count}" for path, count in counts.items())
        raise EpisodeError(f"{record.id}: its keys differ in steps ({found}); fetch the file again")
    return counts[_JOINT_SPEED]


def _kept_rows(joint_velocity: Float64, settings: SourceSettings) -> Int64:
    keeps_all = isinstance(settings, Settings) and settings.idle is IdleFilter.NONE
    return np.arange(len(joint_velocity)) if keeps_all else moving_steps(joint_velocity)


def _keeps_failures(settings: SourceSettings) -> bool:
    return isinstance(settings, Settings) and settings.outcome is Outcomes.ANY


def _refuse_not_failure(settings: Settings) -> None:
    if settings.outcome is Outcomes.NOT_FAILURE:
        raise RequestError(
            "--set outcome=not_failure: a LeRobot dataset of DROID says only whether an episode succeeded; use success "
            "or any"
        )


def _cameras(episode: str, images: Mapping[str, Sequence[bytes]], rows: Int64) -> dict[CameraRole, EncodedFrames]:
    choice = _exterior_choice(episode)
    frames = {key: [images[key][row] for row in rows] for key in (*_EXTERIOR, _WRIST)}
    recorded = {key: EncodedFrames(of_rows) for key, of_rows in frames.items() if any_image(of_rows)}
    exterior = [key for key in (_EXTERIOR[choice], _EXTERIOR[1 - choice]) if key in recorded]
    keys = dict(zip((CameraRole.PRIMARY, CameraRole.SECONDARY), exterior, strict=False))
    return {role: recorded[key] for role, key in (keys | {CameraRole.WRIST_RIGHT: _WRIST}).items() if key in recorded}


def _exterior_choice(episode: str) -> int:
    """Return which exterior camera is the primary one, 0 or 1."""
    # Use the last byte, since the first eight decide the split.
    return hashlib.sha256(episode.encode()).digest()[-1] % 2


def _arm(record: RldsRecord, rows: Int64) -> Arm:
    pose, target = record.floats(_POSE)[rows], record.floats(_TARGET)[rows]
    action = ArmAction(
        motion=PoseTarget(xyz_m=target[:, :3], rotation=matrix_from_euler_xyz(target[:, 3:])),
        gripper_open=1.0 - record.floats(_GRIPPER_TARGET)[rows, 0],
        joint_target_rad=record.floats(_JOINT_TARGET)[rows],
    )
    return Arm(
        xyz_m=pose[:, :3],
        rotation=matrix_from_euler_xyz(pose[:, 3:]),
        gripper_open=1.0 - record.floats(_GRIPPER)[rows, 0],
        joint_position_rad=record.floats(_JOINTS)[rows],
        action=action,
    )


def _instructions(record: RldsRecord) -> tuple[Instruction, ...]:
    """Collect the up to three annotations, each once; 1.0.0 has fewer of them, and many episodes have none."""
    texts = [text for key in _TEXTS if record.has(key) for text in record.texts(key)]
    distinct = [text for text in dict.fromkeys(texts) if text.strip()] or [""]
    return tuple(Instruction(text=text, origin="human") for text in distinct)


def _relative(path: str) -> str:
    """Remove the authors' bucket or disk from a path: `<lab>/success/<day>/<time>/trajectory.h5`.

    Assumes: a path without `success` or `failure` ends similarly, in `<lab>/<any folder>/<day>/<time>/trajectory.h5`.
    """
    names = [name for name in path.split("/") if name]
    outcome = next((at for at, name in enumerate(names) if _SUCCESS in name or _FAILURE in name), len(names) - 4)
    return "/".join(names[max(outcome - 1, 0) :])


_LEROBOT = droid_conversions(
    INFO,
    hz=_HZ,
    kept_rows=_kept_rows,
    keeps_failures=_keeps_failures,
    swaps_exterior=lambda episode: bool(_exterior_choice(episode)),
)

# ------------------------------------------------------------------------------------------------------- toy tree

_HEIGHT, _WIDTH = 180, 320
_TOY_ROLES = (CameraRole.PRIMARY, CameraRole.SECONDARY, CameraRole.WRIST_RIGHT)
_TOY_FLAGS = ("steps/is_first", "steps/is_last", "steps/is_terminal")
_STEP_SCALE_M, _STEP_SCALE_RAD = 0.075, 0.15
"""How far one unit of the unitless velocity moves the hand in one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToyEpisode:
    num_steps: int
    idle: tuple[int, int] = (0, 0)
    """Half-open range of steps in which the arm does not move."""
    outcome: str = _SUCCESS
    texts: tuple[str, str, str] = ("Put the marker in the pot", "Place the pen inside the cup", "")


_TOY = (
    _ToyEpisode(num_steps=28),
    _ToyEpisode(num_steps=58, idle=(26, 34)),
    _ToyEpisode(num_steps=26, texts=("", "", "Close the top drawer")),
    _ToyEpisode(num_steps=14, outcome="failure"),
    _ToyEpisode(num_steps=18, idle=(1, 18)),
    _ToyEpisode(num_steps=26, texts=("", "", "")),
)


def write_toy(root: str) -> None:
    """Write `droid/1.0.1`: train with 2 files of 3 episodes.

    One episode pauses, one has only its third text, one failed, one does not move, and one has no text.
    """
    records = [_toy_record(number, episode) for number, episode in enumerate(_TOY)]
    image = FeatureSpec(kind=FeatureKind.IMAGE, dtype="uint8", shape=(_HEIGHT, _WIDTH, 3), num_levels=1)
    text = FeatureSpec(kind=FeatureKind.TEXT, dtype="string")
    features = {
        **{path: _steps(6) for path in (_POSE, _TARGET, "steps/action_dict/cartesian_velocity")},
        **{path: _steps(1) for path in (_GRIPPER, _GRIPPER_TARGET)},
        **{path: _steps(7) for path in ("steps/action", _JOINTS, _JOINT_TARGET, _JOINT_SPEED)},
        **dict.fromkeys((*_EXTERIOR, _WRIST), image),
        **{path: FeatureSpec(kind=FeatureKind.TEXT, dtype="string", num_levels=1) for path in _TEXTS},
        **dict.fromkeys(_TOY_FLAGS, FeatureSpec(dtype="bool", num_levels=1)),
        _FILE_PATH: text,
        "episode_metadata/recording_folderpath": text,
    }
    write_rlds(root, release="droid/1.0.1", features=features, splits={"train": [records[:3], records[3:]]})


def _steps(size: int) -> FeatureSpec:
    return FeatureSpec(dtype="float64", shape=(size,), num_levels=1)


def _toy_record(number: int, episode: _ToyEpisode) -> RldsValues:
    folder = f"gs://bucket/r2d2/data/ILIAD/{episode.outcome}/2023-04-21/Fri_Apr_21_10:42:0{number}_2023"
    cameras = {path: _toy_jpegs(number, episode, camera=camera) for camera, path in enumerate((*_EXTERIOR, _WRIST))}
    texts = zip(_TEXTS, episode.texts, strict=True)
    steps = np.arange(episode.num_steps)
    last = steps == episode.num_steps - 1
    return (
        _toy_motion(number, episode)
        | cameras
        | dict(zip(_TOY_FLAGS, (steps == 0, last, last), strict=True))
        | {path: [text.encode()] * episode.num_steps for path, text in texts}
        | {
            _FILE_PATH: [f"{folder}/trajectory.h5".encode()],
            "episode_metadata/recording_folderpath": [f"{folder}/recordings/MP4".encode()],
        }
    )


def _toy_motion(number: int, episode: _ToyEpisode) -> dict[str, Float64]:
    """Make an arm that reaches each target by the next step and repeats one sample of its motion during the pause."""
    sample = _toy_samples(episode)
    after = np.append(sample[1:], sample[-1])
    arm = toy_arm(episode.num_steps, hz=_HZ, seed=number)
    pose = np.column_stack([arm.xyz_m, euler_xyz_from_matrix(arm.rotation)])
    turn = euler_xyz_from_matrix(rotation_delta(arm.rotation[sample], arm.rotation[after]))
    velocity = np.column_stack([(arm.xyz_m[after] - arm.xyz_m[sample]) / _STEP_SCALE_M, turn / _STEP_SCALE_RAD])
    closed = 1.0 - arm.gripper_open[:, None]
    return {
        _POSE: pose[sample],
        _TARGET: pose[after],
        "steps/action_dict/cartesian_velocity": velocity,
        _GRIPPER: closed[sample],
        _GRIPPER_TARGET: closed[after],
        "steps/action": np.column_stack([velocity, closed[after]]),
        _JOINTS: arm.joint_position_rad[sample],
        _JOINT_TARGET: arm.joint_position_rad[after],
        _JOINT_SPEED: arm.joint_velocity_rad_s[sample],
    }


def _toy_samples(episode: _ToyEpisode) -> Int64:
    steps, (start, stop) = np.arange(episode.num_steps), episode.idle
    return np.asarray(steps - np.clip(steps - start + 1, 0, stop - start))


def _toy_jpegs(number: int, episode: _ToyEpisode, *, camera: int) -> list[bytes]:
    """Draw the frames of an episode that can become a clip; otherwise draw only its first frame."""
    is_read = episode.outcome == _SUCCESS and any(episode.texts) and episode.idle != (1, episode.num_steps)
    num_drawn = episode.num_steps if is_read else 1
    arm, role = toy_arm(episode.num_steps, hz=_HZ, seed=number).at(_toy_samples(episode)), _TOY_ROLES[camera]
    frames = toy_frames(_HEIGHT, _WIDTH, range(num_drawn), camera=camera, episode=number, arms=[arm], role=role)
    jpegs = [toy_jpeg(frame, quality=85) for frame in frames]
    return jpegs + jpegs[-1:] * (episode.num_steps - num_drawn)
