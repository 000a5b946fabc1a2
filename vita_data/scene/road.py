"""A way through a meadow as a rover sees it."""

import math

import numpy as np

from vita_data.scene.camera import Camera
from vita_data.scene.painter import Body, Box, Painter
from vita_data.types import Float64, Image

_SKY, _HAZE, _GRASS, _WAY = (126, 176, 232), (206, 222, 236), (96, 142, 74), (168, 152, 128)
_TRUNK, _LEAVES, _WALL = (112, 84, 60), (52, 110, 58), (188, 120, 96)
_EYE_M, _FAR_M, _HALF_WAY_M = 0.5, 80.0, 0.9
_NUM_TREES, _SPREAD_M = 36, 26.0


def road_picture(xy_m: Float64, yaw_rad: float, size: int, *, seed: int) -> Image:
    """Draw what a rover at a place [2] with a heading sees, uint8 [size, size, 3] RGB; `seed` plants the trees."""
    eye = np.array([*xy_m, _EYE_M])
    ahead = np.array([math.cos(yaw_rad), math.sin(yaw_rad), 0.0])
    camera = Camera.looking_at(
        eye + ahead, position_m=eye, field_rad=math.radians(75), up=np.array([0.0, 0.0, 1.0])
    )  # fmt: skip
    painter = Painter(camera, size, oversampling=1)
    painter.background(_SKY, _HAZE)
    side = np.array([-ahead[1], ahead[0], 0.0])
    painter.ground(_strip(eye, ahead, side * 4 * _FAR_M), _GRASS)
    painter.ground(_strip(eye, ahead, side * _HALF_WAY_M), _WAY)
    seen = [body for body in _bodies(seed) if (body.centre_m - eye) @ ahead > 0.8]
    painter.shadows(seen, 0.0)
    painter.bodies(seen)
    return painter.picture()


def _strip(eye: Float64, ahead: Float64, side: Float64) -> Float64:
    near, far = eye * [1, 1, 0] + 0.3 * ahead, eye * [1, 1, 0] + _FAR_M * ahead
    return np.stack([near - side, near + side, far + side, far - side])


def _bodies(seed: int) -> list[Body]:
    """Plant trees and a wall around the origin, where rides begin."""
    rng = np.random.default_rng([seed, 7])
    places = np.asarray(rng.uniform(-_SPREAD_M, _SPREAD_M, (_NUM_TREES, 2)))
    heights = rng.uniform(0.6, 1.6, _NUM_TREES)
    bodies: list[Body] = []
    for (x, y), height in zip(places, heights, strict=True):
        bodies.append(_box((x, y, height / 2), (0.25, 0.25, height), _TRUNK))
        bodies.append(_box((x, y, 1.5 * height), (1.2, 1.2, height), _LEAVES))
    bodies.append(_box((_SPREAD_M / 2, -3.0, 1.0), (0.4, 5.0, 2.0), _WALL))
    return bodies


def _box(centre_m: tuple[float, float, float], size_m: tuple[float, float, float], colour: tuple[int, int, int]) -> Box:
    return Box(centre_m=np.array(centre_m), size_m=np.array(size_m), colour=colour)
