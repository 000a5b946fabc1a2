"""HDF5 demonstrations: order of demos, whole reads, and errors that name file and key."""

import errno
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from vita_data.errors import EpisodeError, SourceError, StorageError, VitaDataError
from vita_data.formats.hdf5.opener import (
    DatasetStream,
    demo_names,
    find_dataset,
    find_group,
    json_attribute,
    open_hdf5,
    read_floats,
)
from vita_data.types import ResizeMode


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "demos.hdf5"
    with h5py.File(path, "w") as file:
        for number in (10, 2, 0, 1, 6):
            demo = file.create_group(f"data/demo_{number}")
            demo["actions"] = np.full((5, 7), number, np.float32)
            demo["images"] = np.arange(5 * 2 * 2 * 3, dtype=np.uint8).reshape(5, 2, 2, 3)
        file["data/note"] = 1.0
        file["data"].attrs.update(good='{"a": 1}', cut='{"a": ', number="3")
    return str(path)


def test_demos_come_in_the_order_of_their_numbers_with_gaps_and_without_stray_datasets(path: str) -> None:
    with open_hdf5(path, name="demos.hdf5") as file:
        assert demo_names(file, name="demos.hdf5") == ["demo_0", "demo_1", "demo_2", "demo_6", "demo_10"]


def test_other_groups_under_data_are_no_demos(path: str) -> None:
    with h5py.File(path, "r+") as file:
        for key in ("mask", "demo_", "demo_3_old", "x_demo_3"):
            file.create_group(f"data/{key}")
    with open_hdf5(path, name="demos.hdf5") as file:
        assert demo_names(file, name="demos.hdf5") == ["demo_0", "demo_1", "demo_2", "demo_6", "demo_10"]


def test_a_name_of_5000_digits_is_no_demo(path: str) -> None:
    """Before, Python refused to convert it, which cost all demonstrations of the file."""
    with h5py.File(path, "r+") as file:
        file.create_group("data/demo_" + "9" * 5000)
    with open_hdf5(path, name="demos.hdf5") as file:
        assert len(demo_names(file, name="demos.hdf5")) == 5


@pytest.mark.parametrize("links", [("hard", "hard"), ("/data/demo_0", "./demo_0")])
def test_one_demonstration_under_many_names_is_refused(links: tuple[str, str], path: str) -> None:
    """Before, a file of a megabyte could be stored thousands of times, and fill the disk."""
    with h5py.File(path, "r+") as file:
        for number, link in enumerate(links):
            target = file["data/demo_0"] if link == "hard" else h5py.SoftLink(link)
            file["data"][f"demo_{90 + number}"] = target
    told = r"^demos\.hdf5: demo_9[01] and demo_\d+ in 'data' are the same group"
    with open_hdf5(path, name="demos.hdf5") as file, pytest.raises(SourceError, match=told):
        demo_names(file, name="demos.hdf5")


def test_a_file_without_demos_is_a_source_error(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_group("data/mask")
    with (
        open_hdf5(str(tmp_path / "x.hdf5"), name="x") as file,
        pytest.raises(SourceError, match=r"expected demo_<number> in 'data'; found \['mask'\]"),
    ):
        demo_names(file, name="x.hdf5")


def test_a_demo_that_is_no_group_is_listed_and_fails_when_it_is_opened(path: str) -> None:
    with h5py.File(path, "r+") as file:
        file["data/demo_3"] = 1.0
    with open_hdf5(path, name="demos.hdf5") as file:
        assert "demo_3" in demo_names(file, name="demos.hdf5")
        with pytest.raises(EpisodeError, match=r"demos\.hdf5: expected a readable group data/demo_3"):
            find_group(file, "data/demo_3", name="demos.hdf5")


def test_a_demo_whose_header_is_damaged_is_listed_and_fails_when_it_is_opened(path: str) -> None:
    with h5py.File(path) as file:
        header = h5py.h5o.get_info(file["data/demo_2"].id).addr
    damage(path, header, 16)
    with open_hdf5(path, name="demos.hdf5") as file:
        assert "demo_2" in demo_names(file, name="demos.hdf5")
        with pytest.raises(EpisodeError, match=r"demos\.hdf5: expected a readable group data/demo_2"):
            find_group(file, "data/demo_2", name="demos.hdf5")


@pytest.mark.parametrize("structure", [b"TREE", b"HEAP", b"SNOD", b"demo_10"])
def test_damage_anywhere_in_the_lists_of_names_is_an_error_of_ours(path: str, structure: bytes) -> None:
    """Trees, heaps and nodes of groups, one after the other; some belong to `data`, whose demos are then unknown."""
    whole, refused = Path(path).read_bytes(), 0
    for found in re.finditer(structure, whole):
        damage(path, found.start(), 8)
        refused += is_refused(path)
        Path(path).write_bytes(whole)
    assert refused


def is_refused(path: str) -> bool:
    try:
        with open_hdf5(path, name="demos.hdf5") as file:
            demo_names(file, name="demos.hdf5")
    except SourceError:
        return True
    return False


def test_a_damaged_attribute_is_a_source_error(path: str) -> None:
    whole = Path(path).read_bytes()
    for found in re.finditer(b"GCOL", whole):
        damage(path, found.start(), 24)
    with open_hdf5(path, name="demos.hdf5") as file, pytest.raises(VitaDataError, match="attributes of /data"):
        json_attribute(file["data"], "good", name="demos.hdf5")


def damage(path: str, offset: int, size: int) -> None:
    whole = bytearray(Path(path).read_bytes())
    whole[offset : offset + size] = b"\xfe" * size
    Path(path).write_bytes(whole)


def test_a_missing_key_names_file_and_key(path: str) -> None:
    with open_hdf5(path, name="demos.hdf5") as file, pytest.raises(EpisodeError, match=r"demos\.hdf5.*demo_2/joints"):
        read_floats(file["data/demo_2"], "joints", width=7, name="demos.hdf5")


def test_a_group_where_a_dataset_belongs_is_refused(path: str) -> None:
    with open_hdf5(path, name="demos.hdf5") as file, pytest.raises(EpisodeError, match="expected a readable dataset "):
        find_dataset(file["data"], "demo_2", name="demos.hdf5")


def test_a_dataset_without_content_is_refused(path: str) -> None:
    with h5py.File(path, "r+") as file:
        file["data/demo_0/nothing"] = h5py.Empty("f8")
    with open_hdf5(path, name="demos.hdf5") as file, pytest.raises(EpisodeError, match="demo_0/nothing"):
        find_dataset(file["data/demo_0"], "nothing", name="demos.hdf5")


def test_another_width_is_refused_and_the_right_one_read_as_float64(path: str) -> None:
    with open_hdf5(path, name="demos.hdf5") as file:
        with pytest.raises(EpisodeError, match=r"\(5, 7\), expected \[T, 6\]"):
            read_floats(file["data/demo_6"], "actions", width=6, name="demos.hdf5")
        actions = read_floats(file["data/demo_6"], "actions", width=7, name="demos.hdf5")
    assert actions.dtype == np.float64
    assert np.all(actions == 6)


@pytest.mark.parametrize("content", [b"", b"not hdf5 at all" * 100])
def test_no_hdf5_is_a_source_error_without_the_absolute_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.hdf5").write_bytes(content)
    with pytest.raises(SourceError, match=r"^x\.hdf5: ") as caught, open_hdf5(str(tmp_path / "x.hdf5"), name="x.hdf5"):
        pass
    assert str(tmp_path) not in str(caught.value)


def test_a_file_is_read_while_another_program_has_it_open_for_writing(path: str) -> None:
    """The other one is this process here: with a lock it would be refused as with any other program's."""
    with open(path, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open_hdf5(path, name="demos.hdf5") as file:
            images = find_dataset(file, "data/demo_0/images", name="demos.hdf5")
            stream = DatasetStream(images, rows=np.arange(5), name="demos.hdf5")
        assert len(list(stream.read(range(5), ResizeMode.PLAIN))) == 5


def test_a_file_that_this_process_has_open_with_a_lock_is_read(path: str) -> None:
    for locking in (None, True):
        with h5py.File(path, "r", locking=locking), open_hdf5(path, name="demos.hdf5") as file:
            assert len(demo_names(file, name="demos.hdf5")) == 5


def test_a_file_whose_writer_did_not_close_it_is_not_called_broken(tmp_path: Path) -> None:
    """Files of the newest format say that they are being written, also after their writer was killed."""
    path = str(tmp_path / "x.hdf5")
    with h5py.File(path, "w", libver="latest", locking=False) as file:
        file["data/demo_0/actions"] = np.zeros((5, 7))
    writer = f"import h5py, os; f = h5py.File({path!r}, 'r+', libver='latest', locking=False); f.flush(); os._exit(0)"
    subprocess.run([sys.executable, "-c", writer], check=True)
    with pytest.raises(SourceError, match=r"has it open for writing.*; close that program.*h5clear") as caught:
        open_hdf5(path, name="x.hdf5").__enter__()
    assert "fetch" not in str(caught.value)


def test_a_lock_that_the_environment_asks_for_is_named(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "(unable to lock file, errno = 11, error message = 'Resource ...')")

    monkeypatch.setattr("h5py.File", refuse)
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "TRUE")
    with pytest.raises(
        StorageError, match=r"cannot lock the file, and HDF5_USE_FILE_LOCKING=TRUE.*; unset that variable"
    ):
        open_hdf5(path, name="x.hdf5").__enter__()
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING")
    with pytest.raises(StorageError, match="Resource temporarily unavailable"):
        open_hdf5(path, name="x.hdf5").__enter__()


def test_damage_that_a_block_meets_is_of_the_file_and_an_unfinished_download_is_none(path: str) -> None:
    def read() -> None:
        with open_hdf5(path, name="demos.hdf5"):
            raise OSError("Can't synchronously read data (bad global heap collection signature)")

    with pytest.raises(
        SourceError, match=r"^demos\.hdf5: cannot be read \(the file is damaged\); fetch the file again"
    ):
        read()
    Path(f"{path}.aria2").touch()
    with pytest.raises(SourceError, match=r"an unfinished download .*; wait until the download ends"):
        read()


def test_a_group_of_demos_that_cannot_be_opened_is_not_called_absent(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["data"] = h5py.ExternalLink("nowhere.hdf5", "/data")
    with open_hdf5(str(tmp_path / "x.hdf5"), name="x") as file, pytest.raises(SourceError, match=r"'data'.*fetch it"):
        demo_names(file, name="x.hdf5")


def test_a_truncated_file_is_a_source_error_that_says_so(path: str) -> None:
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="truncated"), open_hdf5(path, name="demos.hdf5"):
        pass


def test_a_file_without_data_is_a_source_error(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["other"] = 1.0
    with open_hdf5(str(tmp_path / "x.hdf5"), name="x.hdf5") as file, pytest.raises(SourceError, match="'other'"):
        demo_names(file, name="x.hdf5")


def test_json_attributes_are_parsed_absent_or_refused(path: str) -> None:
    with open_hdf5(path, name="demos.hdf5") as file:
        assert json_attribute(file["data"], "good", name="d") == {"a": 1}
        assert json_attribute(file["data"], "absent", name="d") is None
        for key in ("cut", "number"):
            with pytest.raises(SourceError, match=key):
                json_attribute(file["data"], key, name="d")


def test_a_stream_maps_rows_to_images_and_mirrors_by_strides(path: str) -> None:
    with open_hdf5(path, name="demos.hdf5") as file:
        images = file["data/demo_0/images"]
        stream = DatasetStream(images, rows=np.array([1, 3, 4]), strides=(-1, 1), name="demos.hdf5")
        frames = list(stream.read([0, 2], ResizeMode.PLAIN))
        whole = images[()]
    assert stream.num_frames == 3
    assert all(np.array_equal(frame.pixels, whole[row, ::-1]) for frame, row in zip(frames, (1, 4), strict=True))


def test_a_dataset_that_holds_no_rgb_images_is_refused(path: str) -> None:
    with open_hdf5(path, name="demos.hdf5") as file, pytest.raises(EpisodeError, match="expected uint8"):
        DatasetStream(file["data/demo_0/actions"], rows=np.arange(5), name="demos.hdf5")


@pytest.mark.skipif("VITA_REAL_DATA" not in os.environ, reason="VITA_REAL_DATA is not set")
def test_real_robomimic_demos_read_whole() -> None:
    paths = sorted(Path(os.environ["VITA_REAL_DATA"], "robomimic_hdf5").glob("*.hdf5"))
    assert paths
    with open_hdf5(str(paths[0]), name=paths[0].name) as file:
        names = demo_names(file, name=paths[0].name)
        numbers = [int(name.removeprefix("demo_")) for name in names]
        assert len(names) == 10
        assert numbers == sorted(numbers)
        total = 0
        for name in names:
            demo = file["data"][name]
            actions = read_floats(demo, "actions", width=7, name=paths[0].name)
            assert len(actions) == demo.attrs["num_samples"]
            assert len(read_floats(demo, "obs/eef_pos", width=3, name=paths[0].name)) == len(actions)
            total += len(actions)
        assert json_attribute(file["data"], "env_args", name=paths[0].name)["type"] == 2  # type: ignore[index]
        assert total == file["data"].attrs["total"]
