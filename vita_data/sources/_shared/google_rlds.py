"""Reads the step layout that Google's robot releases share (RT-1 and QT-Opt in Open X-Embodiment), and converts it.

An action is a dict: displacement and rotation of the hand, relative gripper closedness, displacement of the base, and a
one-hot terminate flag. The source decides which episodes and rows are kept. The keys and their meaning are those of
the TFDS catalog (`fractal20220817_data`, `kuka`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from vita_data.errors import EpisodeError
from vita_data.formats.encoded_frames import EncodedFrames
from vita_data.formats.rlds.dataset import RldsDataset, list_parts, open_dataset
from vita_data.formats.rlds.features import FeatureKind, FeatureSpec, TensorEncoding, require_features, require_keys
from vita_data.formats.rlds.files import DEFAULT_SETTINGS, RldsSettings
from vita_data.formats.rlds.find import RecordFinder
from vita_data.formats.rlds.record import RldsRecord
from vita_data.geometry import matrix_from_euler_xyz, matrix_from_quat_xyzw, quat_fault
from vita_data.slots import BASE_ACTION
from vita_data.stored_actions import actions_of, moves, openings, rotation_pair, rows_of, turns
from vita_data.types import (
    Arm,
    ArmAction,
    Base,
    Bool,
    CameraRole,
    Clip,
    CommandPair,
    Drop,
    Episode,
    Float64,
    Instruction,
    Int64,
    Part,
    PoseDelta,
    RawTree,
    Reason,
    SourceInfo,
)

_WORLD_VECTOR = "steps/action/world_vector"
_ROTATION_DELTA = "steps/action/rotation_delta"
_CLOSEDNESS = "steps/action/gripper_closedness_action"
_BASE_VECTOR = "steps/action/base_displacement_vector"
_BASE_ROTATION = "steps/action/base_displacement_vertical_rotation"
_TERMINATE = "steps/action/terminate_episode"
_GRIPPER_CLOSED = "steps/observation/gripper_closed"
_IMAGE = "steps/observation/image"
_TEXT = "steps/observation/natural_language_instruction"
_REQUIRED: dict[str, int | None] = {
    _WORLD_VECTOR: 3,
    _ROTATION_DELTA: 3,
    _CLOSEDNESS: 1,
    _BASE_VECTOR: 2,
    _BASE_ROTATION: 1,
    _TERMINATE: 3,
    _GRIPPER_CLOSED: 1,
    _IMAGE: None,
    _TEXT: None,
}
# Commands are stored as float32 and compared as float32, so that exactly 0.1 is not a command.
_DEAD_ZONE = float(np.float32(0.1))


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleSteps:
    """The T steps of an episode as recorded."""

    tool_pose: Float64
    """[T, 7] x y z m, quaternion x y z w, in the base frame"""
    gripper_closed: Float64
    """[T] 0 open .. 1 closed"""
    world_vector_m: Float64
    """[T, 3] commanded displacement of the hand, base frame"""
    rotation_delta_rad: Float64
    """[T, 3] commanded rotation of the hand, roll pitch yaw, base frame"""
    closedness_action: Float64
    """[T] relative: positive closes, negative opens, near zero keeps the state"""
    base_displacement: Float64
    """[T, 3] dx m, dy m, dyaw rad"""
    terminate: Int64
    """[T, 3] one-hot; [1, 0, 0] ends the episode"""
    images: Sequence[bytes]
    texts: Sequence[str]

    def until_terminate(self) -> "GoogleSteps":
        """Keep the steps up to and including the first whose action ends the episode; all if none does."""
        ends = np.flatnonzero(self.terminate[:, 0])
        num_steps = int(ends[0]) + 1 if len(ends) else len(self.images)
        return GoogleSteps(**{field.name: getattr(self, field.name)[:num_steps] for field in fields(self)})


def open_google_dataset(
    raw: RawTree, release: str, settings: RldsSettings = DEFAULT_SETTINGS, *, required: Sequence[str]
) -> RldsDataset:
    """Open a release and check that it has the shared keys and the source's own keys.

    Byte strings of a tensor's key are read as zlib, even if features.json calls the tensor plain: copies that went
    through code without TFDS's decoding contain such strings (OpenVLA inflates Kuka's state itself,
    rlds/oxe/transforms.py). A list of numbers is read as numbers whatever features.json says.

    Raises:
        RequestError: a key is missing.
        SourceError: the JSON files of the release cannot be read.
    """
    dataset = open_dataset(raw, release, settings)
    require_keys(dataset.features, (*_REQUIRED, *required), place=f"{release}/features.json in {raw.root}")
    return replace(dataset, features={path: _inflating(spec) for path, spec in dataset.features.items()})


def list_google_parts(raw: RawTree, dataset: RldsDataset, *, tool_pose: str) -> list[Part]:
    """List the files of a release whose keys have the types and widths that `read_steps` needs.

    Raises:
        RequestError: a key has another type or width in features.json.
    """
    needed, place = {**_REQUIRED, tool_pose: 7}, f"{dataset.release}/features.json in {raw.root}"
    require_features(dataset.features, needed, place=place, integers=[_TERMINATE])
    return list_parts(raw, dataset)


def _inflating(spec: FeatureSpec) -> FeatureSpec:
    is_plain = spec.kind is FeatureKind.TENSOR and spec.encoding is TensorEncoding.NONE and spec.dtype != "string"
    return replace(spec, encoding=TensorEncoding.ZLIB) if is_plain else spec


def read_steps(record: RldsRecord, *, tool_pose: str) -> GoogleSteps:
    """Read the steps of a record, the hand's pose from key `tool_pose`.

    Raises:
        EpisodeError: a key is missing, has another type, or does not have one value per frame.
    """
    images = record.byte_strings(_IMAGE)

    def columns(path: str, width: int) -> Float64:
        return _columns(record, path, num_steps=len(images), width=width)

    terminate = record.ints(_TERMINATE)
    if terminate.shape != (len(images), 3):
        raise EpisodeError(f"{record.id}: {len(images)} frames, but {_TERMINATE} has shape {terminate.shape}")
    return GoogleSteps(
        tool_pose=columns(tool_pose, 7),
        gripper_closed=columns(_GRIPPER_CLOSED, 1)[:, 0],
        world_vector_m=columns(_WORLD_VECTOR, 3),
        rotation_delta_rad=columns(_ROTATION_DELTA, 3),
        closedness_action=columns(_CLOSEDNESS, 1)[:, 0],
        base_displacement=np.column_stack([columns(_BASE_VECTOR, 2), columns(_BASE_ROTATION, 1)]),
        terminate=terminate,
        images=images,
        texts=record.texts(_TEXT),
    )


def _columns(record: RldsRecord, path: str, *, num_steps: int, width: int) -> Float64:
    values = record.floats(path)
    if values.shape != (num_steps, width):
        raise EpisodeError(
            f"{record.id}: {path} has shape {values.shape}, expected ({num_steps}, {width}) for {num_steps} frames"
        )
    return values


def to_outcome(
    record: RldsRecord, steps: GoogleSteps, *, info: SourceInfo, dataset: RldsDataset, hz: float, text_origin: str
) -> Episode | Drop:
    """Make an episode from `steps`, which start at the record's step 0; its motion is the commanded one."""
    if fault := _fault(steps):
        return Drop(episode=record.id, reason=Reason.NONFINITE, detail=fault)
    moves_base = bool(np.any(steps.base_displacement))
    return Episode(
        id=record.id,
        source=info.name,
        release=dataset.release,
        split=dataset.split_of(record),
        embodiment=info.embodiment,
        arms=info.arms,
        hz=hz,
        step_index=np.arange(len(steps.images)),
        instructions=_instructions(steps.texts, text_origin),
        cameras={CameraRole.PRIMARY: EncodedFrames(steps.images)},
        right=_arm(steps),
        base=Base(delta=steps.base_displacement) if moves_base else None,
        action_origin=info.action_origin,
        provenance={"file": record.file, "record": record.index},
    )


def compare_commands(clip: Clip, finder: RecordFinder) -> tuple[CommandPair, ...]:
    """Rebuild the recorded commands of a clip.

    A relative gripper command cannot be rebuilt from the opening that it left: the opening must agree with its sign,
    and may not change without one.
    """
    record = finder.find(clip.provenance)

    def recorded(path: str) -> Float64:
        return rows_of(record.floats(path), clip.step_index, name=f"{record.id}: {path}")

    base = np.column_stack([recorded(_BASE_VECTOR), recorded(_BASE_ROTATION)])
    closes = recorded(_CLOSEDNESS)
    closes = np.sign(np.where(np.abs(closes) > _DEAD_ZONE, closes, 0.0))
    opening = openings(clip)
    implied = np.where(closes, 1.0 - 2.0 * opening, -np.diff(opening, axis=0, prepend=opening[:1]))
    return (
        CommandPair(name="displacement (m)", recorded=recorded(_WORLD_VECTOR), rebuilt=moves(clip)),
        rotation_pair("rotation (matrix)", matrix_from_euler_xyz(recorded(_ROTATION_DELTA)), turns(clip)),
        CommandPair(name="gripper (-1 opens, 1 closes)", recorded=closes, rebuilt=implied),
        CommandPair(name="base (m, rad)", recorded=base, rebuilt=actions_of(clip)[:, BASE_ACTION : BASE_ACTION + 3]),
    )


def absolute_opening(closedness_action: Float64) -> Float64:
    """Convert relative closedness [T] to the last commanded opening [T], 0 closed or 1 open.

    Values below -0.1 open, values above 0.1 close, values in between keep the state. Before the first command the
    gripper has the opposite state, and without any command it is open (Octo, data_utils.py: rel2abs_gripper_actions).

    Assumes: Octo and OpenVLA are right, not RDT, which reads the same numbers as an absolute closedness.
    """
    opens, closes = closedness_action < -_DEAD_ZONE, closedness_action > _DEAD_ZONE
    commands = np.flatnonzero(opens | closes)
    if not len(commands):
        return np.ones(len(closedness_action))
    last = np.searchsorted(commands, np.arange(len(closedness_action)), side="right") - 1
    opening = opens.astype(np.float64)
    return np.where(last >= 0, opening[commands[np.maximum(last, 0)]], 1.0 - opening[commands[0]])


def _fault(steps: GoogleSteps) -> str | None:
    """Describe values that cannot be a measurement or a command, before rotations are composed from them."""
    numbers = {
        "tool pose": steps.tool_pose,
        "gripper_closed": steps.gripper_closed,
        "world_vector": steps.world_vector_m,
        "rotation_delta": steps.rotation_delta_rad,
        "gripper_closedness_action": steps.closedness_action,
        "base_displacement": steps.base_displacement,
    }
    for name, values in numbers.items():
        if not np.isfinite(values).all():
            return f"{name} holds NaN or infinity at step {_first(~np.isfinite(values))}"
    fault = quat_fault(steps.tool_pose[:, 3:])
    return f"tool pose has {fault}" if fault else None


def _first(rows: Bool) -> int:
    return int(np.argwhere(rows)[0, 0])


def _arm(steps: GoogleSteps) -> Arm:
    motion = PoseDelta(xyz_m=steps.world_vector_m, rotation=matrix_from_euler_xyz(steps.rotation_delta_rad))
    return Arm(
        xyz_m=steps.tool_pose[:, :3],
        rotation=matrix_from_quat_xyzw(steps.tool_pose[:, 3:]),
        gripper_open=1.0 - steps.gripper_closed,
        action=ArmAction(motion=motion, gripper_open=absolute_opening(steps.closedness_action)),
    )


def _instructions(texts: Sequence[str], origin: str) -> tuple[Instruction, ...]:
    """Keep each text of the steps once, in order; an episode without text gets an empty one."""
    distinct = [text for text in dict.fromkeys(texts) if text.strip()] or [""]
    return tuple(Instruction(text=text, origin=origin) for text in distinct)
