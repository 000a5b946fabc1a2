"""A build that stores no clip says why and exits 1; what failed is told by cause."""

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from tests.vita_data.builder.made import contents
from vita_data import sources
from vita_data.builder import BuildRequest, build
from vita_data.builder.causes import by_cause, failure_lines
from vita_data.builder.drops import DROPS, why_nothing
from vita_data.builder.records import EpisodeRow
from vita_data.cli.main import main
from vita_data.types import EpisodeOutcome, Reason

ROOT = Path(__file__).parents[3]


def run(capsys: pytest.CaptureFixture[str], raw: Path, out: Path, *more: object) -> tuple[int, str, str]:
    asked = ("build", "--source", "ssv2", "--raw", raw, "--out", out, "--workers", 1, *more)
    code = main([str(argument) for argument in asked])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def row(outcome: EpisodeOutcome, reason: str = "", **more: str) -> EpisodeRow:
    return EpisodeRow(**{"id": "e", "part": "p", "outcome": outcome, "reason": reason, **more})  # type: ignore[arg-type]


def test_a_build_that_stores_nothing_exits_1_on_every_path_and_names_the_setting(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    told = (
        "vita-data build: ssv2: stored nothing: 8 dropped of 8 episodes, most (7) as 'short' (too few frames), "
        f"such as: 36 frames, at least 500 wanted (min_frames); --set min_frames=N (now 500) changes that: "
        f"remove {tmp_path}/ssv2 first, or give another --out"
    )
    raw, short = toy_raw / "ssv2", ("--set", "min_frames=500")
    code, out, err = run(capsys, raw, tmp_path, *short, "--rank", 0, "--num-ranks", 1)
    assert (code, "stored nothing" in out + err) == (0, False)
    code, out, err = run(capsys, raw, tmp_path, *short)
    assert (code, err.splitlines()[-1]) == (1, told)
    assert f"  drops: short (too few frames) 7, T3 ({DROPS[Reason.TEMPLATE].meaning}) 1" in out.splitlines()
    before = contents(tmp_path)
    code, out, err = run(capsys, raw, tmp_path, *short)
    assert (code, err.splitlines()) == (1, [told])
    assert out.startswith(f"{tmp_path}/ssv2: finished, nothing stored\n")
    code, out, err = run(capsys, raw, tmp_path, *short, "--json")
    found = json.loads(out)
    assert (code, err.splitlines(), found["state"]) == (1, [told], "already done")
    assert found["card"]["shards"] == {"train": [], "val": []}
    assert told.endswith(found["nothing"])
    assert contents(tmp_path) == before

    # the advice works
    assert run(capsys, raw, tmp_path / "other", "--set", "min_frames=13")[0] == 0
    shutil.rmtree(tmp_path / "ssv2")
    assert run(capsys, raw, tmp_path)[0] == 0


def test_a_limit_before_the_first_good_episode_and_failed_ones_store_nothing_too(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    code, out, err = run(capsys, toy_raw / "ssv2", tmp_path / "one", "--limit", 2, "--set", "min_frames=500", "--json")
    assert (code, json.loads(out)["card"]["limit"]) == (1, 2)
    assert "stored nothing: 2 dropped of 2 episodes, most (2) as 'short'" in err

    raw = Path(shutil.copytree(toy_raw / "ssv2", tmp_path / "raw"))
    for video in raw.rglob("*.webm"):
        video.write_bytes(video.read_bytes()[:200])
    code, _, err = run(capsys, raw, tmp_path / "two")
    told = [line for line in err.splitlines() if ": ssv2: " in line]
    assert code == 1
    assert [len(re.findall("failed: part", line)) for line in told] == [1, 1, 1, 0, 0]
    assert "failed: and 5 more with this cause (8 in all); see --json" in told[3]
    assert "stored nothing: 8 failed of 8 episodes, most (8) failed, such as: " in told[4]
    assert told[4].endswith("run the same command again with --retry-failed")
    shutil.copytree(toy_raw / "ssv2", raw, dirs_exist_ok=True)
    assert run(capsys, raw, tmp_path / "two", "--retry-failed")[0] == 0


def test_a_tree_of_annotations_alone_is_refused_with_what_lies_there(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    raw = Path(shutil.copytree(toy_raw / "ssv2", tmp_path / "raw"))
    for video in raw.rglob("*.webm"):
        video.rename(f"{video}.part")
    code, _, err = run(capsys, raw, tmp_path / "out")

    assert code == 2
    assert "all 8 files that should hold the episodes are missing or empty" in err
    assert "not read: 10 files: 8 20bn-something-something-v2/*.part" in err


def test_every_drop_code_is_explained_and_every_setting_it_names_exists() -> None:
    keys = {field.name for name in sources.names() for field in fields(sources.load(name).Settings)}
    written = (ROOT / "vita_data" / "README.md").read_text(encoding="utf-8")

    assert set(DROPS) == set(Reason)
    assert {key for rule in DROPS.values() for key in rule.settings} <= keys
    assert all(f"`{reason}`" in written for reason in Reason if not re.fullmatch(r"[TV]\d+", reason))


def test_only_settings_of_the_source_are_named() -> None:
    idle, lost = row(EpisodeOutcome.DROPPED, "idle"), row(EpisodeOutcome.DROPPED, "no_camera", detail="a\nb")
    droid, libero = sources.load("droid").Settings(), sources.load("libero").Settings()

    assert "; --set idle=none (now openpi) changes that: remove OUT/x first" in why_nothing(
        [idle], droid, folder="OUT/x"
    )
    assert "--set" not in why_nothing([idle], libero, folder="OUT/x")
    assert "no setting changes that" in why_nothing([idle], libero, folder="OUT/x")
    assert "2 dropped of 2 episodes, most (2) as 'no_camera' (primary camera absent), such as: a b;" in why_nothing(
        [lost, lost], droid, folder="OUT/x"
    )
    assert why_nothing([idle, row(EpisodeOutcome.OK)], libero, folder="OUT/x") == ""
    assert "hold no episodes" in why_nothing([], libero, folder="OUT/x")


def test_failures_are_one_cause_where_names_and_numbers_alone_differ() -> None:
    missing = [
        row(EpisodeOutcome.FAILED, id=f"{n}", part=f"v/{n}.webm", detail=f"v/{n}.webm: labelled, but there is none")
        for n in range(20_000)
    ]
    uids = ("0a1b-cd", "9f8e-dc", "7c7c-aa")
    annotated = [
        row(EpisodeOutcome.FAILED, id=f"{uid}_7", part=f"v2/{uid}.mp4", detail=f"video {uid}.mp4 has 3 frames of {n}")
        for n, uid in enumerate(uids)
    ]
    groups = by_cause([*annotated[:1], *missing, *annotated[1:]])
    assert groups == [missing, annotated]
    lines = list(failure_lines([*annotated, *missing]))
    assert len(lines) == 7
    assert lines[0] == "failed: part v/0.webm, episode 0: v/0.webm: labelled, but there is none"
    assert lines[3] == "failed: and 19997 more with this cause (20000 in all); see --json"

    other = [row(EpisodeOutcome.FAILED, detail="no " + chr(ord("a") + n)) for n in range(26)]
    assert list(failure_lines(other))[15:] == ["failed: and 11 more with 11 other causes; see --json"]


def test_a_tree_without_any_of_the_files_it_names_is_one_refusal(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    """Annotations are fetched first; 200,000 failures would say no more."""
    for name, pattern in (("ssv2", "*.webm"), ("ego4d", "*.mp4"), ("bridge", "*.tfrecord-*")):
        raw = Path(shutil.copytree(toy_raw / name, tmp_path / name))
        for path in raw.rglob(pattern):
            path.unlink()
        for verb in (("build", "--out", tmp_path / "out"), ("probe",)):
            code = main([str(word) for word in (*verb, "--source", name, "--raw", raw)])
            out, err = capsys.readouterr()
            assert (code, out, err.count("\n")) == (2, "", 1), err
            assert str(raw) in err
    asked = BuildRequest(
        source="bridge", raw=str(toy_raw / "bridge"), out=tmp_path / "out", settings=sources.load("bridge").Settings()
    )
    assert build(asked).nothing == ""


def test_a_folder_that_holds_no_raw_data_is_told_for_what_it_is(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, toy_shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for raw, said in (("empty", "the folder is empty"), (toy_shards / "ssv2", "this is a built source, not raw data")):
        code, _, err = run(capsys, tmp_path / raw, tmp_path / "out")
        assert code == 2
        assert f"--raw {tmp_path / raw}: {said}; give the folder" in err
    raw = toy_raw / "ssv2"
    for out in (raw, raw / "shards"):
        code, _, err = run(capsys, raw, out)
        assert code == 2
        assert f"--out {out} is inside --raw {raw}; give an --out outside" in err
    assert not (raw / "shards").exists()
    assert main(["toy", "--source", "ssv2", "--raw", str(raw)]) == 2
    assert f"--raw {raw} already contains raw data of 'ssv2'" in capsys.readouterr().err


def test_a_limited_build_says_so(capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path) -> None:
    code, out, _ = run(capsys, toy_raw / "ssv2", tmp_path, "--limit", 4)
    said = ", limited to the first 4 raw episodes (--limit 4)"
    assert code == 0
    assert out.startswith(f"{tmp_path}/ssv2: built{said}\n")
    assert main(["status", f"{tmp_path}/ssv2"]) == 0
    assert capsys.readouterr().out.startswith(f"ssv2: finished{said}, ")


def test_one_source_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sources", "ssv2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert f"raw_layout: {sources.load('ssv2').INFO.raw_layout}" in out
    assert "  min_frames=13  (int)" in out
