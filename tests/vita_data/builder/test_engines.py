"""Where units are built changes no byte: one process, a pool, a Ray cluster, shares in any order."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vita_data.builder.made import Run, contents, num_records, request, run_build, wait_until
from vita_data import sources
from vita_data.builder import BuildRequest, Engine, Listeners, LocalEngine, RayEngine, Share, build
from vita_data.builder.plan import codec_versions, cut_units, group_parts
from vita_data.builder.run import BuildState
from vita_data.builder.unit import Progress, UnitTask
from vita_data.errors import RequestError, StorageError, WorkerError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.sources import load


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayEngine]:
    """A local Ray session of two workers for all tests of this file."""
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield RayEngine()
    ray.shutdown()


@pytest.fixture(params=["pool", "ray"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "pool":
        return LocalEngine(workers=2)
    found: Engine = request.getfixturevalue("cluster")
    return found


def tasks_of(asked: BuildRequest) -> list[UnitTask]:
    source = load(asked.source)
    parts = source.parts(FsspecTree(asked.raw), asked.settings)
    units = cut_units(parts, group_parts(parts, unit_bytes=asked.settings.unit_bytes), limit=None)
    return [UnitTask(request=asked, unit=unit, plan="", versions=codec_versions(), landmarks=()) for unit in units]


def ignore(progress: Progress) -> None:
    pass


@pytest.mark.slow
def test_a_ray_cluster_builds_every_source_to_the_bytes_of_one_process(
    cluster: RayEngine, toy_raw: Path, tmp_path: Path
) -> None:
    for name in sources.names():
        build(request(name, toy_raw / name, tmp_path / "local"))
        build(request(name, toy_raw / name, tmp_path / "ray"), engine=cluster)

    assert len(sources.names()) == 14
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_an_engine_reports_every_episode_frame_and_byte_once(
    engine: Engine, raw: Path, undisturbed: Path, tmp_path: Path
) -> None:
    told: list[Progress] = []
    threads: set[int] = set()
    done: list[int] = []

    def take(progress: Progress) -> None:
        told.append(progress)
        threads.add(threading.get_ident())

    listeners = Listeners(on_progress=take, on_unit=lambda unit: done.append(unit.num_done))
    result = build(request("libero", raw, tmp_path), engine=engine, listeners=listeners)

    assert result.card is not None
    counts = [modality for split in result.card["counts"].values() for modality in split.values()]
    assert sum(progress.num_episodes for progress in told) == sum(count["episodes"] for count in counts) == 32
    assert sum(progress.num_frames for progress in told) == sum(count["frames"] for count in counts)
    assert sum(progress.num_bytes for progress in told) == sum(path.stat().st_size for path in raw.rglob("*.hdf5"))
    assert done == list(range(1, 9))
    assert contents(tmp_path) == contents(undisturbed)


@pytest.mark.parametrize("ranks", [(0, 1, 2), (2, 0, 1, 1, 0, 2)])
def test_shares_in_any_order_and_twice_end_in_the_same_bytes(
    raw: Path, undisturbed: Path, tmp_path: Path, ranks: Sequence[int]
) -> None:
    asked = request("libero", raw, tmp_path)
    for rank in ranks:
        result = build(asked, share=Share(rank=rank, num_ranks=3))
        assert result.state is BuildState.SHARE_BUILT
        assert not (asked.folder / "dataset.json").exists()
    assert num_records(asked.folder) == 8

    assert build(asked).state is BuildState.BUILT
    assert contents(tmp_path) == contents(undisturbed)


def test_shares_at_once_and_of_another_number_end_in_the_same_bytes(
    raw: Path, undisturbed: Path, tmp_path: Path
) -> None:
    asked = request("libero", raw, tmp_path)
    shares = [Share(rank=rank, num_ranks=3) for rank in (2, 0)] + [Share(rank=1, num_ranks=2)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda share: build(asked, share=share), shares))

    assert build(asked).state is BuildState.BUILT
    assert contents(tmp_path) == contents(undisturbed)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("raw", StorageError),
        ("versions", RequestError),
    ],
)
def test_what_a_unit_raises_arrives_as_it_is(
    engine: Engine, raw: Path, tmp_path: Path, change: str, error: type[Exception]
) -> None:
    asked = request("libero", raw, tmp_path)
    tasks = tasks_of(asked)
    if change == "raw":
        tasks = [replace(task, request=replace(asked, raw=str(tmp_path / "gone"))) for task in tasks]
    else:
        tasks = [replace(task, versions={"numpy": "0.1"}) for task in tasks]
    with pytest.raises(error) as caught:
        list(engine.run(tasks, ignore))

    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert num_records(asked.folder) == 0


def test_after_an_error_nothing_more_is_built(engine: Engine, raw: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Not even by a Ray session that goes on."""

    class StoppedError(Exception):
        pass

    def stop(done: object) -> None:
        raise StoppedError

    asked = request("libero", raw, tmp_path)
    with pytest.raises(StoppedError):
        build(asked, engine=engine, listeners=Listeners(on_unit=stop))
    before = num_records(asked.folder)
    build(asked, engine=engine)

    assert before < 8
    assert contents(tmp_path) == contents(undisturbed)


def test_a_killed_worker_of_the_pool_ends_the_build_and_the_next_one_finishes(
    raw: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = Run.start("libero", raw, tmp_path, "--workers", 2)
    assert wait_until(lambda: num_records(tmp_path / "libero") >= 1)
    worker = next(pid for pid, text in run.alive().items() if "spawn_main" in text)
    os.kill(worker, signal.SIGKILL)
    code, out, err = run.end()

    assert (code, out) == (1, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("vita-data build: a worker process was killed")
    assert WorkerError.exit_code == 1
    build(request("libero", raw, tmp_path))
    assert contents(tmp_path) == contents(undisturbed)


def test_ray_builds_the_unit_of_a_killed_worker_again(
    cluster: RayEngine, raw: Path, undisturbed: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one(progress: Progress) -> None:
        for folder in [] if killed else list(Path("/proc").glob("[0-9]*")):
            try:
                text = (folder / "cmdline").read_text()
                if text.startswith("ray::run_unit") and parent_of(folder) == raylet():
                    os.kill(int(folder.name), signal.SIGKILL)
                    killed.append(int(folder.name))
                    return
            except OSError:
                continue

    build(request("libero", raw, tmp_path), engine=cluster, listeners=Listeners(on_progress=kill_one))

    assert killed
    assert contents(tmp_path) == contents(undisturbed)


def parent_of(process: Path) -> int:
    return int((process / "stat").read_text().rsplit(") ", 1)[1].split()[1])


def raylet() -> int:
    """The parent of this session's Ray workers."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_raylet = "raylet/raylet" in (folder / "cmdline").read_text()
            if is_raylet and parent_of(folder) == os.getpid():
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError("no raylet")


@pytest.mark.slow
def test_an_own_ray_session_ends_with_a_killed_build(raw: Path, undisturbed: Path, tmp_path: Path) -> None:
    run = Run.start("libero", raw, tmp_path, "--engine", "ray", "--workers", 2)
    assert wait_until(lambda: num_records(tmp_path / "libero") >= 1)
    assert any("raylet" in text for text in run.alive().values())
    run.kill(group=False)

    assert wait_until(lambda: not run.alive()), run.alive()
    build(request("libero", raw, tmp_path))
    assert contents(tmp_path) == contents(undisturbed)


def test_relative_paths_mean_the_same_folder_to_a_worker_elsewhere(
    cluster: RayEngine, raw: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of a cluster run in the folder in which it was started."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    build(request("libero", Path(os.path.relpath(raw)), Path("out")), engine=cluster)

    assert contents(tmp_path / "here" / "out") == contents(undisturbed)


def test_an_address_without_a_cluster_is_one_line(raw: Path, tmp_path: Path) -> None:
    code, out, err = run_build("libero", raw, tmp_path, "--engine", "ray", "--ray-address", "127.0.0.1:1")

    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "127.0.0.1:1" in err


@pytest.mark.slow
def test_an_interrupt_ends_an_own_ray_session(raw: Path, undisturbed: Path, tmp_path: Path) -> None:
    run = Run.start("libero", raw, tmp_path, "--engine", "ray", "--workers", 2)
    assert wait_until(lambda: num_records(tmp_path / "libero") >= 1)
    os.killpg(run.process.pid, signal.SIGINT)
    code, out, err = run.end()

    assert (code, out) == (1, "")
    assert "Traceback" not in err
    assert "interrupted" in err.splitlines()[-1]
    assert wait_until(lambda: not run.alive()), run.alive()
    build(request("libero", raw, tmp_path))
    assert contents(tmp_path) == contents(undisturbed)


def test_a_listener_that_fails_stops_no_worker(toy_raw: Path, tmp_path: Path) -> None:
    def fail(progress: Progress) -> None:
        raise KeyError("the display is broken")

    asked = request("bridge", toy_raw / "bridge", tmp_path)
    with pytest.raises(KeyError, match="the display is broken"):
        build(asked, engine=LocalEngine(workers=2), listeners=Listeners(on_progress=fail))
    assert build(asked).state is BuildState.BUILT


def test_temporary_files_of_workers_go_with_the_build(
    toy_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spool"))
    build(request("bridge", toy_raw / "bridge", tmp_path / "out"), engine=LocalEngine(workers=2))
    assert list((tmp_path / "spool").iterdir()) == []
