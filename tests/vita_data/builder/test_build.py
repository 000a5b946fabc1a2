"""A build may be killed, repeated, spread and limited; its bytes and its count of episodes do not change."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from vita_data.builder import BuildRequest, LocalEngine, Share, build, status
from vita_data.builder.finish import finish
from vita_data.builder.plan import cut_units, group_parts
from vita_data.builder.records import EpisodeRow, UnitRecord
from vita_data.builder.run import BuildState, _held
from vita_data.config.settings import describe_settings, parse_settings
from vita_data.errors import RequestError
from vita_data.normalize import FrameSelection
from vita_data.shards.verify import verify
from vita_data.sources import load
from vita_data.types import Episode, EpisodeOutcome, Outcome, Part, RawTree, ResizeMode


def request(name: str, raw: Path, out: Path, **changes: object) -> BuildRequest:
    # One byte a unit: every part is a unit of its own.
    settings = load(name).Settings(unit_bytes=1)
    made = BuildRequest(source=name, raw=str(raw), out=out, settings=settings)
    return replace(made, **changes)  # type: ignore[arg-type]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rows(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pq.read_table(folder / "episodes.parquet").to_pylist()
    return found


def copy_tree(source: Path, target: Path) -> Path:
    for path in source.rglob("*"):
        if path.is_file():
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(path.read_bytes())
    return target


def test_workers_change_no_byte(toy_raw: Path, tmp_path: Path) -> None:
    build(request("ssv2", toy_raw / "ssv2", tmp_path / "one"))
    build(request("ssv2", toy_raw / "ssv2", tmp_path / "two"), engine=LocalEngine(workers=2))

    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(list((tmp_path / "one").rglob("*.tar"))) > 2


def test_a_killed_build_goes_on_and_ends_in_the_same_bytes(toy_raw: Path, tmp_path: Path) -> None:
    build(request("bridge", toy_raw / "bridge", tmp_path / "whole"))
    command = [
        sys.executable,
        "-m",
        "vita_data.cli.main",
        "build",
        "--source",
        "bridge",
        "--raw",
        str(toy_raw / "bridge"),
        "--out",
        str(tmp_path / "killed"),
        "--workers",
        "1",
        "--set",
        "unit_bytes=1",
    ]
    folder = tmp_path / "killed" / "bridge"
    num_kills = 0
    for _ in range(20):
        before = len(list((folder / ".build").glob("unit-*.json")))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list((folder / ".build").glob("unit-*.json"))) == before:
            time.sleep(0.002)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            num_kills += 1
        process.wait()
        if (folder / "dataset.json").exists():
            break
    build(request("bridge", toy_raw / "bridge", tmp_path / "killed"))

    assert num_kills >= 1
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_leftovers_of_a_crash_are_never_taken_for_shards(toy_raw: Path, tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    build(request("ssv2", toy_raw / "ssv2", whole))
    build(request("ssv2", toy_raw / "ssv2", torn))
    folder = torn / "ssv2"
    for name in ("stats.json", "dataset.json", ".build/unit-000001.json"):
        (folder / name).unlink()
    (folder / "train" / ".ssv2-train-000001.tar.99.tmp").write_bytes(b"half")

    assert build(request("ssv2", toy_raw / "ssv2", torn)).state is BuildState.BUILT
    assert contents(torn) == contents(whole)


def test_a_second_build_does_nothing_and_says_so(toy_raw: Path, tmp_path: Path) -> None:
    asked = request("libero", toy_raw / "libero", tmp_path)
    build(asked)
    before = contents(tmp_path)

    assert build(asked).state is BuildState.ALREADY_DONE
    assert contents(tmp_path) == before


def test_a_finished_build_that_cannot_be_written_to_is_done(
    toy_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request("libero", toy_raw / "libero", tmp_path)
    build(asked)
    opened = Path.open

    def read_only(path: Path, mode: str = "r", **arguments: Any) -> Any:
        if mode != "rb":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, mode, **arguments)

    monkeypatch.setattr(Path, "open", read_only)
    assert build(asked).state is BuildState.ALREADY_DONE


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"settings": load("libero").Settings(unit_bytes=1, min_frames=20)},
            r"--set min_frames=13 \(the default\), but this build asks for --set min_frames=20",
        ),
        ({"frames": FrameSelection.ALL}, "built with --frames keyframes, but this build asks for --frames all"),
        ({"limit": 3}, "already contains all 8 raw episodes; the smaller --limit 3"),
    ],
)
def test_other_settings_are_refused_by_name(
    toy_raw: Path, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    asked = request("libero", toy_raw / "libero", tmp_path)
    build(asked)

    with pytest.raises(RequestError, match=named):
        build(replace(asked, **change))  # type: ignore[arg-type]


def test_another_raw_tree_is_refused_by_its_first_part(toy_raw: Path, tmp_path: Path) -> None:
    raw = copy_tree(toy_raw / "libero", tmp_path / "raw")
    build(request("libero", raw, tmp_path / "out"))
    first = min(raw.rglob("*.hdf5"))
    first.write_bytes(first.read_bytes() + b"\0")

    with pytest.raises(RequestError, match=rf"1 file is of another size \({re.escape(str(first.relative_to(raw)))}\)"):
        build(request("libero", raw, tmp_path / "out"))


def test_a_folder_with_something_else_in_it_is_not_touched(toy_raw: Path, tmp_path: Path) -> None:
    (tmp_path / "libero").mkdir()
    (tmp_path / "libero" / "thesis.txt").write_text("do not lose")

    with pytest.raises(RequestError, match="not empty"):
        build(request("libero", toy_raw / "libero", tmp_path))


def test_limit_takes_the_first_raw_episodes(toy_raw: Path, tmp_path: Path) -> None:
    build(request("bridge", toy_raw / "bridge", tmp_path / "all"))
    build(request("bridge", toy_raw / "bridge", tmp_path / "some", limit=4))

    everything, some = rows(tmp_path / "all" / "bridge"), rows(tmp_path / "some" / "bridge")
    assert [row["id"] for row in some] == [row["id"] for row in everything[:4]]


def test_all_frames_stores_every_row(toy_raw: Path, tmp_path: Path) -> None:
    build(request("bridge", toy_raw / "bridge", tmp_path, frames=FrameSelection.ALL))

    good = [row for row in rows(tmp_path / "bridge") if row["outcome"] == "ok"]
    assert [row["num_frames"] for row in good] == [row["num_steps"] for row in good]


def test_what_was_not_stored_has_a_release_too(toy_raw: Path, tmp_path: Path) -> None:
    for name in ("bridge", "ssv2"):
        build(request(name, toy_raw / name, tmp_path))
        (release,) = json.loads((tmp_path / name / "dataset.json").read_text())["release"]
        found = rows(tmp_path / name)
        assert "dropped" in {row["outcome"] for row in found}
        assert {row["release"] for row in found} == {release}


def test_what_a_reader_refused_has_no_release_where_a_source_has_several(tmp_path: Path) -> None:
    def listed(*releases: str) -> list[object]:
        episodes = [
            EpisodeRow(id=f"{n}", part="p", outcome=EpisodeOutcome.OK, release=r) for n, r in enumerate(releases)
        ]
        refused = EpisodeRow(id="x", part="p", outcome=EpisodeOutcome.DROPPED, reason="short")
        record = UnitRecord(number=0, plan="p", episodes=(*episodes, refused), shards=())
        finish(
            tmp_path, load("bridge").INFO, {"settings": {}, "frames": "all", "limit": None, "versions": {}}, [record]
        )
        return [row["release"] for row in rows(tmp_path)]

    assert listed("one", "one") == ["one"] * 3
    assert listed("one", "two") == ["one", "two", ""]
    assert listed() == [""]


def test_status_tells_how_far_a_build_is(toy_raw: Path, tmp_path: Path) -> None:
    build(request("ssv2", toy_raw / "ssv2", tmp_path))
    (tmp_path / "ssv2" / ".build" / "unit-000000.json").unlink()

    found = status(tmp_path / "ssv2")
    assert not found.finished
    assert found.num_done == found.num_units - 1


def test_damage_costs_only_what_is_damaged(toy_raw: Path, tmp_path: Path) -> None:
    """A truncated tfrecord, video and HDF5 file: their episodes fail, the rest is as it would have been."""
    for name, pattern in (("bridge", "*train.tfrecord-00000*"), ("ssv2", "*.webm"), ("libero", "*.hdf5")):
        raw = copy_tree(toy_raw / name, tmp_path / "raw" / name)
        victim = min(raw.rglob(pattern))
        victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
        result = build(request(name, raw, tmp_path / "out"))
        build(request(name, toy_raw / name, tmp_path / "good"))

        damaged, good = rows(tmp_path / "out" / name), rows(tmp_path / "good" / name)
        part = str(victim.relative_to(raw))
        assert result.failed
        assert {row.part for row in result.failed} == {part}
        assert all(victim.name in row.detail for row in result.failed)
        assert [row for row in damaged if row["part"] != part] == [row for row in good if row["part"] != part]
        counts = result.card["outcomes"]
        assert isinstance(counts, dict)
        assert sum(counts.values()) == len(damaged)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: next(raw.rglob("*.hdf5")).unlink(), r": 1 file is missing \(.*hdf5\)"),
        (lambda raw: shutil.copy(file := next(raw.rglob("*.hdf5")), file.with_name("new_demo.hdf5")),
         r": 1 file is new \(.*new_demo\.hdf5\)"),
    ],
)  # fmt: skip
def test_raw_files_that_came_or_went_are_named(
    change: Callable[[Path], object], said: str, toy_raw: Path, toy_shards: Path, tmp_path: Path
) -> None:
    raw, out = copy_tree(toy_raw / "libero", tmp_path / "raw"), tmp_path / "out"
    copy_tree(toy_shards / "libero", out / "libero")
    change(raw)
    told = rf"raw data in --raw {raw} differs.*{said}\. Restore the raw data, or build into .* --out$"
    with pytest.raises(RequestError, match=told) as raised:
        build(request("libero", raw, out, settings=load("libero").Settings()))
    assert not set("[]") & set(str(raised.value))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frames": FrameSelection.ALL}, "with --frames keyframes, but this build asks for --frames all;"),
        ({"settings": load("libero").Settings(min_frames=14)},
         r"with --set min_frames=13 \(the default\), but this build asks for --set min_frames=14;"),
    ],
)  # fmt: skip
def test_other_settings_are_named_as_they_are_given(
    changes: dict[str, object], said: str, toy_raw: Path, toy_shards: Path
) -> None:
    with pytest.raises(RequestError, match=said):
        build(request("libero", toy_raw / "libero", toy_shards, **changes))


def test_failed_units_are_tried_again_on_request(toy_raw: Path, tmp_path: Path) -> None:
    raw = copy_tree(toy_raw / "ssv2", tmp_path / "raw")
    victim = min(raw.rglob("*.webm"))
    good = victim.read_bytes()
    victim.write_bytes(good[: len(good) // 2] + bytes(len(good) - len(good) // 2))
    asked = request("ssv2", raw, tmp_path / "out")
    assert build(asked).failed
    assert build(asked).state is BuildState.ALREADY_DONE
    assert build(asked).failed
    victim.write_bytes(good)

    again = build(replace(asked, retry_failed=True))
    assert again.failed == ()
    build(request("ssv2", toy_raw / "ssv2", tmp_path / "good"))
    assert contents(tmp_path / "out") == contents(tmp_path / "good")


def test_units_fill_by_bytes_or_episodes_and_never_split_a_part() -> None:
    parts = [Part(id=f"{number}", num_bytes=40, num_episodes=400) for number in range(700)]

    by_bytes = group_parts(parts, unit_bytes=100)
    assert by_bytes[:3] == (("0", "1", "2"), ("3", "4", "5"), ("6", "7", "8"))
    assert len(by_bytes) == 234
    assert {len(ids) for ids in group_parts(parts, unit_bytes=1 << 40)[:-1]} == {3}


def test_a_small_source_has_units_for_many_cores_and_a_tiny_one_has_one() -> None:
    def sizes(num_parts: int, num_bytes: int, num_episodes: int | None) -> list[int]:
        parts = [Part(id=f"{number}", num_bytes=num_bytes, num_episodes=num_episodes) for number in range(num_parts)]
        return [len(ids) for ids in group_parts(parts, unit_bytes=2 << 30)]

    assert sizes(300, 50_000, 1) == [16] * 18 + [12]
    assert sizes(15, 50_000, 1) == [15]
    assert sizes(300, 1 << 20, None) == [32] * 9 + [12]
    # large sources as ever: 2 GiB, or 1,000 episodes, and the part that passes it
    assert sizes(4000, 64 << 20, None)[:-1] == [33] * 121
    assert sizes(200_000, 100_000, 1)[:-1] == [1001] * 199


def test_a_limit_cuts_units_and_does_not_group_them_anew() -> None:
    parts = [Part(id=f"{number}", num_bytes=40, num_episodes=None if number == 5 else 4) for number in range(7)]
    grouping = group_parts(parts, unit_bytes=100)

    def cut(limit: int | None) -> list[tuple[int | None, list[int | None]]]:
        units = cut_units(parts, grouping, limit=limit)
        return [(unit.limit, [planned.limit for planned in unit.parts]) for unit in units]

    whole = (None, [None, None, None])
    assert cut(None) == [whole, whole, (None, [None])]
    assert cut(12) == [whole]
    assert cut(10) == [(10, [None, None, 2])]
    assert cut(17) == [whole, (5, [None, 1])]
    assert cut(30) == [whole, (18, [None, None, 10])]


def test_settings_come_from_text_with_their_types() -> None:
    settings = parse_settings(load("ssv2").Settings, ["min_frames=3", "resize=plain", "hz=10"], source="ssv2")

    assert (settings.min_frames, settings.resize, settings.hz) == (3, ResizeMode.PLAIN, 10.0)
    assert json.dumps(describe_settings(load("ssv2").Settings))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("min_frame=3", "did you mean 'min_frames'"),
        ("min_frames=many", "expected a whole number, found 'many'"),
        ("min_frames", "expected KEY=VALUE"),
        ("hz=inf", "--set hz=inf: expected a finite number, found 'inf'"),
        ("hz=1e999", "expected a finite number"),
        ("resize=zoom", r"expected plain\|center_crop"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_settings(load("bridge").Settings, [text], source="bridge")


def test_a_file_fetched_again_may_have_another_size_when_failed_units_are_tried_again(
    toy_raw: Path, tmp_path: Path
) -> None:
    raw = copy_tree(toy_raw / "ssv2", tmp_path / "raw")
    victim, other = sorted(raw.rglob("*.webm"))[:2]
    good, good_other = victim.read_bytes(), other.read_bytes()
    victim.write_bytes(good[:2000])
    asked = request("ssv2", raw, tmp_path / "out")
    assert build(asked).failed
    victim.write_bytes(good)
    said = rf"{victim.name} has changed since the build \(2,000 bytes then, {len(good):,} now\).*with --retry-failed$"
    with pytest.raises(RequestError, match=said):
        build(asked)
    other.write_bytes(good_other + b"0")
    said = (
        rf"raw data in --raw {raw} differs from the raw data that .*/ssv2 was built from: 2 files are of another size"
    )
    for retry_failed in (False, True):
        with pytest.raises(RequestError, match=said):
            build(replace(asked, retry_failed=retry_failed))
    other.write_bytes(good_other)

    assert build(replace(asked, retry_failed=True)).failed == ()
    assert build(asked).state is BuildState.ALREADY_DONE
    build(request("ssv2", toy_raw / "ssv2", tmp_path / "good"))
    assert contents(tmp_path / "out") == contents(tmp_path / "good")


def test_a_retry_that_stops_before_the_statistics_does_not_leave_the_old_ones(
    toy_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = copy_tree(toy_raw / "bridge", tmp_path / "raw")
    victim = min(raw.rglob("*train.tfrecord-00000*"))
    good = victim.read_bytes()
    victim.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    asked = request("bridge", raw, tmp_path / "out")
    assert build(asked).failed
    victim.write_bytes(good)

    def stop(index: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vita_data.builder.finish.compute_stats", stop)
        with pytest.raises(KeyboardInterrupt):
            build(replace(asked, retry_failed=True))
    assert not status(tmp_path / "out" / "bridge").finished
    build(asked)
    build(request("bridge", toy_raw / "bridge", tmp_path / "good"))
    assert contents(tmp_path / "out") == contents(tmp_path / "good")


@pytest.mark.parametrize("lost", ["tar", "arrow", "record", "card", "stats", "episodes"])
def test_what_is_lost_afterwards_is_built_again(toy_raw: Path, tmp_path: Path, lost: str) -> None:
    asked = request("ssv2", toy_raw / "ssv2", tmp_path)
    build(asked)
    before = contents(tmp_path)
    folder = tmp_path / "ssv2"
    path = {
        "tar": min(folder.rglob("*.tar")),
        "arrow": min(folder.rglob("*.arrow")),
        "record": folder / ".build" / "unit-000002.json",
        "card": folder / "dataset.json",
        "stats": folder / "stats.json",
        "episodes": folder / "episodes.parquet",
    }[lost]
    path.write_bytes(b"") if lost == "record" else path.unlink()

    assert build(asked).state is BuildState.BUILT
    assert contents(tmp_path) == before


def test_damage_behind_the_announced_records_is_a_failure_of_its_own(toy_raw: Path, tmp_path: Path) -> None:
    raw = copy_tree(toy_raw / "bridge", tmp_path / "raw")
    victim = min(raw.rglob("*train.tfrecord-00000*"))
    victim.write_bytes(victim.read_bytes() + b"rubbish" * 50)
    result = build(request("bridge", raw, tmp_path))

    assert [row.id for row in result.failed] == [str(victim.relative_to(raw))]


def test_two_builds_on_one_output_are_refused(toy_raw: Path, tmp_path: Path) -> None:
    asked = request("ssv2", toy_raw / "ssv2", tmp_path)
    share = Share(rank=0, num_ranks=2)
    with _held(asked.folder, None):
        for refused in (None, share):
            with pytest.raises(RequestError, match="another build is writing to it"):
                build(asked, share=refused)
    with _held(asked.folder, Share(rank=1, num_ranks=2)):
        with pytest.raises(RequestError, match="another build is writing to it"):
            build(asked)
        assert build(asked, share=share).state is BuildState.SHARE_BUILT

    assert build(asked).state is BuildState.BUILT


def test_a_kill_before_the_plan_is_written_does_not_block_the_next_build(toy_raw: Path, tmp_path: Path) -> None:
    asked = request("ssv2", toy_raw / "ssv2", tmp_path)
    (asked.folder / ".build").mkdir(parents=True)
    (asked.folder / ".build" / ".plan.json.123.tmp").write_bytes(b"{")

    assert build(asked).state is BuildState.BUILT
    assert not list(asked.folder.rglob("*.tmp"))


def test_a_raw_tree_with_special_characters_in_its_path_builds(toy_raw: Path, tmp_path: Path) -> None:
    raw = copy_tree(toy_raw / "bridge", tmp_path / "br [x] ü")
    build(request("bridge", raw, tmp_path / "one"))
    build(request("bridge", toy_raw / "bridge", tmp_path / "two"))

    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("text", ["hz=-1", "hz=nan", "hz=0", "frames_quality=0", "min_frames=-5", "unit_bytes=0"])
def test_settings_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match=text.split("=")[0]):
        parse_settings(load("bridge").Settings, [text], source="bridge")


@pytest.mark.parametrize("address", ["foo://x", "s3://", "s3:/bucket/x", "memory://x", "http://127.0.0.1:9/x"])
def test_an_address_that_cannot_be_read_is_a_bad_request(tmp_path: Path, address: str) -> None:
    with pytest.raises(RequestError, match="--raw"):
        build(replace(request("ssv2", tmp_path, tmp_path), raw=address))


def test_other_library_versions_refuse_to_build_what_is_missing_and_leave_a_finished_build_alone(
    toy_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request("ssv2", toy_raw / "ssv2", tmp_path)
    build(asked)
    monkeypatch.setattr("vita_data.builder.plan.codec_versions", lambda: {"numpy": "0.1"})

    assert build(asked).state is BuildState.ALREADY_DONE
    min((tmp_path / "ssv2").rglob("*.tar")).unlink()
    with pytest.raises(RequestError, match=r"was built with .*, and .* is installed now"):
        build(asked)


def test_a_unit_that_is_built_again_takes_away_a_shard_it_has_nothing_for(toy_raw: Path, tmp_path: Path) -> None:
    asked = request("bridge", toy_raw / "bridge", tmp_path)
    build(asked)
    (stray,) = {"train", "val"} - {path.parent.name for path in tmp_path.rglob("*-000000.tar")}
    for suffix in (".tar", ".arrow"):
        path = tmp_path / "bridge" / stray / f"bridge-{stray}-000000{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"of an earlier try")
    (tmp_path / "bridge" / ".build" / "unit-000000.json").unlink()

    assert build(asked).state is BuildState.BUILT
    assert verify(tmp_path / "bridge").problems == ()


def test_a_limit_takes_what_a_part_that_can_be_counted_again_lets_in(toy_raw: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(toy_raw / "libero", raw)
    first = sorted(raw.rglob("*.hdf5"))[0]
    whole = first.read_bytes()
    first.write_bytes(whole[:1000])
    asked = request("libero", raw, tmp_path / "out", limit=6)
    assert build(asked).failed
    first.write_bytes(whole)
    build(replace(asked, retry_failed=True))
    build(request("libero", toy_raw / "libero", tmp_path / "good", limit=6))
    for name in ("dataset.json", "stats.json", "episodes.parquet"):
        assert (tmp_path / "out/libero" / name).read_bytes() == (tmp_path / "good/libero" / name).read_bytes()


def test_an_id_that_occurs_twice_fails_the_second(
    toy_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the whole build ended when all of it was read."""
    libero = load("libero")
    read = libero.episodes

    def repeated(raw: RawTree, part: Part, settings: Any) -> Iterator[Outcome]:
        for outcome in read(raw, part, settings):
            assert isinstance(outcome, Episode)
            yield replace(outcome, id=outcome.id.replace("demo_1", "demo_0"))

    monkeypatch.setattr(libero, "episodes", repeated)
    result = build(request("libero", toy_raw / "libero", tmp_path))
    found = rows(tmp_path / "libero")
    failed = [row for row in found if row["outcome"] == "failed"]
    assert len(failed) == sum("demo_0" in str(row["id"]) for row in found if row["outcome"] == "ok") > 0
    assert all(re.search(r"the episode id '.*demo_0' occurs more than once", str(row["detail"])) for row in failed)
    assert len(result.failed) == len(failed)
    assert verify(tmp_path / "libero").problems == ()
