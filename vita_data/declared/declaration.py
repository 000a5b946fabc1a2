"""What a user declares about a dataset. A value that the dataset does not tell has no default here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from vita_data.action_convention import Flip
from vita_data.declared.kinematics import Kinematics
from vita_data.slots import NUM_JOINTS
from vita_data.types import ActionOrigin, Arms, CameraRole, TextStyle


class RotationForm(StrEnum):
    """How numbers express a rotation."""

    AXIS_ANGLE = "axis-angle"
    EULER_XYZ = "extrinsic xyz Euler angles"
    QUAT_XYZW = "quaternion x y z w"
    QUAT_WXYZ = "quaternion w x y z"
    ROT6D = "first two columns of the matrix"


_STEPS = "steps/"
_WIDTHS = {
    RotationForm.AXIS_ANGLE: 3,
    RotationForm.EULER_XYZ: 3,
    RotationForm.QUAT_XYZW: 4,
    RotationForm.QUAT_WXYZ: 4,
    RotationForm.ROT6D: 6,
}


class Motion(StrEnum):
    """What an action's position and rotation are."""

    ABSOLUTE = "absolute"
    """The pose to reach, in the frame of the state."""
    DELTA = "delta"
    """The displacement, and the rotation to apply."""
    EULER_DIFFERENCE = "difference of Euler angles"
    """The displacement, and the target's Euler angles minus the present ones."""


class Frame(StrEnum):
    """The axes in which an action is expressed."""

    BASE = "base"
    """Those of the state's poses."""
    HAND = "hand"
    """Those of the hand at the time of the action."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Consecutive values of a column; what they are, its subclasses say."""

    key: str
    """The column, such as `observation.state`."""
    start: int
    """The first value, from 0."""

    @property
    def width(self) -> int:
        """The number of values."""
        raise NotImplementedError

    @property
    def values(self) -> slice:
        """The values within the column."""
        return slice(self.start, self.start + self.width)


@dataclass(frozen=True, slots=True)
class Position(Columns):
    """Three values x, y, z."""

    unit_m: float
    """Metres in one unit, also the scale of a normalized action."""
    limit: float | None = None
    """In these units: the controller clips an action to this size on each axis."""

    @property
    def width(self) -> int:
        """The number of values."""
        return 3


@dataclass(frozen=True, slots=True)
class Rotation(Columns):
    """A rotation."""

    form: RotationForm
    unit_rad: float
    """Radians in one unit of an angle; 1.0 for forms without angles."""
    limit: float | None = None
    """In these units: the controller clips an action's angle to this size on each axis."""

    @property
    def width(self) -> int:
        """The number of values."""
        return _WIDTHS[self.form]


@dataclass(frozen=True, slots=True)
class Gripper(Columns):
    """One value, which is `open` when the gripper is open and `closed` when it is closed."""

    open: float
    closed: float

    @property
    def width(self) -> int:
        """The number of values."""
        return 1


@dataclass(frozen=True, slots=True)
class Joints(Columns):
    """The joints of an arm, without its gripper."""

    count: int
    unit_rad: float
    """Radians in one unit."""

    @property
    def width(self) -> int:
        """The number of values."""
        return self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseAction:
    """The motion that is commanded to a hand, with its gripper."""

    motion: Motion
    frame: Frame
    position: Position
    rotation: Rotation
    gripper: Gripper
    joints: Joints | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JointAction:
    """The joint positions that are commanded to an arm; its hand moves as `ArmColumns.kinematics` says, if it does."""

    motion: Motion
    """ABSOLUTE: the positions to reach; DELTA: what to add to the measured ones."""
    joints: Joints
    gripper: Gripper | None
    """None: the arm has no gripper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmColumns:
    """What is known of one arm; None means that the dataset does not have it."""

    position: Position | None
    rotation: Rotation | None
    gripper: Gripper | None
    joints: Joints | None
    action: PoseAction | JointAction
    joint_speeds: Joints | None = None
    """Measured joint velocities in the unit of a second; with them, probe P5 checks the rate."""
    kinematics: Kinematics | None = None
    """Computes the poses of the hand, measured and commanded, from the joints. If the data has a position and a
    rotation too, they are not stored: probe P10 compares them with the computed ones."""

    def columns(self) -> Iterator[Columns]:
        """List the columns that are used."""
        for part in (self, self.action):
            values = (getattr(part, field.name) for field in fields(part))
            yield from (value for value in values if isinstance(value, Columns))

    def __post_init__(self) -> None:
        """Check the parts against each other; raises ValueError."""
        if isinstance(self.action, PoseAction):
            self._check_pose(self.action)
        else:
            self._check_joints(self.action)
        for found in self.columns():
            _check(found)

    def _check_joints(self, action: JointAction) -> None:
        if action.motion is Motion.EULER_DIFFERENCE:
            raise ValueError("a joint action is ABSOLUTE or DELTA")
        if action.motion is Motion.DELTA and (self.joints is None or self.joints.count != action.joints.count):
            raise ValueError(f"a joint action that is a delta needs joints={action.joints.count} measured ones")
        if self.kinematics is not None:
            self._check_kinematics(action, len(self.kinematics.joints))

    def _check_kinematics(self, action: JointAction, count: int) -> None:
        if self.joints is None or {self.joints.count, action.joints.count} != {count}:
            raise ValueError(f"kinematics names {count} joints; expected as many measured and commanded ones")
        if (self.position is None) != (self.rotation is None):
            raise ValueError("poses to compare with kinematics need both position and rotation")

    def _check_pose(self, action: PoseAction) -> None:
        if self.kinematics is not None:
            raise ValueError("kinematics computes the pose from a JointAction; this arm commands the pose itself")
        if action.motion is Motion.ABSOLUTE and action.frame is not Frame.BASE:
            raise ValueError("an absolute action is in the frame of the state; declare frame=Frame.BASE")
        if action.motion is Motion.EULER_DIFFERENCE and action.rotation.form is not RotationForm.EULER_XYZ:
            raise ValueError("a difference of Euler angles needs rotation form EULER_XYZ")
        if action.motion is Motion.EULER_DIFFERENCE and action.frame is not Frame.BASE:
            raise ValueError("a difference of Euler angles is in the frame of the state; declare frame=Frame.BASE")
        is_own = action.motion is Motion.DELTA and action.frame is Frame.BASE
        if not is_own and (self.position is None or self.rotation is None):
            raise ValueError(f"an action that is {action.motion} ({action.frame}) needs the position and rotation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera, a feature of dtype video or image."""

    role: CameraRole
    key: str
    turned: Flip
    """How to turn its images so that they are upright."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """The meaning of a dataset, whatever its format."""

    name: str
    title: str
    embodiment: str
    hz: float
    """The true rate of the rows."""
    columns: Mapping[str, int]
    """How many values a row of each used column has."""
    cameras: tuple[Camera, ...]
    """Empty: the dataset has no images; such clips give `action` batches."""
    right: ArmColumns | None
    left: ArmColumns | None
    action_origin: ActionOrigin | None
    """Whether actions are commands or reached poses; None without arms."""
    rows_to_action: int
    """0 if a row holds the action issued on its observation, 1 if the next row does."""
    lag: int
    """By how many rows the hand's motion follows its action (probe P4); 0 if it leads to the next row."""
    text_style: TextStyle
    text_origin: str
    """Who wrote the texts: human, auto, template or task_name."""
    licence: str
    redistributable: bool
    url: str
    access: str
    notes: tuple[str, ...] = ()
    max_step_m: float = 0.3
    max_step_rad: float = 1.0

    @property
    def arms(self) -> Arms:
        """The limbs that are declared."""
        if self.right is None:
            return Arms.NONE if self.left is None else Arms.LEFT
        return Arms.RIGHT if self.left is None else Arms.BOTH

    def __post_init__(self) -> None:
        """Check the declaration in itself; raises ValueError that names the column."""
        if not self.name.isidentifier():
            raise ValueError(f"name {self.name!r}: expected letters, digits and underscores, as in my_arm")
        if self.hz <= 0 or self.rows_to_action < 0:
            raise ValueError("hz must be greater than 0, rows_to_action at least 0")
        if self.cameras and CameraRole.PRIMARY not in [camera.role for camera in self.cameras]:
            raise ValueError("cameras: one must have the role PRIMARY")
        if not self.cameras and self.arms is Arms.NONE:
            raise ValueError("there is neither a camera nor an arm")
        if len({camera.role for camera in self.cameras}) < len(self.cameras):
            raise ValueError("cameras: each role may be given once")
        arms = [arm for arm in (self.left, self.right) if arm is not None]
        if bool(arms) != (self.action_origin is not None):
            raise ValueError("action_origin: give it if, and only if, there is an arm")
        for found in (found for arm in arms for found in arm.columns()):
            if found.key not in self.columns:
                raise ValueError(f"{found.key!r} is used, but not listed in columns with its width")
            if found.values.stop > self.columns[found.key]:
                raise ValueError(
                    f"{found.key!r}: values {found.values.start} to {found.values.stop - 1} of a column of "
                    f"{self.columns[found.key]}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeRobotDeclaration(Declaration):
    """The meaning of a LeRobot dataset; its columns and cameras are features of `meta/info.json`."""

    labelled_fps: float
    """What `meta/info.json` says, right or not: another value is another dataset."""
    text_column: str | None
    """A column of strings with the text; None: the dataset's tasks."""

    def __post_init__(self) -> None:
        """Check the declaration in itself; raises ValueError that names the column."""
        if min(self.hz, self.labelled_fps) <= 0:
            raise ValueError("hz and labelled_fps must be greater than 0")
        Declaration.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RldsDeclaration(Declaration):
    """The meaning of an RLDS dataset; its columns and cameras are flat keys such as `steps/observation/state`."""

    datasets: tuple[str, ...]
    """Names of its folder: the `<name>` of `<name>/<version>`."""
    text_column: str | None
    """The key of the texts, of the steps or of the episode; None: it has none."""

    def __post_init__(self) -> None:
        """Check the declaration in itself; raises ValueError that names the key."""
        Declaration.__post_init__(self)
        if not self.datasets:
            raise ValueError("datasets: give the name of the dataset's folder")
        for key in (*self.columns, *(camera.key for camera in self.cameras)):
            if not key.startswith(_STEPS):
                raise ValueError(f"{key!r}: expected a key of the steps, such as {_STEPS}observation/state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hdf5Declaration(Declaration):
    """The meaning of HDF5 files like robomimic's: demonstrations `data/demo_N` with datasets such as `obs/ee_pos`."""

    files: str
    """Which files of the raw tree, such as `*.hdf5` or `*/*.hdf5`."""
    text_attribute: str | None
    """An attribute of the demonstration, of `data` or of the file with its text; None: the text is the file's name,
    without `_demo` and with spaces for `_`."""


def _check(found: Columns) -> None:
    if found.start < 0 or found.width < 1:
        raise ValueError(f"{found.key!r}: values from {found.start}, {found.width} of them")
    match found:
        case Gripper() if found.open == found.closed:
            raise ValueError(f"{found.key!r}: the gripper is open and closed at {found.open:g}")
        case Joints() if found.count > NUM_JOINTS:
            raise ValueError(f"{found.key!r}: {found.count} joints of one arm, at most {NUM_JOINTS} can be stored")
        case Position() if not found.unit_m > 0:
            raise ValueError(f"{found.key!r}: unit_m must be greater than 0")
        case Rotation() | Joints() if not found.unit_rad > 0:
            raise ValueError(f"{found.key!r}: unit_rad must be greater than 0")
