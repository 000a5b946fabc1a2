"""What the machine fails to do is never called damage of a file: every reader, and the faults of disks and mounts."""

import builtins
import errno
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vita_data.errors import EpisodeError, StorageError, VitaDataError
from vita_data.formats.hdf5.opener import demo_names, find_dataset, find_group, open_hdf5, read_floats
from vita_data.formats.hdf5.rows import DatasetRows
from vita_data.formats.lerobot.dataset import read_table
from vita_data.formats.lerobot.episode import LeRobotEpisode
from vita_data.formats.lerobot.meta import open_lerobot
from vita_data.formats.npz import read_members, read_npy, read_pickled
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.dataset import open_dataset
from vita_data.formats.rlds.tfrecord import read_records, write_records
from vita_data.formats.video.stream import VideoStream, scan_video, write_toy_video
from vita_data.sources import load
from vita_data.sources._shared.robomind.text import INSTRUCTION_LIST, check_texts
from vita_data.sources.ego4d.json_files import load_json, parse_metadata
from vita_data.types import ResizeMode

FAULTS = (
    *(errno.EAGAIN, errno.ENOLCK, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.EACCES),
    *(errno.EPERM, errno.EDQUOT, errno.EHOSTDOWN, errno.EREMOTEIO, errno.ENODEV, errno.ENOTCONN, errno.EUCLEAN),
)


class FaultyFile(io.BytesIO):
    """An open file whose reads fail."""

    def __init__(self, code: int, *, num_good: int = 0) -> None:
        super().__init__(b"x" * 100)
        self._code, self._num_good = code, num_good

    def _fail(self) -> None:
        self._num_good -= 1
        if self._num_good < 0:
            raise OSError(self._code, os.strerror(self._code))

    def read(self, size: int | None = -1) -> bytes:
        self._fail()
        return super().read(size)

    def readinto(self, buffer: Any) -> int:
        self._fail()
        return super().readinto(buffer)


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int, str], None]:
    """Have Python and the libraries fail on one file, when it is opened or when it is read."""

    def start(path: Path, code: int, when: str) -> None:
        true_open = builtins.open

        def faulty(name: Any, *arguments: Any, **options: Any) -> Any:
            if str(name) != str(path):
                return true_open(name, *arguments, **options)
            if when == "open":
                raise OSError(code, os.strerror(code), str(path))
            return FaultyFile(code)

        def refuse(*arguments: Any, **options: Any) -> None:
            raise OSError(code, f"[Errno {code}] {os.strerror(code)}")

        def refuse_in_hdf5s_words(*arguments: Any, **options: Any) -> None:
            raise OSError(f"Unable to open (errno = {code}, error message = '{os.strerror(code)}', flags = 0)")

        monkeypatch.setattr("builtins.open", faulty)
        monkeypatch.setattr("io.open", faulty)
        monkeypatch.setattr("pyarrow.parquet.read_table", refuse)
        monkeypatch.setattr("av.open", refuse)
        monkeypatch.setattr("h5py.File", refuse_in_hdf5s_words)

    return start


def read_video(path: Path) -> None:
    scan_video(str(path), name="x")


def read_jpeg_folder(path: Path) -> None:
    source, tree = load("ssv2"), FsspecTree(str(path.parents[2]))
    (part,) = source.parts(tree, source.Settings())
    (episode,) = source.episodes(tree, part, source.Settings())
    (camera,) = episode.cameras.values()  # type: ignore[union-attr]
    list(camera.read([0], ResizeMode.PLAIN))


def read_parquet(path: Path) -> None:
    episode = LeRobotEpisode(index=0, num_steps=3, texts=("",), meta={}, table=path.name, videos={})
    read_table(FsspecTree(str(path.parent)), episode)


def tree_of(path: Path, level: int = 0) -> FsspecTree:
    return FsspecTree(str(path.parents[level]))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "hdf5": ("x.hdf5", lambda path: open_hdf5(str(path), name="x").__enter__()),
    "tfrecord": ("x.tfrecord", lambda path: list(read_records(str(path), name="x"))),
    "npz": ("x.npz", lambda path: read_members(str(path), ["a"], name="x")),
    "npy": ("x.npy", lambda path: read_npy(str(path), name="x")),
    "pickle": ("p.npy", lambda path: read_pickled(str(path), name="x")),
    "parquet": ("x.parquet", read_parquet),
    "video": ("x.mp4", read_video),
    "jpeg folder": ("20bn-something-something-v2/1/img_00001.jpg", read_jpeg_folder),
    "dataset_info": ("n/1.0.0/dataset_info.json", lambda path: open_dataset(tree_of(path, 2), "n/1.0.0")),
    "features": ("n/1.0.0/features.json", lambda path: open_dataset(tree_of(path, 2), "n/1.0.0")),
    "lerobot info": ("meta/info.json", lambda path: open_lerobot(tree_of(path, 1), "")),
    "ego4d": ("ego4d.json", lambda path: load_json(tree_of(path), "ego4d.json", parse_metadata)),
    "ssv2 labels": ("labels/train.json", lambda path: load("ssv2").parts(tree_of(path, 1), load("ssv2").Settings())),
    "robomind list": (INSTRUCTION_LIST, lambda path: check_texts(tree_of(path), [])),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole file for each reader."""
    root = tmp_path_factory.mktemp("files")
    for name, _ in READERS.values():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"{}")
    with h5py.File(root / "x.hdf5", "w") as file:
        file["data/demo_0/actions"] = np.zeros((5, 7))
        file.create_dataset("data/demo_0/images", data=np.ones((500, 8, 8, 3), np.uint8), chunks=(1, 8, 8, 3))
    write_records(root / "x.tfrecord", [b"record"])
    np.savez(root / "x.npz", a=np.zeros(3))
    np.save(root / "x.npy", np.zeros(3))
    np.save(root / "p.npy", np.array({"a": 1}, object))
    pq.write_table(pa.table({"a": [1, 2, 3]}), root / "x.parquet")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), np.uint8)
    write_toy_video(str(root / "x.mp4"), pixels, fps=10, codec="mpeg4")
    write_toy_video(str(root / "x.webm"), pixels, fps=10)
    for name in ("train", "validation"):
        items = [{"id": "1", "label": "moving a cup away"}] if name == "train" else []
        (root / "labels" / f"{name}.json").write_text(json.dumps(items))
    (root / "n/1.0.0/dataset_info.json").write_text(json.dumps({"name": "n", "splits": []}))
    return root


@pytest.mark.parametrize("when", ["open", "read"])
@pytest.mark.parametrize("code", FAULTS, ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize("reader", READERS)
def test_a_fault_of_the_machine_is_no_damage(
    reader: str, code: int, when: str, files: Path, fail: Callable[[Path, int, str], None]
) -> None:
    name, read = READERS[reader]
    fail(files / name, code, when)
    with pytest.raises(StorageError, match=re.compile(re.escape(os.strerror(code)), re.IGNORECASE)) as said:
        read(files / name)
    assert "run the same command again" in str(said.value)
    assert ("change its permissions" in str(said.value)) == (code in (errno.EACCES, errno.EPERM))
    assert not {"fetch", "damaged"} & set(str(said.value).replace(";", " ").split())


@pytest.mark.parametrize("reader", ["hdf5", "tfrecord", "npz", "npy", "pickle", "parquet", "video"])
def test_a_fault_of_the_file_is_one_of_its_episodes(reader: str, files: Path, tmp_path: Path) -> None:
    """Not there, a folder, cut short: nothing that the machine could be blamed for."""
    name, read = READERS[reader]
    cut, folder = tmp_path / f"cut-{name}", tmp_path / f"folder-{name}"
    cut.write_bytes((files / name).read_bytes()[:-1][:60])
    folder.mkdir()
    for path in (cut, folder, tmp_path / f"none-{name}"):
        with pytest.raises(VitaDataError) as said:
            read(path)
        assert not isinstance(said.value, StorageError)


# ------------------------------------------------------------------- an I/O error of the kernel inside the libraries


@pytest.fixture
def breaking() -> Iterator[Callable[[Path], None]]:
    """Have the kernel answer EIO to reads of an open file, as a broken disk does: nothing is mapped at address 0."""
    broken = os.open("/proc/self/mem", os.O_RDONLY)
    kept: list[tuple[int, int]] = []

    def start(path: Path) -> None:
        for number in os.listdir("/proc/self/fd"):
            if os.path.realpath(f"/proc/self/fd/{number}") == str(path):
                kept.append((os.dup(int(number)), int(number)))
                os.dup2(broken, int(number))
        assert kept

    yield start
    for good, number in kept:
        os.dup2(good, number)
        os.close(good)
    os.close(broken)


@pytest.mark.parametrize(
    "read",
    [
        lambda file: demo_names(file, name="x"),
        lambda file: find_group(file, "data/demo_0", name="x"),
        lambda file: find_dataset(file, "data/demo_0/actions", name="x"),
    ],
)
def test_an_io_error_in_the_middle_of_an_hdf5_file(
    files: Path, breaking: Callable[[Path], None], read: Callable[[h5py.File], object]
) -> None:
    """HDF5 raises a KeyError, as it does for what is not there."""
    with open_hdf5(str(files / "x.hdf5"), name="x") as file:
        breaking(files / "x.hdf5")
        with pytest.raises(StorageError, match=r"^x: Input/output error"):
            read(file)


def test_an_io_error_while_hdf5_rows_are_read(files: Path, breaking: Callable[[Path], None]) -> None:
    with open_hdf5(str(files / "x.hdf5"), name="x") as file:
        rows = DatasetRows(file["data/demo_0/images"], name="x").read(range(500), max_bytes=1)
        group = file["data/demo_0"]
        next(rows)
        breaking(files / "x.hdf5")
        with pytest.raises(StorageError, match=r"^x: Input/output error"):
            list(rows)
        with pytest.raises(StorageError, match=r"^x: Input/output error"):
            read_floats(group, "actions", width=7, name="x")


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_an_io_error_while_a_video_is_read(
    kind: str, files: Path, breaking: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg ends some files there without a word; the disk fails for whoever reads the file next, too."""
    path = files / f"x.{kind}"
    info = scan_video(str(path), name="x")
    breaking(path)
    monkeypatch.setattr("vita_data.formats.raw_tree.file_head.open", lambda *_: FaultyFile(errno.EIO), raising=False)
    with pytest.raises(StorageError, match="Input/output error"):
        list(VideoStream(str(path), info=info, name="x").read(range(30), ResizeMode.PLAIN))


def test_damage_that_ffmpeg_calls_an_io_error_costs_that_video_alone(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise av.error.OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("av.open", refuse)
    with pytest.raises(EpisodeError, match=r"cannot be opened as video \(Input/output error\); fetch"):
        scan_video(str(files / "x.mp4"), name="x")
