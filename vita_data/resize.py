"""Resizes images to the 256x256 of the shards, in the same way for builds and policies."""

import cv2
import numpy as np

from vita_data.types import IMAGE_SIZE, Image, ResizeMode


def to_square(pixels: Image, resize: ResizeMode) -> Image:
    """Resize uint8 [h, w, 3] to [256, 256, 3]: the whole image, or its centre square."""
    height, width = pixels.shape[:2]
    if resize is ResizeMode.CENTER_CROP and height != width:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    if pixels.shape[:2] == (IMAGE_SIZE, IMAGE_SIZE):
        return pixels
    shrinks = pixels.shape[0] >= IMAGE_SIZE and pixels.shape[1] >= IMAGE_SIZE
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (IMAGE_SIZE, IMAGE_SIZE), interpolation=method), np.uint8)
