"""Long verbs say how far they are, to the end; `--quiet` leaves that out and nothing else."""

from pathlib import Path

import pytest

from vita_data.cli.main import main
from vita_data.command import progress


@pytest.fixture
def bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Work beside a toy tree of Bridge and its shards; a log gets a line for each update."""
    monkeypatch.chdir(tmp_path)
    assert main(["toy", "--source", "bridge", "--raw", "raw"]) == 0
    built = ["build", "--source", "bridge", "--raw", "raw/bridge", "--out", "shards", "--workers", "1", "--quiet"]
    assert main(built) == 0
    assert capsys.readouterr().err == ""
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nschema_version = 1\nsources = [{source = "bridge", weight = 1}]\n'
    )
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)


@pytest.mark.usefixtures("bridge")
@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        (["verify", "shards/bridge"], "verify bridge: ", "100%"),
        (["stats", "shards/bridge"], "stats bridge: 1 of ", "100%"),
        (["probe", "--source", "bridge", "--raw", "raw/bridge"], "probe bridge: 1 of ", "dropped, 0 unreadable"),
        (["inspect", "shards/bridge", "--html", "page.html"], "inspect bridge: 1 of 3 parts", "; raw episodes"),
        (["report", "shards", "--manifest", "mine.toml", "--html", "page.html"], "report: 1 of 2", "; Mixture mine"),
        (["mix", "mine.toml", "--shards", "shards"], "mix mine: 1 of 4 parts", "; stage finetune"),
        (["view", "shards/bridge", "--html", "view"], "view: 1 files", " files, "),
    ],
)
def test_a_long_verb_shows_how_far_it_is(
    words: list[str], first: str, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    told = capsys.readouterr()
    assert told.err.splitlines()[0].startswith(first)
    assert last in told.err.splitlines()[-1]
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr() == (told.out, "")
