"""Rules that make a hostile or damaged parquet file or video of a good one, as those in `hostile`."""

import pickle
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from av.video.stream import VideoStream

from tests.faults.hostile import Call, Rule, put


def _table(change: Callable[[pa.Table, str], pa.Table]) -> Rule:
    """Change one column of a parquet file, and write it with right sizes and sums."""

    def write(path: Path, drawn: random.Random) -> None:
        table = pq.read_table(path)
        made = change(table, drawn.choice(table.column_names))
        path.unlink()
        pq.write_table(made, path, compression="zstd")

    return write


def _column(make: Callable[[int], pa.Array]) -> Callable[[pa.Table, str], pa.Table]:
    def change(table: pa.Table, key: str) -> pa.Table:
        return table.set_column(table.column_names.index(key), key, make(table.num_rows))

    return change


def _long_lists(num_rows: int) -> pa.Array:
    """Make rows of a million zeros, which take no place in the file."""
    places = pa.array(np.arange(num_rows + 1) * 1_000_000, pa.int32())
    return pa.ListArray.from_arrays(places, pa.array(np.zeros(num_rows * 1_000_000, np.float32)))


def _deep_lists(num_rows: int) -> pa.Array:
    made = pa.array(np.zeros(num_rows))
    for _ in range(500):
        made = pa.ListArray.from_arrays(pa.array(np.arange(num_rows + 1), pa.int32()), made)
    return made


def _extension(table: pa.Table, key: str) -> pa.Table:
    """Name a type that old versions of Arrow made by calling what a pickle says."""
    meta = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Call())}
    fields = [one.with_metadata(meta) if one.name == key else one for one in table.schema]
    return table.cast(pa.schema(fields))


_COLUMNS: Mapping[str, Callable[[int], pa.Array]] = {
    "lists of a million": _long_lists,
    "lists in lists": _deep_lists,
    "texts of 50 MB": lambda num_rows: pa.array(["x" * 50_000_000] * min(num_rows, 20) + [""] * max(num_rows - 20, 0)),
    "texts for numbers": lambda num_rows: pa.array(["0"] * num_rows),
    "bytes": lambda num_rows: pa.array([b"\xff"] * num_rows),
    "long numbers": lambda num_rows: pa.array(["9" * 5000] * num_rows),
    "times": lambda num_rows: pa.array([0] * num_rows, pa.timestamp("s")),
    "great integers": lambda num_rows: pa.array([2**64 - 1] * num_rows, pa.uint64()),
    "negative integers": lambda num_rows: pa.array([-1] * num_rows),
    "not numbers": lambda num_rows: pa.array(np.full(num_rows, np.nan)),
    "great numbers": lambda num_rows: pa.array(np.full(num_rows, 1e300)),
    "nulls": pa.nulls,
    "maps": lambda num_rows: pa.array([[("a", 1)]] * num_rows, pa.map_(pa.string(), pa.int64())),
    "a dictionary": lambda num_rows: pa.array(["a"] * num_rows).dictionary_encode(),
}


def _footer(path: Path, drawn: random.Random) -> None:
    """Change some bytes of the description at the end."""
    data = bytearray(path.read_bytes())
    (size,) = struct.unpack("<I", data[-8:-4])
    for _ in range(drawn.randrange(1, 5)):
        data[drawn.randrange(len(data) - 8 - size, len(data) - 8)] = drawn.randrange(256)
    put(path, bytes(data))


PARQUET: Mapping[str, Rule] = {
    **{f"{name} {number}": _table(_column(make)) for name, make in _COLUMNS.items() for number in range(2)},
    **{
        f"a column twice {number}": _table(lambda table, key: table.append_column(key, table[key])) for number in (0, 1)
    },
    "a column of another name": _table(
        lambda table, key: table.rename_columns(["\x1b[2J" if one == key else one for one in table.column_names])
    ),
    "a type that calls": _table(_extension),
    "a schema of noise": _table(lambda table, key: table.replace_schema_metadata({"ARROW:schema": "AAAA" * 100})),
    "rows again and again": _table(lambda table, key: pa.concat_tables([table] * 20_000)),
    "rows backwards": _table(lambda table, key: table.take(pa.array(np.arange(table.num_rows)[::-1]))),
    **{f"a changed footer {number}": _footer for number in range(12)},
}


def _first_bytes(path: Path, drawn: random.Random) -> None:
    """Change some bytes of the description at the start of a video."""
    data = bytearray(path.read_bytes())
    for _ in range(drawn.randrange(1, 6)):
        data[drawn.randrange(min(600, len(data)))] = drawn.randrange(256)
    put(path, bytes(data))


def _other_codec(path: Path, drawn: random.Random) -> None:
    data = path.read_bytes()
    for codec in (b"V_VP9", b"V_VP8", b"avc1", b"hvc1", b"vp09", b"av01"):
        data = data.replace(codec, b"?" * len(codec))
    put(path, data)


def _film(side: int, times_ms: Sequence[int]) -> Rule:
    """Write frames at these times."""

    def write(path: Path, drawn: random.Random) -> None:
        path.unlink()
        codec = "libvpx-vp9" if path.suffix == ".webm" else "libx264"
        fast = {"deadline": "realtime", "cpu-used": "8"} if path.suffix == ".webm" else {"preset": "ultrafast"}
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=30, options=fast)
            assert isinstance(stream, VideoStream)
            stream.width = stream.height = side
            stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
            stream.codec_context.thread_count = 1
            for at in times_ms:
                frame = av.VideoFrame.from_ndarray(np.full((side, side, 3), at % 251, np.uint8), format="rgb24")
                frame.pts, frame.time_base = at, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    return write


VIDEO: Mapping[str, Rule] = {
    "an unknown codec": _other_codec,
    **{f"changed first bytes {number}": _first_bytes for number in range(12)},
    "a pause of 11 days": _film(64, [*range(0, 1000, 33), 10**9]),
    "a frame in 11 days": _film(64, range(0, 10**10, 10**9)),
    "a thousand frames a second": _film(64, range(3000)),
    "frames of 5000 x 5000": _film(5000, range(0, 700, 33)),
    "frames of 2 x 2": _film(2, range(0, 1000, 33)),
}
TABLES: Mapping[str, Mapping[str, Rule]] = {".parquet": PARQUET, ".webm": VIDEO, ".mp4": VIDEO}
"""The rules by suffix."""
