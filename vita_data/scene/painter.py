"""Paints boxes, links and shadows in the order of their distance; the same scene gives the same pixels.

Letters: N points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np

from vita_data.scene.camera import Camera
from vita_data.types import Float64, Image

Colour = tuple[int, int, int]

_SHIFT = 4
"""Binary places of OpenCV's subpixel coordinates."""
_LIGHT = np.array([-0.35, 0.45, -1.0])
"""Direction of the light."""
_CORNERS = np.array(list(product((-0.5, 0.5), repeat=3)))
_FACES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
"""Corners of the sides -x, +x, -y, +y, -z, +z."""
_NORMALS = np.repeat(np.eye(3), 2, axis=0) * np.tile([-1.0, 1.0], 3)[:, None]
_AMBIENT = 0.55
_SHADOW = 0.62


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Box:
    """A box parallel to the axes."""

    centre_m: Float64
    size_m: Float64
    colour: Colour

    @property
    def corners_m(self) -> Float64:
        """The corners [8, 3]."""
        return np.asarray(self.centre_m + _CORNERS * self.size_m)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Link:
    """A round bar between two points."""

    ends_m: Float64
    """[2, 3]"""
    radius_m: float
    colour: Colour

    @property
    def centre_m(self) -> Float64:
        """The middle."""
        return np.asarray(self.ends_m.mean(axis=0))


Body = Box | Link


class Painter:
    """Paints one picture."""

    def __init__(self, camera: Camera, size: int, *, oversampling: int = 2) -> None:
        """Begin a picture of `size` pixels a side, painted `oversampling` times as large."""
        self._camera, self._size = camera, size
        self._pixels = np.zeros((size * oversampling, size * oversampling, 3), np.uint8)

    def background(self, above: Colour, below: Colour) -> None:
        """Fill the picture with a vertical gradient."""
        part = np.linspace(0, 1, len(self._pixels))[:, None, None]
        self._pixels[:] = (np.array(above) * (1 - part) + np.array(below) * part).astype(np.uint8)

    def ground(self, corners_m: Float64, colour: Colour) -> None:
        """Paint a flat polygon [N, 3]."""
        self._fill(self._camera.project(corners_m), colour)

    def shadows(self, bodies: Sequence[Body], ground_z_m: float) -> None:
        """Darken the ground where bodies keep the light away."""
        mask = np.zeros(self._pixels.shape[:2], np.uint8)
        for body in bodies:
            points = body.corners_m if isinstance(body, Box) else body.ends_m
            fall = (points[:, 2:] - ground_z_m) / -_LIGHT[2]
            seen = self._camera.project(points + fall * _LIGHT)
            if isinstance(body, Box):
                cv2.fillConvexPoly(mask, cv2.convexHull(self._pixel(seen)), 255, cv2.LINE_AA, _SHIFT)
            else:
                width = self._width(body, points + fall * _LIGHT)
                cv2.line(mask, *_ends(self._pixel(seen)), 255, width, cv2.LINE_AA, _SHIFT)
        mask = cv2.GaussianBlur(mask, (0, 0), 1.2)
        dark = 1 - (1 - _SHADOW) * mask[:, :, None].astype(np.float32) / 255
        self._pixels[:] = (self._pixels * dark).astype(np.uint8)

    def bodies(self, bodies: Sequence[Body]) -> None:
        """Paint bodies, the farthest first."""
        for body in sorted(bodies, key=lambda one: -float(self._camera.depths_m(one.centre_m[None])[0])):
            if isinstance(body, Box):
                self._box(body)
            else:
                self._link(body)

    def picture(self) -> Image:
        """Return the picture, uint8 [size, size, 3] RGB."""
        return np.asarray(cv2.resize(self._pixels, (self._size, self._size), interpolation=cv2.INTER_AREA), np.uint8)

    def _box(self, box: Box) -> None:
        corners = box.corners_m
        seen = self._camera.project(corners)
        for face, normal in zip(_FACES, _NORMALS, strict=True):
            middle = corners[list(face)].mean(axis=0)
            if (middle - self._camera.position_m) @ normal < 0:
                self._fill(seen[list(face)], _shaded(box.colour, normal))

    def _link(self, link: Link) -> None:
        width = self._width(link, link.ends_m)
        begin, end = _ends(self._pixel(self._camera.project(link.ends_m)))
        for share, light in ((1.0, 0.6), (0.8, 0.9), (0.35, 1.1)):
            colour = tuple(min(255, int(light * part)) for part in link.colour)
            cv2.line(self._pixels, begin, end, colour, max(1, int(width * share)), cv2.LINE_AA, _SHIFT)

    def _width(self, link: Link, ends_m: Float64) -> int:
        depth = max(0.05, float(self._camera.depths_m(ends_m).mean()))
        return max(1, round(2 * link.radius_m * self._camera.focal * len(self._pixels) / depth))

    def _fill(self, places: Float64, colour: Colour) -> None:
        cv2.fillPoly(self._pixels, [self._pixel(places)], colour, cv2.LINE_AA, _SHIFT)

    def _pixel(self, places: Float64) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
        scale = len(self._pixels) << _SHIFT
        return np.clip(np.rint(places * scale), -(1 << 24), 1 << 24).astype(np.int32)


def _ends(points: np.ndarray[tuple[int, int], np.dtype[np.int32]]) -> tuple[tuple[int, int], tuple[int, int]]:
    (a, b), (c, d) = points.tolist()
    return (a, b), (c, d)


def _shaded(colour: Colour, normal: Float64) -> Colour:
    light = _AMBIENT + (1 - _AMBIENT) * max(0.0, float(-normal @ _LIGHT) / float(np.linalg.norm(_LIGHT)))
    red, green, blue = (min(255, int(light * part)) for part in colour)
    return red, green, blue
