"""Our msgpack is the library's, byte for byte where a size has one form, and no garbage gets further than an error."""

import contextlib
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vita_data.errors import VitaDataError
from vita_model.sims.wire import pack, unpack

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
    msgpack = pytest.importorskip("msgpack")
    assert msgpack.unpackb(pack(value), strict_map_key=False) == value
    assert unpack(msgpack.packb(value)) == value


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
    with pytest.raises(VitaDataError, match="array of object"):
        unpack(forged)


def test_what_cannot_be_sent_is_said():
    with pytest.raises(TypeError, match="set cannot be sent"):
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
    with pytest.raises(VitaDataError, match="2 bytes after its end"):
        unpack(pack({}) + b"\xc0\xc0")
