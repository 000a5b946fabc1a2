"""What a Parquet file says of its columns is read as pyarrow reads it, and damage to it is an error."""

import io
import random
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vita_data.shards.parquet_footer import SNAPPY, UNCOMPRESSED, ColumnPart, column_parts


def written(**options: Any) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"id": [f"e{number}" for number in range(250)], "size": np.arange(250), "is_ok": [True] * 250})
    pq.write_table(table, sink, **options)
    return sink.getvalue()


@pytest.mark.parametrize("version", ["1.0", "2.4", "2.6"])
@pytest.mark.parametrize(("codec", "number"), [("snappy", SNAPPY), ("none", UNCOMPRESSED), ("zstd", 6)])
def test_the_parts_are_those_that_pyarrow_sees(version: str, codec: str, number: int) -> None:
    data = written(version=version, compression=codec, row_group_size=100)
    assert column_parts(data) == [ColumnPart(number, rows, rows) for rows in (100, 100, 50) for _ in range(3)]
    groups = pq.read_metadata(io.BytesIO(data))
    assert [groups.row_group(at).column(0).compression for at in range(3)] == [
        codec.upper().replace("NONE", "UNCOMPRESSED")
    ] * 3


@pytest.mark.parametrize(
    ("footer", "told"),
    [
        (b"\x1c" * 100 + b"\x00", "nested more than 16 levels deep"),
        (b"\x16" + b"\xff" * 1000, "a number of more than 64 bits"),
        (b"\x18\xff\xff\xff\x7f", "cannot be read"),
        (b"\x1f\x00", "a value of unknown kind 15"),
        (b"\x00", "cannot be read"),
        (b"", "cannot be read"),
        (bytes(5 << 20), "5242880 bytes, expected at most 4194304"),
    ],
)
def test_a_footer_of_another_form_is_an_error(footer: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        column_parts(b"PAR1" + footer + struct.pack("<I4s", len(footer), b"PAR1"))


def test_damage_is_an_error_and_nothing_else() -> None:
    data, drawn = written(), random.Random(0)
    for _ in range(2000):
        changed = bytearray(data)
        changed[drawn.randrange(len(data) // 2, len(data))] = drawn.randrange(256)
        with suppress(ValueError):
            column_parts(bytes(changed))
