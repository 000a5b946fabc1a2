"""An order that stays within a few shards at a time, for stores where opening or fetching a shard is expensive.

As exact as the global order: each pass contains every window once, and any position is computed without earlier ones.
"""

import numpy as np

from vita_data.loader.order.permute import mix64, permute, shuffled
from vita_data.types import Int64


def local_windows(positions: Int64, shard_ends: Int64, *, num_shards: int, key: int) -> Int64:
    """Find the windows at positions [n] of a pass that takes `num_shards` shards at a time.

    The shards are put in a keyed order and dealt into groups; one group's windows are permuted among themselves.

    Args:
        positions: in 0..number of windows - 1.
        shard_ends: cumulative number of windows of the shards [S].
        num_shards: number of shards in a group; the last group may have fewer.
        key: the key of the pass.
    """
    sizes = np.diff(shard_ends, prepend=0)
    order = shuffled(len(sizes), key)
    ends = np.cumsum(sizes[order])
    group_ends = np.append(ends[num_shards - 1 : -1 : num_shards], ends[-1])
    group_starts = np.append(0, group_ends[:-1])
    group = np.searchsorted(group_ends, positions, side="right")
    starts = group_starts[group]
    places = starts + permute(positions - starts, group_ends[group] - starts, mix64(group, key))
    shard = np.searchsorted(ends, places, side="right")
    from_end = ends[shard] - places
    return np.asarray(shard_ends[order[shard]] - from_end, np.int64)
