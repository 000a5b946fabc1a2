"""A reader that hangs, crashes, grows or exits costs its episode or part; everything else is built."""

import re
import signal
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.vita_data.builder import fussy
from tests.vita_data.builder.made import Run, contents, wait_until
from vita_data.builder import BuildRequest, BuildResult, Listeners, LocalEngine, WorkerLimits, build
from vita_data.builder.apart import run_job, value_of
from vita_data.builder.pool import WorkerPool
from vita_data.builder.run import BuildState
from vita_data.builder.worker import Answer, Job
from vita_data.errors import SourceError, WorkerError
from vita_data.shards.verify import verify

LIMITS = WorkerLimits(deadline_s=1.0, memory_bytes=600_000_000)
REASONS = {
    "hang": r"reading it was stopped after no progress for \d+ s \(--deadline 1\)",
    "crash": r"its reader crashed \(SIGSEGV\)",
    "grow": r"reading it takes more than the 0.6 GB that a worker may use \(--memory-mb\)",
    "exit": r"its reader ended the process with exit code 3",
}


def request(raw: Path, out: Path) -> BuildRequest:
    return BuildRequest(
        source="fussy", source_file=fussy.__file__, raw=str(raw), out=out, settings=fussy.Settings(unit_bytes=1 << 20)
    )


def tree(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def build_apart(raw: Path, out: Path) -> BuildResult:
    return build(request(raw, out), engine=LocalEngine(workers=1, limits=LIMITS))


def details(result: BuildResult) -> dict[str, str]:
    return {row.id: row.detail for row in result.failed}


@pytest.mark.parametrize("word", REASONS)
def test_an_episode_is_lost_where_it_is_known_and_else_the_rest_of_its_part(word: str, tmp_path: Path) -> None:
    raw = tree(tmp_path / "raw", a=f"ok late_{word} ok", b=f"ok {word} ok", c="ok")
    result = build_apart(raw, tmp_path / "out")

    found = details(result)
    assert sorted(found) == ["a.txt:1", "b.txt"]
    assert result.card is not None
    assert result.card["outcomes"] == {"failed": 2, "ok": 4}
    for id_, detail in found.items():
        assert re.fullmatch(rf"{id_}: {REASONS[word]}; the file is damaged, fetch it again", detail), detail


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells and limits it")
def test_no_library_reserves_most_of_the_memory_that_a_worker_may_use() -> None:
    """Arrow's allocator reserved a gigabyte: large episodes were refused once a unit was written."""
    with closing(WorkerPool(1, WorkerLimits())) as pool:
        answer = run_job(pool, Job(function=fussy.reserved_bytes, argument=None))
    assert isinstance(answer, Answer)
    assert value_of(answer) < 300_000_000


def test_what_libraries_print_about_a_file_does_not_reach_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """They quote it: the name of a PNG's colour profile could move the cursor."""
    raw = tree(tmp_path / "raw", a="ok late_print ok")
    assert not build_apart(raw, tmp_path / "out").failed
    assert capfd.readouterr() == ("", "a word of the source's author\n")


def test_the_other_episodes_have_the_bytes_that_they_have_without_it(tmp_path: Path) -> None:
    """The lost one is in the middle, so that clips before it are written twice and clips after it once."""
    good = build_apart(tree(tmp_path / "good", a="ok", b="ok ok"), tmp_path / "one")
    bad = build_apart(tree(tmp_path / "bad", a="ok crash", b="ok ok"), tmp_path / "two")

    assert [details(good), list(details(bad))] == [{}, ["a.txt"]]
    shards = [
        {name: data for name, data in contents(tmp_path / out).items() if name.endswith((".tar", ".arrow"))}
        for out in ("one", "two")
    ]
    assert shards[0] == shards[1] != {}
    assert not [name for name in contents(tmp_path / "two") if name.endswith(".tmp")]
    told = pl.read_parquet(tmp_path / "two" / "fussy" / "episodes.parquet")
    assert told.filter(pl.col("outcome") == "failed")["part"].to_list() == ["a.txt"]


@pytest.mark.parametrize("word", ["hang", "crash", "grow"])
def test_a_description_that_ends_its_reader_is_named(word: str, tmp_path: Path) -> None:
    raw = tree(tmp_path / "raw", a="ok")
    (raw / "index").write_text(word)
    with pytest.raises(SourceError, match=rf"^--raw {raw}, index: {REASONS[word]}; the file is damaged") as caught:
        build_apart(raw, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_progress_is_told_once_although_a_unit_is_built_again(tmp_path: Path) -> None:
    raw = tree(tmp_path / "raw", a="ok ok late_crash ok", b="ok")
    told: list[int] = []
    listeners = Listeners(on_progress=lambda progress: told.append(progress.num_episodes))
    build(request(raw, tmp_path / "out"), engine=LocalEngine(limits=LIMITS), listeners=listeners)
    assert sum(told) == 5


def test_a_place_that_ends_each_try_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vita_data.builder.apart.replace", lambda task, obstacles: task)
    raw = tree(tmp_path / "raw", a="ok crash")
    with pytest.raises(WorkerError, match="unit 0"):
        build_apart(raw, tmp_path / "out")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_is_heard_and_a_kill_leaves_no_worker_while_a_library_hangs(
    ending: signal.Signals, tmp_path: Path
) -> None:
    raw, out = tree(tmp_path / "raw", a="ok hang"), tmp_path / "out"
    run = Run.start(Path(fussy.__file__), raw, out, "--workers", 1)
    assert wait_until((out / "fussy" / "train").exists)
    assert any("spawn_main" in text for text in run.alive().values())
    run.process.send_signal(ending)
    code, _, err = run.end()

    assert code == (1 if ending is signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in err
    assert wait_until(lambda: not run.alive()), run.alive()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_id_of_an_earlier_unit_fails_and_the_build_is_whole(workers: int, tmp_path: Path) -> None:
    raw = tree(tmp_path / "raw", a="ok@x ok", b="ok ok@x", c="ok@x")
    asked = replace(request(raw, tmp_path / "out"), settings=fussy.Settings(unit_bytes=1))
    result = build(asked, engine=LocalEngine(workers=workers, limits=LIMITS))

    assert result.card is not None
    assert result.card["outcomes"] == {"failed": 2, "ok": 3}
    assert details(result) == {
        "b.txt#again-1": "b.txt: the episode id 'x' occurs more than once; only its first episode is stored",
        "c.txt#again-0": "c.txt: the episode id 'x' occurs more than once; only its first episode is stored",
    }
    assert not verify(tmp_path / "out" / "fussy").problems
    assert build(asked).state is BuildState.ALREADY_DONE
