"""Decoding for all peers: the same decoder and settings as our loader."""

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from pipelines.bench.loader.pairs import ACTION_DIM, HORIZON


def image(jpeg: bytes) -> NDArray[np.uint8]:
    """Decode a JPEG to uint8 [256, 256, 3]."""
    return np.asarray(simplejpeg.decode_jpeg(jpeg, "RGB"), np.uint8)


def vectors(data: bytes) -> NDArray[np.float32]:
    """Read actions [16, 7] as a copy, because torch needs writable memory."""
    return np.frombuffer(data, np.float32).reshape(HORIZON, ACTION_DIM).copy()
