"""Read ranges of one object from many threads through one client, and print the rate and the CPU time of a range.

python -m pipelines.bench.store.ranges ADDRESS CLIENT CONNECTIONS NUM_RANGES SIZE
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from vita_data.storage.files import AnyPath, open_path, read_ranges
from vita_data.storage.object_ranges import read_range

OBSTORE, S3FS = "obstore", "s3fs"


def _by_s3fs(path: AnyPath, offset: int, size: int) -> bytes:
    (data,) = read_ranges(path, [(offset, size)])
    return data


CLIENTS: Mapping[str, Callable[[AnyPath, int, int], bytes]] = {OBSTORE: read_range, S3FS: _by_s3fs}


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeFigures:
    """Measurements of one client."""

    client: str
    connections: int
    ranges_per_s: float
    cpu_us: float
    """CPU microseconds of this process for each range."""


def measure_ranges(address: str, client: str, *, connections: int, num_ranges: int, size: int) -> RangeFigures:
    """Read ranges that lie side by side.

    Raises:
        ValueError: an answer has another length.
    """
    path, read = open_path(address), CLIENTS[client]

    def read_one(number: int) -> None:
        if (found := len(read(path, number * size, size))) != size:
            raise ValueError(f"range {number}: expected {size} bytes, got {found}")

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(read_one, range(connections)))  # Connections are opened, and clients imported.
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        list(pool.map(read_one, range(num_ranges)))
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return RangeFigures(
        client=client, connections=connections, ranges_per_s=num_ranges / wall_s, cpu_us=1e6 * cpu_s / num_ranges
    )


if __name__ == "__main__":
    where, name, *numbers = sys.argv[1:]
    threads, count, num_bytes = map(int, numbers)
    print(json.dumps(asdict(measure_ranges(where, name, connections=threads, num_ranges=count, size=num_bytes))))
