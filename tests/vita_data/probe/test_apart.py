"""The verb reads in a worker: a file that hangs, crashes or grows its reader is a line of the report."""

import json
from pathlib import Path

import pytest

from tests.vita_data.builder import fussy
from tests.vita_data.builder.test_worker import LIMITS, REASONS, tree
from vita_data.cli.main import main
from vita_data.errors import SourceError
from vita_data.probe.apart import ProbeRequest, probe_apart


def request(raw: Path) -> ProbeRequest:
    return ProbeRequest(source="fussy", source_file=fussy.__file__, raw=str(raw), settings={}, with_page=True)


def test_what_ends_its_reader_is_reported_and_the_rest_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tree(tmp_path / "raw", a="ok late_crash ok", b="ok hang ok", c="ok", d="ok grow")
    page = tmp_path / "page.html"
    limits = ("--deadline", "1", "--memory-mb", "600")
    code = main(["probe", "--source-file", fussy.__file__, "--raw", str(raw), "--json", "--html", str(page), *limits])
    told = capsys.readouterr()
    (schema,) = (one for one in json.loads(told.out)["results"] if one["probe"].startswith("P1 "))

    assert code == 1
    assert told.err.startswith("vita-data probe: fussy: P1 schema: failed: part a.txt, episode a.txt:1: a.txt:1: its ")
    assert told.err.count("\n") == 1
    assert [one["value"] for one in schema["measures"]] == [5, 3]
    for place, word in {"a.txt:1": "crash", "b.txt": "hang", "d.txt": "grow"}.items():
        assert place in page.read_text()
        assert REASONS[word].split(r"\d")[0].split(r"\(")[0] in page.read_text()


def test_a_description_that_ends_its_reader_is_named_in_one_line(tmp_path: Path) -> None:
    raw = tree(tmp_path / "raw", a="ok")
    (raw / "index").write_text("crash")
    with pytest.raises(SourceError, match=rf"^--raw {raw}, index: {REASONS['crash']}; the file is damaged"):
        probe_apart(request(raw), LIMITS)
