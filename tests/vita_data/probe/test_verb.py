"""The sample that is read, and the verb: exit codes, lines, JSON and page."""

import io
import json
from pathlib import Path

import pytest

from tests.vita_data.probe.made import (
    probed,
)
from vita_data import sources
from vita_data.cli.main import main
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.probe import Verdict
from vita_data.probe.sample import read_sample
from vita_data.types import (
    Drop,
    Episode,
    Outcome,
    Reason,
)


def test_a_sample_is_spread_over_the_parts_and_no_larger_than_asked(tmp_path: Path) -> None:
    found = probed(limit=6)
    one = probed(limit=1)

    assert {sampled.part for sampled in found.sample.episodes} == {f"part-{number}" for number in range(4)}
    assert len(found.sample.episodes) == 6
    assert len(one.sample.episodes) == 1
    assert all(not sampled.episode.cameras for sampled in found.sample.episodes)


def test_dropped_episodes_do_not_use_up_the_sample() -> None:
    def most_dropped(episode: Episode) -> Outcome:
        return episode if episode.id.endswith("4") else Drop(episode=episode.id, reason=Reason.UNSUCCESSFUL)

    found = probed(most_dropped, limit=4)

    assert len(found.sample.episodes) == 4
    assert len(found.sample.drops) == 16


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_verb_ends_with_0_where_all_holds_and_writes_json_and_page(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    page = tmp_path / "probe.html"
    code, out, err = run(
        capsys, "probe", "--source", "bridge", "--raw", toy_raw / "bridge", "--html", page, "--limit", 4, "--json"
    )
    report = json.load(io.StringIO(out))

    assert (code, err) == (0, "")
    assert report["num_episodes"] == 4
    assert {result["verdict"] for result in report["results"]} <= set(Verdict)
    assert "P9 orientation" in page.read_text()


def test_the_verb_ends_with_1_and_one_line_for_each_assumption_that_does_not_hold(
    capsys: pytest.CaptureFixture[str], toy_raw: Path
) -> None:
    raw = toy_raw / "bridge"
    code, out, err = run(capsys, "probe", "--source", "bridge", "--raw", raw, "--set", "hz=500")

    assert code == 1
    assert err.startswith("vita-data probe: bridge: P5 rate: failed: 500 Hz cannot be the rate")
    assert err.endswith("changed by --set hz=\n")
    assert err.count("\n") == 1
    assert "P5 rate: failed" in out


def test_a_damaged_file_fails_the_schema_and_the_rest_is_still_probed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sources.load("bridge").write_toy(str(tmp_path))
    file = sorted(tmp_path.rglob("*.tfrecord*"))[0]
    file.write_bytes(file.read_bytes()[:1000])
    code, out, err = run(capsys, "probe", "--source", "bridge", "--raw", tmp_path)

    assert code == 1
    assert file.name in err
    assert "P4 lag: held" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--source", "brige", "--raw", "{raw}"),
        ("--source", "bridge", "--raw", "{raw}/nowhere"),
        ("--source", "bridge", "--raw", "{empty}"),
        ("--source", "bridge", "--raw", "{raw}", "--set", "rate=3"),
        ("--source", "bridge", "--raw", "{raw}", "--html", "{raw}/no/such/page.html"),
    ],
    ids=["source", "folder", "layout", "setting", "page"],
)
def test_a_bad_request_ends_with_2_in_one_line(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    filled = [argument.format(raw=toy_raw / "bridge", empty=tmp_path) for argument in arguments]
    code, out, err = run(capsys, "probe", *filled)

    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_reading_a_sample_twice_gives_the_same(toy_raw: Path) -> None:
    source = sources.load("bridge")

    def ids() -> list[str]:
        sample = read_sample(source, FsspecTree(str(toy_raw / "bridge")), source.Settings(), limit=5)
        return [sampled.episode.id for sampled in sample.episodes]

    assert ids() == ids()
    assert len(ids()) == 5
