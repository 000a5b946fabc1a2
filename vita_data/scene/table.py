"""A table with cubes and whoever moves them: a robot's arm with a gripper, or a human hand.

Metres in the world: x points away from the robot's base, y to its left, z up. Pictures are RGB.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vita_data.scene.camera import Camera
from vita_data.scene.painter import Body, Box, Colour, Link, Painter
from vita_data.types import Float64, Image

TABLE_Z_M = 0.8
CUBE_M = 0.05
BASE_M = np.array([-0.42, 0.0, TABLE_Z_M])
COLOURS: Mapping[str, Colour] = {"red": (214, 48, 40), "blue": (36, 92, 214), "green": (46, 160, 67)}

FRONT = Camera.looking_at(
    np.array([-0.02, 0.0, 0.885]), position_m=np.array([0.72, -0.12, 1.32]), field_rad=math.radians(41),
    up=np.array([0.0, 0.0, 1.0]),
)  # fmt: skip
SIDE = Camera.looking_at(
    np.array([-0.02, 0.0, 0.885]), position_m=np.array([0.2, -0.72, 1.3]), field_rad=math.radians(44),
    up=np.array([0.0, 0.0, 1.0]),
)  # fmt: skip
_WALL, _FLOOR, _WOOD, _GRAIN = (206, 212, 218), (120, 124, 130), (196, 160, 118), (178, 142, 102)
_METAL, _DARK, _JOINT = (222, 224, 228), (58, 62, 70), (235, 140, 40)
_SKIN, _SLEEVE = (224, 172, 140), (70, 90, 140)
_HALF_TABLE_M = 0.42
_UPPER_M, _FORE_M = 0.34, 0.34
_TO_SHOULDER_M, _TO_WRIST_M = np.array([0.0, 0.0, 0.28]), np.array([0.0, 0.0, 0.12])
"""From the base to the shoulder, and from the finger tips to the wrist."""
_HALF_JOINT_M = np.array([0.0, 0.03, 0.0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hand:
    """Where a hand or gripper is."""

    xyz_m: Float64
    """[3] the point between the finger tips; the hand points down."""
    finger_width_m: float
    """The distance between the fingers."""
    base_m: Float64 = field(default_factory=lambda: BASE_M)
    """[3] where its arm stands."""


def picture(camera: Camera, bodies: Sequence[Body], size: int, *, oversampling: int = 2) -> Image:
    """Draw the table with bodies and their shadows, uint8 [size, size, 3]."""
    painter = Painter(camera, size, oversampling=oversampling)
    painter.background(_WALL, _FLOOR)
    _table(painter)
    painter.shadows(bodies, TABLE_Z_M)
    painter.bodies(bodies)
    return painter.picture()


def wrist_camera(hand: Hand) -> Camera:
    """Place a camera above the gripper that sees both fingers."""
    return Camera.looking_at(
        hand.xyz_m - np.array([0.0, 0.0, 0.03]),
        position_m=hand.xyz_m + np.array([0.09, 0.0, 0.11]),
        field_rad=math.radians(80),
        up=np.array([-1.0, 0.0, 0.0]),
    )


def cube(xyz_m: Float64, colour: Colour) -> Box:
    """Make a cube around a point [3]."""
    return Box(centre_m=xyz_m, size_m=np.full(3, CUBE_M), colour=colour)


def gripper(hand: Hand) -> list[Body]:
    """Make the fingers and the palm of a gripper."""
    offset = hand.finger_width_m / 2 + 0.006
    fingers: list[Body] = [
        Box(
            centre_m=hand.xyz_m + np.array([0.0, side * offset, 0.025]),
            size_m=np.array([0.022, 0.012, 0.07]),
            colour=_DARK,
        )
        for side in (-1.0, 1.0)
    ]
    palm = Box(centre_m=hand.xyz_m + np.array([0.0, 0.0, 0.08]), size_m=np.array([0.04, 0.13, 0.04]), colour=_METAL)
    return [*fingers, palm]


def arm(hand: Hand) -> list[Body]:
    """Make the links that hold a gripper."""
    wrist = hand.xyz_m + _TO_WRIST_M
    turn, shoulder, _ = _angles(hand)
    root = hand.base_m + _TO_SHOULDER_M
    ahead = np.array([math.cos(turn), math.sin(turn), 0.0])
    elbow = root + _UPPER_M * (math.cos(shoulder) * ahead + math.sin(shoulder) * np.array([0.0, 0.0, 1.0]))
    chain = [(hand.base_m, root, 0.06, _METAL), (root, elbow, 0.045, _METAL), (elbow, wrist, 0.038, _METAL)]
    links: list[Body] = [Link(ends_m=np.stack(ends), radius_m=radius, colour=colour) for *ends, radius, colour in chain]
    joints: list[Body] = [
        Link(ends_m=np.stack([place - _HALF_JOINT_M, place + _HALF_JOINT_M]), radius_m=0.05, colour=_JOINT)
        for place in (root, elbow)
    ]
    flange = Link(ends_m=np.stack([wrist, wrist - np.array([0, 0, 0.03])]), radius_m=0.035, colour=_DARK)
    return [*links, *joints, flange]


def human_hand(hand: Hand) -> list[Body]:
    """Make a hand with thumb and finger whose sleeve comes from `base_m`."""
    towards = (hand.base_m - hand.xyz_m) * [1, 1, 0]
    towards /= np.linalg.norm(towards)
    aside = np.array([-towards[1], towards[0], 0.0]) * (hand.finger_width_m / 2 + 0.01)
    palm = hand.xyz_m + 0.06 * towards + np.array([0.0, 0.0, 0.04])
    wrist = palm + 0.08 * towards + np.array([0.0, 0.0, 0.01])
    fingers: list[Body] = [
        Link(ends_m=np.stack([palm + side * aside, hand.xyz_m + side * aside]), radius_m=0.012, colour=_SKIN)
        for side in (-1.0, 1.0)
    ]
    back = Link(ends_m=np.stack([palm, wrist]), radius_m=0.03, colour=_SKIN)
    sleeve = Link(ends_m=np.stack([wrist, hand.base_m]), radius_m=0.036, colour=_SLEEVE)
    return [*fingers, back, sleeve]


def arm_joints_rad(hand: Hand) -> Float64:
    """Return the angles [7] of the drawn arm: turn, shoulder, 0, elbow, 0, wrist, 0."""
    turn, shoulder, elbow = _angles(hand)
    return np.array([turn, shoulder, 0.0, elbow, 0.0, -shoulder - elbow, 0.0])


def _table(painter: Painter) -> None:
    edge = _HALF_TABLE_M
    painter.ground(_rectangle((-edge, edge), (-edge, edge)), _WOOD)
    for place in np.linspace(-edge, edge, 8)[1:-1]:
        painter.ground(_rectangle((-edge, edge), (place - 0.002, place + 0.002)), _GRAIN)


def _rectangle(x_m: tuple[float, float], y_m: tuple[float, float]) -> Float64:
    return np.array([[x_m[0], y_m[0], TABLE_Z_M], [x_m[1], y_m[0], TABLE_Z_M],
                     [x_m[1], y_m[1], TABLE_Z_M], [x_m[0], y_m[1], TABLE_Z_M]])  # fmt: skip


def _angles(hand: Hand) -> tuple[float, float, float]:
    """Solve a planar arm of two links for the wrist above the hand: turn, shoulder, elbow, in rad."""
    reach = hand.xyz_m + _TO_WRIST_M - hand.base_m - _TO_SHOULDER_M
    turn, flat = math.atan2(reach[1], reach[0]), math.hypot(reach[0], reach[1])
    distance = min(math.hypot(flat, reach[2]), _UPPER_M + _FORE_M - 1e-6)
    bend = math.acos(np.clip((_UPPER_M**2 + _FORE_M**2 - distance**2) / (2 * _UPPER_M * _FORE_M), -1, 1))
    inner = math.acos(np.clip((_UPPER_M**2 + distance**2 - _FORE_M**2) / (2 * _UPPER_M * distance), -1, 1))
    return turn, math.atan2(reach[2], flat) + inner, bend - math.pi
