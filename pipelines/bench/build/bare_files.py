"""Lower bounds for record and array files: the cost of only reading, verifying, copying and encoding the data."""

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import google_crc32c
import h5py
import numpy as np
import simplejpeg

from pipelines.bench.build.arrays import LIBERO_CAMERAS
from vita_data.types import IMAGE_SIZE

_QUALITY = 95


def copy_records(paths: Sequence[Path], out: Path) -> int:
    """Read TFRecord files, verify both checksums of each record, and write the records to `out`, synced like shards.

    Raises:
        ValueError: a checksum does not match.
    """
    num_records = 0
    with out.open("wb") as copied:
        for path in paths:
            with path.open("rb") as file:
                while header := file.read(12):
                    length, length_crc = struct.unpack("<QI", header)
                    record = file.read(length)
                    (crc,) = struct.unpack("<I", file.read(4))
                    if _masked(header[:8]) != length_crc or _masked(record) != crc:
                        raise ValueError(f"{path}: record {num_records} is damaged (checksum mismatch)")
                    copied.write(record)
                    num_records += 1
        # A build's shards are on disk when it ends; without fsync, the copy's time would depend on the page cache.
        copied.flush()
        os.fsync(copied.fileno())
    return num_records


def _masked(data: bytes) -> int:
    crc = int(google_crc32c.value(data))
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def encode_demos(path: Path, out: Path) -> int:
    """Read the image datasets of a LIBERO file as a whole; turn, enlarge and encode the frames; write them to `out`.

    The last frame of a demonstration has no action and is left out, as in a build.
    """
    num_images = 0
    with h5py.File(path, "r", locking=False) as file, out.open("wb") as written:
        for demo in file["data"].values():
            for camera in LIBERO_CAMERAS:
                for image in demo[f"obs/{camera}"][()][:-1, ::-1, ::-1]:
                    size = (IMAGE_SIZE, IMAGE_SIZE)
                    large = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_CUBIC)
                    written.write(simplejpeg.encode_jpeg(large, _QUALITY, "RGB", "420"))
                    num_images += 1
    return num_images


def load_all_members(paths: Sequence[Path]) -> int:
    """Read every array of npz files."""
    for path in paths:
        with np.load(path) as archive:
            _ = [archive[key] for key in archive.files]
    return len(paths)
