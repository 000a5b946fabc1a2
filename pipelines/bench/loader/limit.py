"""Lower bounds for loaders: decoding the pairs' JPEGs into reused memory, without and with reading and checksums."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg
from isal.isal_zlib import crc32
from numpy.typing import NDArray

from pipelines.bench.loader.pairs import Pairs, Taken, frames_file, open_pairs

PACKAGE = "simplejpeg"
_SIDE = 256

Fetch = Callable[[int], bytes]


def batches(data: Path, *, workers: int, batch_size: int) -> Iterator[Taken]:
    """Decode shuffled pairs from memory with `workers` threads, endlessly."""
    pairs = open_pairs(data)
    jpegs = [pairs.jpeg(frame) for frame in range(len(pairs.offset) - 1)]
    return _batches(pairs, jpegs.__getitem__, workers=workers, batch_size=batch_size)


def read_batches(data: Path, *, workers: int, batch_size: int) -> Iterator[Taken]:
    """Do the same, but first read each JPEG from its file and verify its checksum."""
    pairs = open_pairs(data)
    sums = [crc32(pairs.jpeg(frame)) for frame in range(len(pairs.offset) - 1)]
    offset: list[int] = pairs.offset.tolist()
    file = os.open(frames_file(data), os.O_RDONLY)

    def fetch(frame: int) -> bytes:
        jpeg = os.pread(file, offset[frame + 1] - offset[frame], offset[frame])
        if crc32(jpeg) != sums[frame]:
            raise ValueError(f"frame {frame} is damaged (checksum mismatch)")
        return jpeg

    return _batches(pairs, fetch, workers=workers, batch_size=batch_size)


def _batches(pairs: Pairs, fetch: Fetch, *, workers: int, batch_size: int) -> Iterator[Taken]:
    """Give each thread whole batches and its own array, so that threads do not wait for each other."""
    kept = [np.empty((2, batch_size, _SIDE, _SIDE, 3), np.uint8) for _ in range(workers)]
    orders = _orders(len(pairs), batch_size)
    if workers == 1:
        for order in orders:
            yield _decoded(pairs, fetch, order, kept[0])
    with ThreadPoolExecutor(workers) as executor:
        pending: deque[Future[Taken]] = deque()
        for number, order in enumerate(orders):
            if number >= workers:
                yield pending.popleft().result()
            pending.append(executor.submit(_decoded, pairs, fetch, order, kept[number % workers]))


def _decoded(pairs: Pairs, fetch: Fetch, order: NDArray[np.int64], into: NDArray[np.uint8]) -> Taken:
    for images, frames in zip(into, (pairs.first, pairs.future), strict=True):
        for image, frame in zip(images, frames[order].tolist(), strict=True):
            simplejpeg.decode_jpeg(fetch(frame), "RGB", buffer=image)
    return into[0], into[1], pairs.action[order]


def _orders(num_pairs: int, batch_size: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(num_pairs)
        yield from np.split(order[: num_pairs // batch_size * batch_size], num_pairs // batch_size)
