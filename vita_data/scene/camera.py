"""A pinhole camera: points in the world to pixels.

Letters: N points.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from vita_data.types import Float64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Camera:
    """A pinhole camera with square images."""

    position_m: Float64
    """[3] in the world."""
    rotation: Float64
    """[3, 3]; its rows are the image's right, the image's down, and the direction of view."""
    focal: float
    """Focal length over the image's side."""

    @classmethod
    def looking_at(cls, target_m: Float64, *, position_m: Float64, field_rad: float, up: Float64) -> Self:
        """Place a camera that shows `target_m` in the middle; `up` is the world's direction that points up in it."""
        forward = (target_m - position_m) / np.linalg.norm(target_m - position_m)
        right = np.cross(forward, up)
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        return cls(position_m=position_m, rotation=rotation, focal=0.5 / np.tan(field_rad / 2))

    def depths_m(self, points_m: Float64) -> Float64:
        """Return the distances [N] of points [N, 3] along the direction of view."""
        return np.asarray((points_m - self.position_m) @ self.rotation[2])

    def project(self, points_m: Float64) -> Float64:
        """Return places [N, 2] of points [N, 3], right and down, as fractions of the image's side."""
        seen = (points_m - self.position_m) @ self.rotation.T
        return np.asarray(0.5 + self.focal * seen[:, :2] / np.maximum(seen[:, 2:], 0.02))
