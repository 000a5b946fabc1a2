"""Messages are the library's msgpack, arrays openpi's; no garbage gets further than an error of one line."""

import contextlib
import random

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vita_data.errors import RequestError, VitaDataError
from vita_model.policy.openpi import pack, read_request, unpack

_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20),
    max_leaves=20,
)


def test_the_documented_example_has_its_bytes():
    packed = pack({"observation/state": np.zeros(2, "<f4"), "prompt": "x"})

    expected = (
        b"\x82\xb1observation/state\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x08"
        + bytes(8)
        + b"\xc4\x05dtype\xa3<f4\xc4\x05shape\x91\x02\xa6prompt\xa1x"
    )
    assert packed == expected


@given(_PLAIN)
def test_plain_values_come_back(value):
    assert unpack(pack(value)) == value


@given(_PLAIN)
def test_the_library_and_we_read_each_other(value):
    assert msgpack.unpackb(pack(value), strict_map_key=False) == value
    assert unpack(msgpack.packb(value)) == value


@pytest.mark.parametrize("part", [b"\x80", b"\x90"])
def test_a_message_of_countless_maps_or_lists_is_refused_before_memory_is_made_for_them(part):
    with pytest.raises(RequestError, match="expected at most 10000 maps and lists"):
        read_request(b"\x81\xa1x\xdd" + (1 << 20).to_bytes(4) + part * (1 << 20))


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_every_form_of_a_size_is_read(size):
    value = {"text": "a" * size, "bytes": b"b" * size, "list": [None] * size}
    assert unpack(pack(value)) == value


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "|u1", "<i8", "|b1"])
def test_arrays_keep_type_and_shape(dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)

    found = unpack(pack({"actions": array, "one": array[1, 2, 3]}))

    assert found["actions"].dtype == array.dtype
    np.testing.assert_array_equal(found["actions"], array)
    assert found["one"] == array[1, 2, 3]


def test_objects_are_no_arrays():
    forged = pack({b"__ndarray__": True, b"data": b"12345678", b"dtype": "|O", b"shape": [1]})
    with pytest.raises(VitaDataError, match="array: expected booleans, integers or floats, got object"):
        unpack(forged)


def test_what_cannot_be_sent_is_said():
    with pytest.raises(TypeError, match="cannot send a value of type set"):
        pack({"a": {1}})


def test_cut_and_changed_messages_raise_one_kind_of_error():
    whole = pack({"actions": np.ones((12, 7)), "names": ["a", {"b": 1.5}], "n": 70000})
    generator = random.Random(0)
    for cut in range(len(whole)):
        with pytest.raises(VitaDataError):
            unpack(whole[:cut])
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        with contextlib.suppress(VitaDataError):
            unpack(bytes(damaged))


def test_bytes_after_the_end_are_refused():
    with pytest.raises(VitaDataError, match="2 more bytes after its end"):
        unpack(pack({}) + b"\xc0\xc0")


KINDS = st.sampled_from([np.uint8, np.int32, np.int64, np.float32, np.float64, np.bool_])


@given(arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))
def test_arrays_of_a_request_survive(value: np.ndarray) -> None:
    found = read_request(pack({"a": value}))["a"]
    assert found.dtype == value.dtype
    assert found.shape == value.shape
    assert np.array_equal(found, value, equal_nan=value.dtype.kind == "f")


def test_openpi_s_own_bytes_are_a_request() -> None:
    """The example of openpi-client 0.1.2: {"observation/state": zeros(2, float32), "prompt": "x"}."""
    array = {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": (2,)}
    found = read_request(msgpack.packb({"observation/state": array, "prompt": "x"}))
    assert found["observation/state"].tolist() == [0.0, 0.0]
    assert pack({"observation/state": np.zeros(2, np.float32), "prompt": "x"}) == msgpack.packb(
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
    with pytest.raises(RequestError, match="array: "):
        read_request(msgpack.packb({"a": value}))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01", b"\x01", msgpack.packb([1]), msgpack.packb({1: 2})])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(RequestError, match=r"a (msgpack )?message"):
        read_request(data)


@given(st.binary(max_size=64))
def test_any_request_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(RequestError):
        read_request(data)


def test_numpy_scalars_are_openpi_s_and_come_back():
    """`data` holds the number itself, as openpi-client 0.1.2 writes and reads it."""
    packed = pack({"infer_ms": np.float32(1.5), "step": np.int64(7)})
    scalar = msgpack.unpackb(packed, strict_map_key=False)["infer_ms"]
    assert scalar == {b"__npgeneric__": True, b"data": 1.5, b"dtype": "<f4"}
    found = unpack(packed)
    assert (found["infer_ms"], found["infer_ms"].dtype, found["step"]) == (1.5, np.float32, 7)
