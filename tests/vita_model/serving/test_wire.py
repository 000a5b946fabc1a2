"""Messages survive the way, and lies about arrays are found before memory is made for them."""

from contextlib import suppress

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vita_data.errors import RequestError
from vita_model.serving.wire import packed, unpacked

KINDS = st.sampled_from([np.uint8, np.int32, np.int64, np.float32, np.float64, np.bool_])


@given(arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))
def test_arrays_survive(value: np.ndarray) -> None:
    found = unpacked(packed({"a": value}))["a"]
    assert found.dtype == value.dtype
    assert found.shape == value.shape
    assert np.array_equal(found, value, equal_nan=value.dtype.kind == "f")


def test_openpi_s_own_bytes_are_read() -> None:
    """The example of openpi-client 0.1.2: {"observation/state": zeros(2, float32), "prompt": "x"}."""
    array = {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": (2,)}
    found = unpacked(msgpack.packb({"observation/state": array, "prompt": "x"}))
    assert found["observation/state"].tolist() == [0.0, 0.0]
    assert packed({"observation/state": np.zeros(2, np.float32), "prompt": "x"}) == msgpack.packb(
        {"observation/state": array, "prompt": "x"}
    )


@pytest.mark.parametrize(
    "value",
    [
        {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": [3]},
        {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": [-1, -2]},
        {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": [1 << 40, 1 << 40]},
        {b"__ndarray__": True, b"data": bytes(8), b"dtype": "|O", b"shape": [1]},
        {b"__ndarray__": True, b"data": bytes(8), b"dtype": "nonsense", b"shape": [1]},
        {b"__ndarray__": True, b"data": "text", b"dtype": "<f4", b"shape": [1]},
        {b"__ndarray__": True},
    ],
)
def test_arrays_that_lie_are_refused(value: dict[bytes, object]) -> None:
    with pytest.raises(RequestError, match="an array of"):
        unpacked(msgpack.packb({"a": value}))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01", b"\x01", msgpack.packb([1]), msgpack.packb({1: 2})])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(RequestError, match="a message"):
        unpacked(data)


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(RequestError):
        unpacked(data)
