"""Numpy files: members read alone, damage named, pickles that cannot run code."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vita_data.errors import EpisodeError, SourceError
from vita_data.formats.npz import NpzDepths, NpzImages, NpzSequence, read_members, read_npy, read_pickled
from vita_data.types import ResizeMode


@pytest.fixture
def archive(tmp_path: Path) -> str:
    np.savez_compressed(tmp_path / "a.npz", one=np.arange(3.0), two=np.ones((2, 2), np.uint8), three=np.zeros(4))
    return str(tmp_path / "a.npz")


def damage_member(path: str, key: str) -> None:
    with zipfile.ZipFile(path) as opened:
        info = opened.getinfo(f"{key}.npy")
    data = bytearray(Path(path).read_bytes())
    start = info.header_offset + 30 + len(info.filename) + 20
    data[start : start + 8] = b"\x55" * 8
    Path(path).write_bytes(data)


def sequence(folder: Path, *, num_kept: int = 8) -> NpzSequence:
    return NpzSequence(lambda step: (str(folder / f"{step}.npz"), f"{step}.npz"), num_kept=num_kept)


def test_members_come_in_the_order_asked_with_their_own_types(archive: str) -> None:
    two, one = read_members(archive, ("two", "one"), name="a.npz")

    assert two.dtype == np.uint8
    assert np.array_equal(one, [0.0, 1.0, 2.0])


def test_a_damaged_member_harms_only_those_who_ask_for_it(archive: str) -> None:
    damage_member(archive, "three")

    assert len(read_members(archive, ("one", "two"), name="a.npz")) == 2
    with pytest.raises(EpisodeError, match=r"a\.npz: its array 'three' cannot be read"):
        read_members(archive, ("one", "three"), name="a.npz")


def test_missing_files_members_and_truncated_archives_are_named(archive: str) -> None:
    with pytest.raises(EpisodeError, match="array 'four' not found in it"):
        read_members(archive, ("four",), name="a.npz")
    with pytest.raises(EpisodeError, match=r"b\.npz: the file does not exist"):
        read_members(archive.replace("a.npz", "b.npz"), ("one",), name="b.npz")
    Path(archive).write_bytes(Path(archive).read_bytes()[:200])
    with pytest.raises(EpisodeError, match=r"a\.npz: it cannot be read"):
        read_members(archive, ("one",), name="a.npz")


def test_a_member_of_python_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=True, one=np.array({"a": 1}, object))
    with pytest.raises(EpisodeError, match="'one'"):
        read_members(str(tmp_path / "a.npz"), ("one",), name="a.npz")


def test_numbers_are_read_from_npy_and_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "numbers.npy", np.array([[1, 2]]))
    np.save(tmp_path / "object.npy", np.array({"a": 1}, object), allow_pickle=True)

    assert read_npy(str(tmp_path / "numbers.npy"), name="numbers.npy").tolist() == [[1, 2]]
    with pytest.raises(SourceError, match=r"object\.npy"):
        read_npy(str(tmp_path / "object.npy"), name="object.npy")


def test_a_pickled_dict_of_texts_pairs_and_arrays_comes_back(tmp_path: Path) -> None:
    value = {
        "language": {"ann": ["a", "b"], "emb": np.ones((2, 1, 4), np.float32)},
        "info": {"indx": [(1, 2), (np.int64(3), 4)]},
    }
    np.save(tmp_path / "value.npy", np.array(value, object), allow_pickle=True)
    found = read_pickled(str(tmp_path / "value.npy"), name="value.npy")

    assert isinstance(found, dict)
    assert found["info"] == value["info"]
    assert np.array_equal(found["language"]["emb"], np.ones((2, 1, 4)))


def test_a_pickle_of_numpy_1_is_read_without_its_old_module_names(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pickle.dump(np.array({"a": np.arange(3)}, object), buffer, protocol=3)
    old = buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core" in old
    np.save(tmp_path / "old.npy", np.array({}, object), allow_pickle=True)
    header = (tmp_path / "old.npy").read_bytes().partition(b"\n")[0] + b"\n"
    (tmp_path / "old.npy").write_bytes(header + old)
    found = read_pickled(str(tmp_path / "old.npy"), name="old.npy")

    assert isinstance(found, dict)
    assert found["a"].tolist() == [0, 1, 2]


class _Intruder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_cannot_run_code(tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.array({"a": _Intruder(tmp_path / "touched")}, object), allow_pickle=True)
    with pytest.raises(SourceError, match=r"bad\.npy: cannot be read \(expected plain values and arrays, got "):
        read_pickled(str(tmp_path / "bad.npy"), name="bad.npy")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("data", [b"", b"no numpy file at all", b"\x93NUMPY\x01\x00"])
def test_what_is_no_numpy_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(SourceError, match=r"x\.npy: cannot be read"):
        read_pickled(str(tmp_path / "x.npy"), name="x.npy")


def test_an_array_of_numbers_is_no_pickled_value(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    with pytest.raises(SourceError, match="expected one pickled value"):
        read_pickled(str(tmp_path / "x.npy"), name="x.npy")


def test_vectors_of_both_float_types_are_stacked_and_others_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", v=np.array([1, 2], np.float32), n=np.array([1, 2]))
    np.savez(tmp_path / "1.npz", v=np.array([3, 4], np.float64), n=np.array([1, 2]))
    (found,) = sequence(tmp_path).vectors([0, 1], (("v", 2),))

    assert found.dtype == np.float64
    assert found.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(EpisodeError, match=r"0\.npz: 'v' is float32 \(2,\), expected floats \[3\]"):
        sequence(tmp_path).vectors([0], (("v", 3),))
    with pytest.raises(EpisodeError, match=r"'n' is int64"):
        sequence(tmp_path).vectors([0], (("n", 2),))


def test_images_and_depths_are_refused_when_they_are_something_else(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", rgb=np.zeros((4, 5, 3), np.uint8), depth=np.full((4, 5), 0.5, np.float32))
    steps = sequence(tmp_path)
    images, depths = NpzImages(steps, frames=[0], key="rgb"), NpzDepths(steps, frames=[0], key="depth")

    assert images.num_frames == 1
    assert next(images.read([0], ResizeMode.PLAIN)).pixels.shape == (4, 5, 3)
    assert float(next(depths.read([0])).max()) == 0.5
    with pytest.raises(EpisodeError, match="'depth' is float32"):
        list(NpzImages(steps, frames=[0], key="depth").read([0], ResizeMode.PLAIN))
    with pytest.raises(EpisodeError, match="'rgb' is uint8"):
        list(NpzDepths(steps, frames=[0], key="rgb").read([0]))


def test_a_step_is_read_once_while_it_is_kept(tmp_path: Path) -> None:
    for step in range(3):
        np.savez(tmp_path / f"{step}.npz", v=np.zeros(2))
    steps = sequence(tmp_path, num_kept=3)
    steps.vectors([0, 1, 2], (("v", 2),))
    for step in range(3):
        (tmp_path / f"{step}.npz").unlink()

    assert steps.vectors([1, 2], (("v", 2),))[0].shape == (2, 2)
