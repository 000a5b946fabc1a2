"""Pickles of plain values: every protocol, Python 2, damage, and nothing else."""

import codecs
import io
import os
import pickle
import sys
from collections import OrderedDict, defaultdict
from contextlib import suppress
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from vita_data.formats import plain_pickle
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


def call(module: bytes, name: bytes) -> bytes:
    return b"c" + module + b"\n" + name + b"\n"


ARRAY = call(b"numpy._core.multiarray", b"_reconstruct") + call(b"numpy", b"ndarray") + b"K\x00\x85C\x01b\x87R"


def dtype(kind: bytes) -> bytes:
    return call(b"numpy", b"dtype") + b"X" + len(kind).to_bytes(4, "little") + kind + b"\x85R"


HOSTILE = {
    "a list of lists of lists, 2 to the 30th values": b"]" + b"".join(b"q%c]h%ch%c\x86" % (n, n, n) for n in range(30)),
    "a key that no stack can hash": b"}K\x01" + b"\x85" * 30_000 + b"K\x01s",
    "a member of a set that no stack can hash": b"\x8f(K\x01" + b"\x85" * 30_000 + b"\x90",
    "nesting": b"]" * 30_000 + b"a" * 29_999,
    "an item of 2 GB": call(b"numpy._core.multiarray", b"scalar") + dtype(b"S2000000000") + b"C\x00\x86R",
    "a shape of exabytes": ARRAY + b"(K\x01\x8a\x08" + b"\xff" * 7 + b"\x7f\x85" + dtype(b"i8") + b"\x89C\x00tb",
    "an array of no items and many": ARRAY
    + b"(K\x01K\x00\x8a\x08"
    + b"\xff" * 7
    + b"\x7f\x86"
    + dtype(b"i8")
    + b"\x89C\x00tb",
    "objects laid over bytes": ARRAY + b"(K\x01K\x01\x85" + dtype(b"O8") + b"\x89C\x08AAAAAAAAtb",
    "objects over a buffer": call(b"numpy._core.numeric", b"_frombuffer")
    + b"(C\x08AAAAAAAA"
    + dtype(b"O8")
    + b"K\x01\x85X\x01\x00\x00\x00CtR",
    "characters that are none": ARRAY + b"(K\x01K\x01\x85" + dtype(b"U1") + b"\x89C\x04\xff\xff\xff\xfftb",
    "a function of ours with other defaults": call(b"_codecs", b"encode") + b"N}X\x0c\x00\x00\x00__defaults__)s\x86b",
    "the state of a real array": call(b"numpy._core.numeric", b"_frombuffer")
    + b"(C\x08AAAAAAAA"
    + dtype(b"i8")
    + b"K\x01\x85X\x01\x00\x00\x00CtR(K\x01K\x01\x85"
    + dtype(b"i8")
    + b"\x89C\x08AAAAAAAAtb",
    "a name left over": call(b"builtins", b"list"),
    "a call of a text": b"X\x01\x00\x00\x00a)R",
    "a new object": call(b"builtins", b"list") + b")\x81",
    "an extension": b"\x82\x01",
    "an integer of many digits": b"\x8b\x00\x04\x00\x00" + b"\x7f" * 1024,
    "an array in itself": ARRAY + b"q\x00(K\x01K\x01\x85" + dtype(b"O8") + b"\x89](h\x00etb",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_pickle_is_a_value_error(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, some of these were endless, ended the process, took 2 GB or changed a function of ours."""
    monkeypatch.setattr(plain_pickle, "MAX_PICKLED_VALUES", 10_000)
    with pytest.raises(ValueError, match=r"expected|nested|must be"):
        load_plain(io.BytesIO(b"\x80\x02" + HOSTILE[what] + b"."))


def test_thousands_of_mutated_pickles_neither_crash_nor_call_anything() -> None:
    """Instructions are inserted, copied and removed: flipped bytes alone rarely make a pickle that goes on."""
    generator, foreign, num_loaded = np.random.default_rng(21), set[str](), 0
    whole = [pickle.dumps(PLAIN, protocol) for protocol in range(6)]
    ours = (plain_pickle.__file__, __file__, pickle.__file__, np.__path__[0], codecs.__file__, "<frozen")

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and not frame.f_code.co_filename.startswith(ours):
            foreign.add(frame.f_code.co_filename)
        if event == "c_call" and getattr(argument, "__module__", "") in ("posix", "io", "_io", "_imp"):
            foreign.add(repr(argument))

    for _ in range(3000):
        data = mutated(whole[generator.integers(len(whole))], generator)
        sys.setprofile(note)
        try:
            load_plain(io.BytesIO(data))
            num_loaded += 1
        except ValueError:
            pass
        finally:
            sys.setprofile(None)
    assert not {name for name in foreign if not name.endswith(("enum.py", "re/__init__.py", "<string>"))}
    assert 0 < num_loaded < 3000


def mutated(whole: bytes, generator: np.random.Generator) -> bytes:
    data = bytearray(whole)
    for _ in range(generator.integers(1, 4)):
        at, other = (int(place) for place in generator.integers(2, len(data), 2))
        match generator.integers(4):
            case 0:
                data[at] = generator.integers(256)
            case 1:
                data[at:at] = generator.bytes(1)
            case 2:
                data[at:at] = data[other : other + 40]
            case _:
                del data[at : at + 20]
    return bytes(data)
