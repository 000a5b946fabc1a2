"""What the cameras of the tabletop see: table, cubes, arm, gripper."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vita_data.types import CameraRole, Float64, Image
from vita_model.sims.tabletop.camera import Camera
from vita_model.sims.tabletop.painter import Body, Box, Colour, Link, Painter

TABLE_Z_M = 0.8
CUBE_M = 0.05
BASE_M = np.array([-0.42, 0.0, TABLE_Z_M])
COLOURS: Mapping[str, Colour] = {"red": (214, 48, 40), "blue": (36, 92, 214), "green": (46, 160, 67)}

_FRONT = Camera.looking_at(
    np.array([-0.02, 0.0, 0.885]), position_m=np.array([0.72, -0.12, 1.32]), field_rad=math.radians(41),
    up=np.array([0.0, 0.0, 1.0]),
)  # fmt: skip
_WALL, _FLOOR, _WOOD, _GRAIN = (206, 212, 218), (120, 124, 130), (196, 160, 118), (178, 142, 102)
_METAL, _DARK, _JOINT = (222, 224, 228), (58, 62, 70), (235, 140, 40)
_HALF_TABLE_M = 0.42
_UPPER_M, _FORE_M = 0.34, 0.34
_TO_SHOULDER_M, _TO_WRIST_M = np.array([0.0, 0.0, 0.28]), np.array([0.0, 0.0, 0.12])
"""From the base to the shoulder, and from the finger tips to the wrist."""
_HALF_JOINT_M = np.array([0.0, 0.03, 0.0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """What is to be drawn, in metres in the world."""

    hand_xyz_m: Float64
    """[3] the point between the finger tips; the hand points down."""
    finger_width_m: float
    cubes_xyz_m: Float64
    """[N, 3] centres."""
    colours: Sequence[Colour]


def draw(layout: Layout, size: int) -> dict[CameraRole, Image]:
    """Draw both cameras, uint8 [size, size, 3] RGB."""
    return {
        CameraRole.PRIMARY: _seen(_FRONT, layout, size, _arm(layout)),
        CameraRole.WRIST_RIGHT: _seen(_wrist(layout), layout, size, []),
    }


def arm_joints_rad(hand_xyz_m: Float64) -> Float64:
    """Return the angles [7] of the drawn arm: turn, shoulder, 0, elbow, 0, wrist, 0."""
    turn, shoulder, elbow = _angles(hand_xyz_m)
    return np.array([turn, shoulder, 0.0, elbow, 0.0, -shoulder - elbow, 0.0])


def _seen(camera: Camera, layout: Layout, size: int, arm: list[Body]) -> Image:
    painter = Painter(camera, size)
    painter.background(_WALL, _FLOOR)
    _table(painter)
    gripper = _gripper(layout)
    cubes: list[Body] = [
        Box(centre_m=place, size_m=np.full(3, CUBE_M), colour=colour)
        for place, colour in zip(layout.cubes_xyz_m, layout.colours, strict=True)
    ]
    painter.shadows([*cubes, *gripper, *arm], TABLE_Z_M)
    painter.bodies([*cubes, *gripper, *arm])
    return painter.picture()


def _table(painter: Painter) -> None:
    edge = _HALF_TABLE_M
    painter.ground(_rectangle((-edge, edge), (-edge, edge)), _WOOD)
    for place in np.linspace(-edge, edge, 8)[1:-1]:
        painter.ground(_rectangle((-edge, edge), (place - 0.002, place + 0.002)), _GRAIN)


def _rectangle(x_m: tuple[float, float], y_m: tuple[float, float]) -> Float64:
    return np.array([[x_m[0], y_m[0], TABLE_Z_M], [x_m[1], y_m[0], TABLE_Z_M],
                     [x_m[1], y_m[1], TABLE_Z_M], [x_m[0], y_m[1], TABLE_Z_M]])  # fmt: skip


def _gripper(layout: Layout) -> list[Body]:
    hand, offset = layout.hand_xyz_m, layout.finger_width_m / 2 + 0.006
    fingers: list[Body] = [
        Box(
            centre_m=hand + np.array([0.0, side * offset, 0.025]), size_m=np.array([0.022, 0.012, 0.07]), colour=_DARK
        )
        for side in (-1.0, 1.0)
    ]  # fmt: skip
    palm = Box(centre_m=hand + np.array([0.0, 0.0, 0.08]), size_m=np.array([0.04, 0.13, 0.04]), colour=_METAL)
    return [*fingers, palm]


def _arm(layout: Layout) -> list[Body]:
    wrist = layout.hand_xyz_m + _TO_WRIST_M
    turn, shoulder, _ = _angles(layout.hand_xyz_m)
    root = BASE_M + _TO_SHOULDER_M
    ahead = np.array([math.cos(turn), math.sin(turn), 0.0])
    elbow = root + _UPPER_M * (math.cos(shoulder) * ahead + math.sin(shoulder) * np.array([0.0, 0.0, 1.0]))
    chain = [(BASE_M, root, 0.06, _METAL), (root, elbow, 0.045, _METAL), (elbow, wrist, 0.038, _METAL)]
    links: list[Body] = [Link(ends_m=np.stack(ends), radius_m=radius, colour=colour) for *ends, radius, colour in chain]
    joints: list[Body] = [
        Link(ends_m=np.stack([place - _HALF_JOINT_M, place + _HALF_JOINT_M]), radius_m=0.05, colour=_JOINT)
        for place in (root, elbow)
    ]
    flange = Link(ends_m=np.stack([wrist, wrist - np.array([0, 0, 0.03])]), radius_m=0.035, colour=_DARK)
    return [*links, *joints, flange]


def _angles(hand_xyz_m: Float64) -> tuple[float, float, float]:
    """Solve a planar arm of two links for the wrist above the hand: turn, shoulder, elbow, in rad."""
    reach = hand_xyz_m + _TO_WRIST_M - BASE_M - _TO_SHOULDER_M
    turn, flat = math.atan2(reach[1], reach[0]), math.hypot(reach[0], reach[1])
    distance = min(math.hypot(flat, reach[2]), _UPPER_M + _FORE_M - 1e-6)
    bend = math.acos(np.clip((_UPPER_M**2 + _FORE_M**2 - distance**2) / (2 * _UPPER_M * _FORE_M), -1, 1))
    inner = math.acos(np.clip((_UPPER_M**2 + distance**2 - _FORE_M**2) / (2 * _UPPER_M * distance), -1, 1))
    return turn, math.atan2(reach[2], flat) + inner, bend - math.pi


def _wrist(layout: Layout) -> Camera:
    eye = layout.hand_xyz_m + np.array([0.09, 0.0, 0.11])
    return Camera.looking_at(
        layout.hand_xyz_m - np.array([0.0, 0.0, 0.03]),
        position_m=eye,
        field_rad=math.radians(80),
        up=np.array([-1.0, 0.0, 0.0]),
    )
