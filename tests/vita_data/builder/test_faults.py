"""What befalls a build from outside: kills, full disks, vanished folders, bad files; the next run ends it as if not."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.vita_data.builder.made import (
    Run,
    contents,
    num_records,
    request,
    run_build,
    wait_until,
)
from vita_data.builder import Listeners, LocalEngine, Share, build
from vita_data.builder.plan import PlannedPart
from vita_data.builder.reading import part_outcomes
from vita_data.builder.run import BuildState, UnitDone
from vita_data.builder.unit import _lost_row
from vita_data.errors import EpisodeError, RequestError, StorageError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.normalize import EpisodeDroppedError, iter_clips
from vita_data.shards.verify import verify
from vita_data.sources import load
from vita_data.types import Clip, Drop, Episode, Failure, Outcome, Part, Reason


def one_line(err: str) -> str:
    """The last line is the error's; what comes before are units that were built."""
    assert "Traceback" not in err
    *told, last = err.splitlines()
    assert last.startswith("vita-data build: ")
    assert all("/8: " in line or "episodes/s" in line for line in told), err
    return last


@pytest.mark.parametrize("group", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_workers_end_with_a_killed_build_and_the_next_one_finishes(
    raw: Path, undisturbed: Path, tmp_path: Path, group: bool
) -> None:
    run = Run.start("libero", raw, tmp_path, "--workers", 2)
    assert wait_until(lambda: num_records(tmp_path / "libero") >= 1)
    assert len(run.alive()) >= 3
    run.kill(group=group)

    assert wait_until(lambda: not run.alive()), run.alive()
    assert build(request("libero", raw, tmp_path)).state is BuildState.BUILT
    assert contents(tmp_path) == contents(undisturbed)


def test_an_interrupt_is_one_line_and_ends_the_workers(raw: Path, undisturbed: Path, tmp_path: Path) -> None:
    """As a terminal does it: every process of the group gets the signal, while they start and while they work."""
    for num_units in (0, 1):
        run = Run.start("libero", raw, tmp_path, "--workers", 2)
        assert wait_until(lambda run=run: len(run.alive()) >= 3)
        assert wait_until(lambda wanted=num_units: num_records(tmp_path / "libero") >= wanted)
        os.killpg(run.process.pid, signal.SIGINT)
        code, _, err = run.end()

        assert code == 1
        assert "interrupted" in one_line(err)
        assert wait_until(lambda run=run: not run.alive()), run.alive()
    assert build(request("libero", raw, tmp_path)).state is BuildState.BUILT
    assert contents(tmp_path) == contents(undisturbed)


def test_leftovers_of_a_kill_do_not_wait_for_the_end(raw: Path, undisturbed: Path, tmp_path: Path) -> None:
    """They would fill the disk; those of units that another share builds stay."""
    folder = shutil.copytree(undisturbed, tmp_path / "out") / "libero"
    (folder / ".build" / "unit-000001.json").unlink()
    own = folder / "train" / ".libero-train-000001.tar.0123456789ab.tmp"
    other = folder / "train" / ".libero-train-000002.tar.0123456789ab.tmp"
    own.write_bytes(b"half")
    other.write_bytes(b"half")
    share = Share(rank=1, num_ranks=2)

    class StoppedError(Exception):
        pass

    def stop(started: object) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        build(request("libero", raw, tmp_path / "out"), share=share, listeners=Listeners(on_start=stop))
    assert not own.exists()
    assert other.exists()


def test_records_without_a_plan_are_not_trusted(raw: Path, undisturbed: Path, tmp_path: Path) -> None:
    """They may come from a build with other settings."""
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    (tmp_path / "libero" / ".build" / "plan.json").unlink()
    made = []
    asked = request("libero", raw, tmp_path)
    build(asked, listeners=Listeners(on_unit=made.append))

    assert len(made) == 8
    assert contents(tmp_path) == contents(undisturbed)


def test_a_build_whose_plan_was_removed_leaves_nothing_to_one_with_other_settings(
    raw: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    shutil.copytree(undisturbed, out)
    (out / "libero" / ".build" / "plan.json").unlink()
    other = replace(request("libero", raw, out), settings=load("libero").Settings(unit_bytes=1 << 30, min_frames=14))

    build(other)
    build(replace(other, out=fresh))
    assert contents(out) == contents(fresh)


def test_a_build_with_other_settings_that_takes_the_output_ends_this_one(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object store has no lock that would refuse the second."""
    monkeypatch.setattr("fcntl.flock", lambda *arguments: None)
    asked = request("libero", raw, tmp_path)
    other = replace(asked, settings=load("libero").Settings(unit_bytes=1, min_frames=14))
    plan = tmp_path / "libero" / ".build" / "plan.json"

    def take(done: UnitDone) -> None:
        if done.num_done == 2:
            plan.unlink()
            build(replace(other, limit=1))

    with pytest.raises(RequestError, match=r"another build.* has meanwhile replaced this one"):
        build(asked, listeners=Listeners(on_unit=take))
    assert not verify(tmp_path / "libero").problems
    plan.unlink()
    build(asked)
    assert not verify(tmp_path / "libero").problems


def test_a_record_of_another_plan_is_not_trusted(raw: Path, undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "libero" / ".build" / "unit-000003.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "plan": "0" * 64}))
    made: list[UnitDone] = []
    build(request("libero", raw, tmp_path), listeners=Listeners(on_unit=made.append))

    assert [done.record.number for done in made] == [3]
    assert contents(tmp_path) == contents(undisturbed)


@contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[None]:
    """Mount a disk of a few bytes; skipped where this user may not."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "vita-test", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"a disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk_is_one_line_and_a_larger_one_lets_the_same_command_finish(
    raw: Path, undisturbed: Path, tmp_path: Path, workers: int
) -> None:
    disk = tmp_path / "disk"
    whole = sum(len(data) for data in contents(undisturbed).values())
    with small_disk(disk, whole // 2):
        code, _, err = run_build("libero", raw, disk, "--workers", workers)

        assert code == 1
        line = one_line(err)
        assert "No space left" in line
        assert "run the same command again" in line
        assert 0 < num_records(disk / "libero") < 8
        subprocess.run(["mount", "-o", f"remount,size={4 * whole}", str(disk)], check=True)
        code, _, err = run_build("libero", raw, disk, "--workers", workers)
        assert code == 0, err
        assert contents(disk) == contents(undisturbed)


def test_a_full_disk_of_temporary_files_is_one_line(
    raw: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", 16 << 10), monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path / "disk"))
        patch.setattr("vita_data.normalize.spool.Spool.__init__.__defaults__", (1,))
        with pytest.raises(StorageError, match="TMPDIR") as caught:
            build(request("libero", raw, tmp_path / "out"))
    assert "\n" not in str(caught.value)
    build(request("libero", raw, tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(undisturbed)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_raw_tree_that_vanishes_is_no_failure_of_its_files(
    raw: Path, undisturbed: Path, tmp_path: Path, workers: int
) -> None:
    """Renamed away after the first unit: the units under way and those to come meet an absent tree."""
    here, away = shutil.copytree(raw, tmp_path / "raw"), tmp_path / "away"

    def vanish(done: object) -> None:
        if here.exists():
            here.rename(away)

    with pytest.raises(StorageError, match=r"restore it \(is a mount lost\?\)") as caught:
        build(
            request("libero", here, tmp_path / "out"),
            engine=LocalEngine(workers=workers),
            listeners=Listeners(on_unit=vanish),
        )
    assert str(here) in str(caught.value)
    assert "\n" not in str(caught.value)
    away.rename(here)
    after = build(request("libero", here, tmp_path / "out"))
    assert after.failed == ()
    assert contents(tmp_path / "out") == contents(undisturbed)


def test_a_raw_tree_that_vanishes_inside_a_unit_commits_nothing(raw: Path, undisturbed: Path, tmp_path: Path) -> None:
    """One unit of all parts: the later files are gone when they are opened."""
    here, away = shutil.copytree(raw, tmp_path / "raw"), tmp_path / "away"
    asked = request("libero", here, tmp_path / "out")
    asked = replace(asked, settings=replace(asked.settings, unit_bytes=1 << 40))

    def vanish(progress: object) -> None:
        if here.exists():
            here.rename(away)

    with pytest.raises(StorageError, match=r"restore it \(is a mount lost\?\)"):
        build(asked, listeners=Listeners(on_progress=vanish))
    assert num_records(tmp_path / "out" / "libero") == 0
    away.rename(here)
    assert build(asked).failed == ()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_output_that_vanishes_ends_the_build(raw: Path, undisturbed: Path, tmp_path: Path, workers: int) -> None:
    out, away = tmp_path / "out", tmp_path / "away"

    def vanish(done: object) -> None:
        if not away.exists():
            out.rename(away)

    with pytest.raises(StorageError) as caught:
        build(request("libero", raw, out), engine=LocalEngine(workers=workers), listeners=Listeners(on_unit=vanish))
    assert "\n" not in str(caught.value)
    shutil.rmtree(out, ignore_errors=True)
    away.rename(out)
    build(request("libero", raw, out))
    assert contents(out) == contents(undisturbed)


def test_an_output_that_cannot_be_written_is_one_line(raw: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 1 << 20):
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        code, out, err = run_build("libero", raw, disk)

    assert (code, out) == (1, "")
    assert "Read-only file system" in one_line(err)


def test_bad_parts_fail_and_the_rest_is_built(raw: Path, undisturbed: Path, tmp_path: Path) -> None:
    """One truncated, one with a flipped header, under two workers; mended files are taken on request."""
    here = shutil.copytree(raw, tmp_path / "raw")
    first, second, *_ = sorted(here.rglob("*.hdf5"))
    good = {path: path.read_bytes() for path in (first, second)}
    first.write_bytes(good[first][: len(good[first]) // 2])
    second.write_bytes(b"rubbish!" + good[second][8:])
    code, _, err = run_build("libero", here, tmp_path / "out", "--workers", 2)
    told = [line for line in err.splitlines() if "failed: part" in line]

    assert code == 1
    assert "Traceback" not in err
    assert {path.name for path in (first, second)} == {Path(line.split("part ")[1].split(",")[0]).name for line in told}
    assert num_records(tmp_path / "out" / "libero") == 8
    for path, data in good.items():
        path.write_bytes(data)
    assert build(request("libero", here, tmp_path / "out", retry_failed=True)).failed == ()
    assert contents(tmp_path / "out") == contents(undisturbed)


def test_one_build_at_a_time_but_shares_together(raw: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Between processes; see test_build for the same inside one."""
    plain = Run.start("libero", raw, tmp_path / "plain", "--workers", 1)
    assert wait_until((tmp_path / "plain" / "libero" / ".build" / "plan.json").exists)
    plain.process.send_signal(signal.SIGSTOP)
    asked = request("libero", raw, tmp_path / "plain")
    for share in (None, Share(rank=0, num_ranks=2)):
        with pytest.raises(RequestError, match="another build is writing to it"):
            build(asked, share=share)
    plain.process.send_signal(signal.SIGCONT)
    assert plain.end()[0] == 0

    shares = [
        Run.start("libero", raw, tmp_path / "shared", "--rank", rank, "--num-ranks", 2, "--workers", 1)
        for rank in range(2)
    ]
    assert [share.end()[0] for share in shares] == [0, 0]
    assert build(request("libero", raw, tmp_path / "shared")).state is BuildState.BUILT
    for made in ("plain", "shared"):
        assert contents(tmp_path / made) == contents(undisturbed)


def test_a_reader_that_hangs_up_does_not_hang_the_build(raw: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Standard error goes to a pipe that nobody reads any more: the build may stop, but not wait."""
    run = Run.start("libero", raw, tmp_path, "--workers", 2)
    assert run.process.stderr is not None
    assert run.process.stdout is not None
    run.process.stderr.close()
    run.process.stdout.close()
    run.process.wait(timeout=120)

    assert wait_until(lambda: not run.alive())
    build(request("libero", raw, tmp_path))
    assert contents(tmp_path) == contents(undisturbed)


@pytest.mark.parametrize("outcome", ["dropped", "failed"])
def test_an_episode_that_is_given_up_late_leaves_nothing_in_its_shard(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """Its last clip cannot be made after the others were written; against one that is given up before the first."""
    monkeypatch.setattr("vita_data.normalize.episode.MAX_CLIP_S", 1.0)

    def give_up(episode: Episode) -> None:
        if outcome == "failed":
            raise EpisodeError(f"{episode.id}: gone")
        raise EpisodeDroppedError(Drop(episode=episode.id, reason=Reason.UNDECODABLE, detail="gone"))

    def made(folder: Path, *, late: bool) -> dict[str, bytes]:
        num_written = 0

        def clips(episode: Episode, *rest: Any) -> Iterator[Clip]:
            nonlocal num_written
            all_clips = list(iter_clips(episode, *rest))
            bad = episode.id.endswith("demo_1")
            for clip in all_clips[:-1] if bad and late else [] if bad else all_clips:
                num_written += bad
                yield clip
            if bad:
                give_up(episode)

        with monkeypatch.context() as patch:
            patch.setattr("vita_data.builder.unit.iter_clips", clips)
            build(request("libero", raw, folder))
        assert (num_written >= 8) == late
        return contents(folder)

    late = made(tmp_path / "late", late=True)
    assert late == made(tmp_path / "early", late=False)
    rows = pq.read_table(tmp_path / "late" / "libero" / "episodes.parquet").to_pylist()
    assert Counter(row["outcome"] for row in rows) == {"ok": 24, outcome: 8}
    assert verify(tmp_path / "late" / "libero").problems == ()


@pytest.mark.parametrize(("name", "kind"), [("bridge", "*tfrecord*"), ("libero", "*.hdf5"), ("ssv2", "*.webm")])
def test_a_link_to_nothing_costs_its_own_episodes(name: str, kind: str, toy_raw: Path, tmp_path: Path) -> None:
    tree = shutil.copytree(toy_raw / name, tmp_path / "raw")
    gone = min(Path(tree).rglob(kind))
    gone.unlink()
    gone.symlink_to(tmp_path / "nowhere")
    failed = build(request(name, tree, tmp_path)).failed
    assert failed
    assert {row.part for row in failed} == {str(gone.relative_to(tree))}
    assert not verify(tmp_path / name).problems


def test_a_file_that_may_not_be_read_ends_the_build_and_is_not_called_damaged(
    toy_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = h5py.File

    def refused(path: Any, mode: str, **options: Any) -> h5py.File:
        if "KITCHEN" in str(getattr(path, "name", path)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return opened(path, mode, **options)

    monkeypatch.setattr("h5py.File", refused)
    said = (
        r"cannot open .*KITCHEN.*\.hdf5: permission denied; change its permissions .*, then run the same command again"
    )
    with pytest.raises(StorageError, match=said):
        build(request("libero", toy_raw / "libero", tmp_path))
    monkeypatch.undo()
    assert build(request("libero", toy_raw / "libero", tmp_path)).failed == ()


@pytest.mark.parametrize("name", ["bridge", "libero", "ssv2"])
def test_a_lack_of_file_handles_is_no_fault_of_a_file(name: str, toy_raw: Path) -> None:
    source = load(name)
    settings, tree = source.Settings(), FsspecTree(str(toy_raw / name))
    planned = PlannedPart(part=source.parts(tree, settings)[0])
    asked = request(name, toy_raw / name, Path("unused"))
    assert list(part_outcomes(source, tree, planned, asked))  # what is imported on demand is open
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    try:
        with pytest.raises((StorageError, OSError), match=r"Too many open files|errno = 24"):
            list(part_outcomes(source, tree, planned, asked))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_damaged_size_costs_the_file_and_not_the_run(toy_raw: Path, tmp_path: Path) -> None:
    def ask_for_petabytes(*arguments: object) -> Iterator[Outcome]:
        np.empty((1 << 50,), np.float64)
        yield from ()

    source = load("libero")
    part = source.parts(FsspecTree(str(toy_raw / "libero")), source.Settings())[0]
    damaged = SimpleNamespace(INFO=source.INFO, Settings=source.Settings, episodes=ask_for_petabytes)
    asked = request("libero", toy_raw / "libero", tmp_path)
    tree = FsspecTree(str(toy_raw / "libero"))
    found = list(part_outcomes(damaged, tree, PlannedPart(part=part), asked))
    assert found
    assert all(isinstance(outcome, Failure) for outcome in found)


@pytest.mark.parametrize("num_announced", [None, 100_002])
def test_of_endless_bad_records_few_are_listed(num_announced: int | None, toy_raw: Path, tmp_path: Path) -> None:
    """Before, each record of 16 bytes took a row of the unit, until the build ended for lack of memory."""

    def bad_records(raw: object, part: Part, settings: object) -> Iterator[Outcome]:
        yield Drop(episode="first", reason=Reason.EMPTY, detail="")
        for number in range(100_000):
            yield Failure(episode=f"{part.id}#{number}", detail="cannot be read")
        yield Drop(episode="last", reason=Reason.EMPTY, detail="")

    source = load("libero")
    damaged = SimpleNamespace(INFO=source.INFO, Settings=source.Settings, episodes=bad_records)
    asked, tree = request("libero", toy_raw / "libero", tmp_path), FsspecTree(str(toy_raw / "libero"))
    part = Part(id="a.hdf5", num_bytes=1, num_episodes=num_announced)
    found = list(part_outcomes(damaged, tree, PlannedPart(part=part), asked))
    assert len(found) == 10_003
    assert isinstance(found[0], Drop)
    assert isinstance(found[-1], Drop)  # what comes after them is not lost
    assert isinstance(found[-2], Failure)
    assert found[-2].episode == "a.hdf5#10001-100000"
    assert found[-2].detail.startswith("a.hdf5: 100,000 episodes in a row cannot be read; only the first 10,000 are ")


@pytest.mark.parametrize("lost", [Drop, Failure])
def test_the_table_of_episodes_keeps_no_megabytes_of_a_stranger(lost: type[Drop] | type[Failure]) -> None:
    told: dict[str, Any] = {"reason": Reason.EMPTY} if lost is Drop else {}
    row = _lost_row(lost(episode="a", detail="text " + "y" * 5_000_000, **told), "part", "")
    assert row.detail.startswith("text yyy")
    assert len(row.detail) < 4100
