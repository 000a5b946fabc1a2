"""Pickles of plain values: every protocol, Python 2, damage, and nothing else."""

import io
import os
import pickle
from collections import OrderedDict, defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from vita_data.formats.plain_pickle import load_plain

PLAIN = {
    "ann": ["push it", np.str_("schließe die Tür"), b"\xff", b""],
    "emb": np.arange(6, dtype=np.float32).reshape(2, 1, 3),
    "big": np.arange(3, dtype=">i4"),
    "turned": np.arange(6).reshape(2, 3).T,
    "none": np.zeros((0, 3)),
    "texts": np.array(["a", "bc"]),
    "values": np.array([["a", None], [1, [2.5]]], object),
    "numbers": (np.int64(3), np.float32(1.5), np.bool_(True), 10**30, 1.5, None, True),
    "sets": [{1, 2}, frozenset([3])],
}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_of_every_protocol_come_back(protocol: int) -> None:
    ordered, with_default = OrderedDict(PLAIN), defaultdict(list, {"a": [1]})
    found = load_plain(io.BytesIO(pickle.dumps([ordered, with_default], protocol=protocol)))

    assert isinstance(found, list)
    plain, other = found
    assert type(plain) is type(other) is dict
    assert other == {"a": [1]}
    for key, value in PLAIN.items():
        np.testing.assert_equal(plain[key], value)
        assert getattr(plain[key], "dtype", None) == getattr(value, "dtype", None)
    with pytest.raises(KeyError):
        other["b"]


def test_a_pickle_of_python_2_is_read() -> None:
    text, array = b"U\x03annq\x01", b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    state = (
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    found = load_plain(io.BytesIO(b"\x80\x02}" + text + array + state + b"\x89U\x02\xff\x01tbs."))

    assert isinstance(found, dict)
    assert found["ann"].tolist() == [255, 1]


def test_a_damaged_pickle_is_a_value_error_whatever_byte_is_hit() -> None:
    """numpy's own way back ends the process for some of these, and Python's reader in C asks for 30 GB."""
    generator = np.random.default_rng(0)
    for protocol in (0, 2, 4, 5):
        whole = pickle.dumps({"ann": ["a"] * 3, "emb": np.ones((3, 4), np.float32), "n": np.int64(1)}, protocol)
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] = generator.integers(256)
            with suppress(ValueError):
                load_plain(io.BytesIO(bytes(damaged)))


@pytest.mark.parametrize("what", [os.system, getattr, eval, np.load, Path, defaultdict.fromkeys, pickle.loads])
def test_a_pickle_may_name_nothing_but_builders_of_values(what: object) -> None:
    with pytest.raises(ValueError, match="expected plain values and arrays, got "):
        load_plain(io.BytesIO(pickle.dumps(what)))
