"""`vita-data episodes`: a table for people, CSV and JSON for programs, ids for manifests."""

import io
import json
from pathlib import Path

import polars as pl
import pytest

from vita_data.cli.main import main
from vita_data.curation.ids import read_ids
from vita_data.curation.table import COLUMNS, episode_table


def lines(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[str]:
    assert main(["episodes", *words]) == code
    told = capsys.readouterr()
    return (told.err if code else told.out).splitlines()


def test_the_table_shows_whole_ids_and_reasons_and_counts(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, str(built))
    assert len(found) == 18
    assert found[0].split() == [
        "source", "id", "outcome", "reason", "split", "suite", "task", "length_s", "num_steps", "text", "detail",
    ]  # fmt: skip
    for name in ("bridge", "libero"):
        for row in episode_table(built / name).iter_rows(named=True):
            assert any(row["id"] in line and row["reason"] in line for line in found)
    assert found[-1] == "16 of 16 episodes: dropped 2, ok 14"


def test_counts_add_up_the_drops_of_all_sources_with_their_reasons(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons = "T1 (empty instruction) 1, short (too few frames) 1"
    found = [" ".join(line.split()) for line in lines(capsys, str(built), "--counts")]
    assert found == [
        "source episodes ok dropped failed dropped because",
        f"bridge 8 6 2 0 {reasons}",
        "libero 8 8 0 0",
        f"all 16 14 2 0 {reasons}",
    ]
    assert len(lines(capsys, str(built / "bridge"), "--counts", "--where", "outcome = 'dropped'")) == 2


def test_empty_columns_are_left_out_and_nothing_is_an_answer(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, str(built), "--where", "reason <> ''", "--sort", "id desc")
    assert found[0].split() == ["source", "id", "outcome", "reason", "detail"]
    assert [line.split()[3] for line in found[1:-1]] == ["short", "T1"]
    assert lines(capsys, str(built), "--where", "reason = 'T9'") == ["0 of 16 episodes"]


def test_csv_and_json_have_all_columns_and_agree(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (str(built / "libero"), str(built / "bridge"), "--sort", "length_s desc", "--limit", "5")
    table = pl.read_csv(io.StringIO("\n".join(lines(capsys, *words, "--csv"))))
    rows = json.loads("\n".join(lines(capsys, *words, "--json")))
    assert tuple(table.columns) == COLUMNS
    assert len(rows) == table.height == 5
    assert table["id"].to_list() == [row["id"] for row in rows]
    assert table["length_s"].to_list() == sorted(table["length_s"], reverse=True)


def test_a_condition_is_of_each_source_for_itself(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads("\n".join(lines(capsys, str(built), "--where", "length_s >= max(length_s)", "--json")))
    assert {row["source"] for row in rows} == {"bridge", "libero"}


def test_ids_are_those_of_the_listed_episodes(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines(capsys, str(built), "--where", "suite = 'libero_90'", "--ids", str(tmp_path / "bad.txt"))
    listed = read_ids(tmp_path / "bad.txt", place="exclude")
    table = episode_table(built / "libero").filter(pl.col("suite") == "libero_90")
    assert [(one.source, one.id) for one in listed] == table.select("source", "id").rows()


def test_mistakes_are_one_line(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        ((str(built), "--where", "lenght_s > 1"), "did you mean 'length_s'?"),
        ((str(built), "--sort", "lenght"), "did you mean 'length_s'?"),
        ((str(built), str(built / "bridge")), "source 'bridge' is given twice"),
        ((str(tmp_path),), "no built source in"),
    ):
        (line,) = lines(capsys, *words, code=2)
        assert told in line


def test_a_text_cannot_control_the_terminal() -> None:
    from vita_data.cli.episodes import _cell

    assert _cell("text", "a\x1b[31mb\nc" + "x" * 80) == "a\\x1b[31mb\\nc" + "x" * 50 + "…"
    assert len(_cell("id", "x" * 200)) == 200


def test_the_page_has_counts_measures_pictures_and_rows(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "episodes.html"
    asked = [str(built), "--quality", "--where", "length_s > 2", "--html", str(path)]
    found = lines(capsys, *asked, "--quiet")
    page, (num_shown, _, num_all, *_) = path.read_text(encoding="utf-8"), found[-1].split()

    assert f"{num_shown} of {num_all} raw episodes, where length_s &gt; 2." in page
    assert "<script" not in page
    for name in ("speed_m_s", "idle_share", "static_share"):
        assert f"<figcaption>{name}</figcaption>" in page
    for folder in (built / "bridge", built / "libero"):
        for row in episode_table(folder).filter(pl.col("length_s") > 2).iter_rows(named=True):
            assert row["id"] in page
            assert row["text"].replace("'", "&#x27;") in page
    assert page.count('src="data:image/jpeg') == int(num_shown)
    assert lines(capsys, str(built), "--where", "reason <> ''", "--html", str(path))[-1].startswith("2 of 16")
    assert "No listed episode is stored." in path.read_text(encoding="utf-8")
    assert lines(capsys, str(built), "--html", str(tmp_path / "no" / "page.html"), code=2)
