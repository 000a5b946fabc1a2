"""Depth images as colours: near is red, far is blue, and what was not measured is black."""

from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg

from vita_data.types import Float32

_QUALITY = 90
_LEAST_SPAN_M = 0.01


@dataclass(frozen=True, slots=True)
class DepthRange:
    """The distances in metres that get the two ends of the colours; what is outside gets the nearer end."""

    near_m: float
    far_m: float

    @classmethod
    def of(cls, metres: Float32) -> "DepthRange":
        """Take the 1st and 99th percentile of what was measured; a few wrong pixels would make the rest one colour."""
        measured = metres[metres > 0]
        near, far = np.quantile(measured, (0.01, 0.99)).tolist() if len(measured) else (0.0, 1.0)
        return cls(near, max(far, near + _LEAST_SPAN_M))

    def __str__(self) -> str:
        return f"{self.near_m:.2f} m red to {self.far_m:.2f} m blue, black: not measured"


def depth_jpeg(metres: Float32, range_m: DepthRange) -> bytes:
    """Draw a depth image [h, w] as JPEG."""
    nearness = (range_m.far_m - metres) / (range_m.far_m - range_m.near_m)
    levels = (255 * np.clip(nearness, 0, 1)).round().astype(np.uint8)
    coloured = cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)
    coloured[~(metres > 0)] = 0
    drawn: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(coloured), _QUALITY, "BGR", "444")
    return drawn
