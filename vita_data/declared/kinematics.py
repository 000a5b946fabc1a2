"""The pose of a tool that follows from the joints of its arm, by the robot's URDF file."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vita_data.errors import EpisodeError
from vita_data.formats.urdf import UrdfChain
from vita_data.types import Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinematics:
    """Which joints of a URDF file the declared values are, and whose pose follows from them."""

    urdf: Path
    """The file, such as `Path(__file__).with_name("arm.urdf")`."""
    base: str
    """The link in which poses are expressed."""
    tip: str
    """The link whose pose is that of the hand."""
    joints: tuple[str, ...]
    """The URDF's names of the joints, in the order of the declared values."""
    signs: tuple[int, ...] = ()
    """1 or -1 for each joint: -1 turns against the URDF. Empty: all 1."""
    offsets_rad: tuple[float, ...] = ()
    """The URDF's angle of each joint when the declared one is 0. Empty: all 0."""
    limit_slack_rad: float = 0.1
    """How far an angle may exceed the URDF's limits, as real joints and commands do; beyond that, an episode fails."""
    chain: UrdfChain = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the file and check the names; raises ValueError."""
        chain = UrdfChain(Path(self.urdf), base=self.base, tip=self.tip)
        names = [joint.name for joint in chain.joints]
        if sorted(names) != sorted(self.joints):
            raise ValueError(
                f"urdf {chain.file}: the joints that turn between {self.base!r} and {self.tip!r} are "
                f"{', '.join(names) or 'none'}; declared are {', '.join(self.joints) or 'none'}"
            )
        for name, values in (("signs", self.signs), ("offsets_rad", self.offsets_rad)):
            if values and len(values) != len(names):
                raise ValueError(f"{name}: expected {len(names)} values, one for each joint, got {len(values)}")
        if set(self.signs) - {1, -1} or not np.isfinite(self.offsets_rad).all() or not self.limit_slack_rad >= 0:
            raise ValueError("expected signs of 1 or -1, finite offsets_rad and a limit_slack_rad of at least 0")
        object.__setattr__(self, "chain", chain)

    @property
    def note(self) -> str:
        """A sentence for the card."""
        return (
            f"the pose of {self.tip} in {self.base} is computed from the joints by {self.chain.file} "
            f"(sha256 {self.chain.sha256})"
        )

    def poses(self, joints_rad: Float64, *, what: str, name: str) -> tuple[Float64, Float64]:
        """Compute positions [T, 3] in m and rotations [T, 3, 3]; NaN if not all joints are finite.

        Args:
            joints_rad: [T, n] as declared.
            what: which joints they are, for messages: measured or commanded.
            name: the episode, for messages.

        Raises:
            EpisodeError: a joint is beyond its limits.
        """
        if not np.isfinite(joints_rad).all():
            return np.full((len(joints_rad), 3), np.nan), np.full((len(joints_rad), 3, 3), np.nan)
        angles, (lower, upper) = self._angles(joints_rad), self._limits
        is_beyond = (angles < lower - self.limit_slack_rad) | (angles > upper + self.limit_slack_rad)
        if is_beyond.any():
            row, column = np.argwhere(is_beyond)[0]
            joint = self.chain.joints[column].name
            raise EpisodeError(
                f"{name}: the {what} joint {joint!r} is at {angles[row, column]:.3g} rad in row {row}, but "
                f"{self.chain.file} allows {lower[column]:.3g} to {upper[column]:.3g}; check unit_rad, and "
                "the order, signs and offsets_rad of the joints"
            )
        return self.chain.poses(angles)

    def within_limits(self, joints_rad: Float64) -> Float64:
        """Squeeze smooth angles [T, n] as declared into the limits, for toys."""
        lower, upper = self._limits
        is_limited = np.isfinite(lower) & np.isfinite(upper)
        middle = np.where(is_limited, (lower + upper) / 2, 0.0)
        half = np.where(is_limited, (upper - lower) / 2, 1.0)
        angles = self._angles(joints_rad)
        angles = np.where(is_limited, middle + half * np.tanh((angles - middle) / half), angles)
        declared = np.empty_like(angles)
        declared[:, self._order] = (angles - self._offsets) * self._signs
        return declared

    def _angles(self, joints_rad: Float64) -> Float64:
        """Convert declared values [T, n] to the URDF's angles, from base to tip."""
        return joints_rad[:, self._order] * self._signs + self._offsets

    @property
    def _order(self) -> list[int]:
        """Where the joints of the chain, from base to tip, stand in the declared values."""
        return [self.joints.index(joint.name) for joint in self.chain.joints]

    @property
    def _signs(self) -> Float64:
        signs = self.signs or (1,) * len(self.joints)
        return np.array(signs, np.float64)[self._order]

    @property
    def _offsets(self) -> Float64:
        offsets = self.offsets_rad or (0.0,) * len(self.joints)
        return np.array(offsets, np.float64)[self._order]

    @property
    def _limits(self) -> tuple[Float64, Float64]:
        joints = self.chain.joints
        return np.array([joint.lower_rad for joint in joints]), np.array([joint.upper_rad for joint in joints])
