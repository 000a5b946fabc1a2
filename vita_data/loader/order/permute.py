"""Keyed shuffling without tables: a 64-bit hash and permutations of any size, vectorised.

Does not use numpy's generators, since their streams may change between releases but the batch order may not.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from vita_data.types import Int64

_ROUNDS = 6
UInt64 = NDArray[np.uint64]


def key_of(*parts: object) -> int:
    """Hash words and numbers to a 64-bit key."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mix64(values: NDArray[np.integer], key: int | UInt64) -> UInt64:
    """Hash each number with a key: one key for all numbers, or one per number.

    Source: the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
    """
    x = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.asarray(key, np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def shuffled(count: int, key: int) -> Int64:
    """Order the numbers 0..count-1 by their hashes."""
    return np.argsort(mix64(np.arange(count), key), kind="stable")


def permute(positions: Int64, sizes: Int64, keys: UInt64) -> Int64:
    """Map each position [n] through a keyed permutation of 0..size-1, of its own size [n] and key [n].

    A Feistel network over a grid of rows and columns that is only slightly larger than `size`; results outside `size`
    are mapped again until they fall inside, which keeps the map one to one (cycle walking: Black and Rogaway 2002).
    """
    rows = np.ceil(np.sqrt(sizes)).astype(np.int64)
    columns = -(-sizes // rows)
    out = np.array(positions, np.int64)
    pending = np.arange(len(out))
    while pending.size:
        out[pending] = _feistel(out[pending], rows=rows[pending], columns=columns[pending], keys=keys[pending])
        pending = pending[out[pending] >= sizes[pending]]
    return out


def _feistel(values: Int64, *, rows: Int64, columns: Int64, keys: UInt64) -> Int64:
    row, column = np.divmod(values, columns)
    for turn in range(_ROUNDS):
        key = keys + np.uint64(0x632BE59BD9B4E019 * turn % 2**64)
        if turn % 2:
            column = (column + (mix64(row, key) % columns.astype(np.uint64)).astype(np.int64)) % columns
        else:
            row = (row + (mix64(column, key) % rows.astype(np.uint64)).astype(np.int64)) % rows
    return row * columns + column
