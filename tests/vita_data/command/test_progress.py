"""A bar on a terminal, a tidy line now and then in a log, nothing with --quiet."""

import io
import subprocess
import sys

import pytest

from vita_data.command import progress
from vita_data.command.progress import BYTES, SILENT, Progress, format_bytes, format_time


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds since the start, in the only item."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_half_minute(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("lift", unit="episodes") as shown:
        shown.start(50, done=10)
        for _ in range(20):
            clock[0] += 4
            shown.update(note="8 of 12 succeeded")
        assert not shown.has_bar
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "lift: 18 of 50 episodes, 36%, 0.25 episodes/s, 2 min left; 8 of 12 succeeded",
        "lift: 26 of 50 episodes, 52%, 0.25 episodes/s, 2 min left; 8 of 12 succeeded",
    ]


def test_bytes_and_unknown_totals_have_lines_too(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress("verify bridge", unit=BYTES)
    shown.start(None)
    clock[0] += 100
    shown.update(3_000_000_000)
    assert capsys.readouterr().err == "verify bridge: 3.0 GB, 30.0 MB/s\n"


def test_what_takes_seconds_leaves_no_trace_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("x", unit="clips") as shown:
        shown.start(3)
        shown.update(3)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_what_matters_and_lines_above_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("warmup", unit="steps") as shown:
        shown.start(4, done=1)
        shown.update(2, "loss 0.5000")
        shown.say("resumed")
        assert shown.has_bar
    assert not shown.has_bar
    assert capsys.readouterr().out == "resumed\n"
    last = terminal.getvalue().rsplit("\r", 1)[1]
    assert "warmup:  75%" in last
    assert " 3/4 " in last
    assert "loss 0.5000" in last


def test_quiet_shows_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for shown in (Progress("x", unit="steps", quiet=True), SILENT):
        with shown:
            shown.start(2)
            shown.update(1, "note")
            shown.say("line")
    assert (terminal.getvalue(), capsys.readouterr().out) == ("", "")


def test_tqdm_is_imported_only_for_a_bar() -> None:
    code = (
        "import sys\nimport vita_data.cli.main, vita_model.cli\nfrom vita_data.command.progress import Progress\n"
        "shown = Progress('x', unit='steps')\nshown.start(1)\nshown.update()\nassert 'tqdm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.PIPE)


def test_spans_and_sizes_are_written_for_people() -> None:
    assert [format_time(span) for span in (1.26, 61, 3_700)] == ["1.3 s", "1 min", "1 h 02 min"]
    assert [format_bytes(size) for size in (999, 1_500, 2e12)] == ["999 B", "1.5 kB", "2.0 TB"]
