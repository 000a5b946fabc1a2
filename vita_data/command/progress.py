"""How far a long command is: a bar on a terminal, in a log a line every half minute, nothing with `--quiet`.

Both go to stderr; stdout has the results. tqdm is imported only when a bar is drawn.
"""

import argparse
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Never, Self

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_EVERY_S = 30.0
BYTES = "B"
"""The unit of sizes, which are shown with a prefix: 1.2 GB."""


class LineTimer:
    """Tells when a log is due its next line: half a minute after the last one."""

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or time.monotonic
        self._told_s = self._now()

    def restart(self) -> None:
        """Note that a line was printed now."""
        self._told_s = self._now()

    def is_due(self) -> bool:
        """Tell whether the last line is half a minute old."""
        return self._now() - self._told_s >= LINE_EVERY_S


class Progress:
    """Counts what is done of one long task; a context that removes its display."""

    def __init__(self, name: str, *, unit: str, quiet: bool = False) -> None:
        """Prepare a display, which begins with `start`.

        Args:
            name: what is under way, at the beginning of each line.
            unit: what is counted, in the plural, or `BYTES`.
            quiet: show nothing.
        """
        self._name, self._unit, self._quiet = name, unit, quiet
        self._bar: tqdm[Never] | None = None
        self._total: int | None = None
        self._begun = self._done = 0
        self._begun_s, self._timer = time.monotonic(), LineTimer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @property
    def has_bar(self) -> bool:
        """Whether a bar is shown."""
        return self._bar is not None

    @property
    def replaces_lines(self) -> bool:
        """Whether a bar is shown where stdout goes too, so that lines about the same would repeat it."""
        return self.has_bar and sys.stdout.isatty()

    def start(self, total: int | None, *, done: int = 0) -> None:
        """Show that the task begins.

        Args:
            total: how much there is to do; None if that is not known.
            done: how much of it an earlier run has done.
        """
        if self._quiet:
            return
        self._total, self._begun, self._done = total, done, done
        self._begun_s = time.monotonic()
        self._timer.restart()
        if sys.stderr is not None and sys.stderr.isatty():
            self._bar = open_bar(self._name, total=total, done=done, unit=self._unit)

    def update(self, amount: int = 1, note: str = "") -> None:
        """Count what was done since the last call; the note says what matters besides the number."""
        if self._quiet:
            return
        self._done += amount
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(amount)
        elif self._timer.is_due():
            self._timer.restart()
            print(self._line(time.monotonic() - self._begun_s, note), file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Print a line of its own to stdout, above the bar; nothing if quiet."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.clear()
        print(line, flush=True)
        if self._bar is not None:
            self._bar.refresh()

    def _line(self, span_s: float, note: str) -> str:
        rate = max(self._done - self._begun, 0) / max(span_s, 1e-3)
        done, words = _amount(self._done, self._unit), []
        if self._total:
            done += f" of {_amount(self._total, self._unit)}"
            words.append(f"{100 * self._done // self._total}%")
        words.append(f"{_rate(rate, self._unit)}/s")
        if self._total and rate and self._done < self._total:
            words.append(f"{format_time((self._total - self._done) / rate)} left")
        unit = "" if self._unit == BYTES else f" {self._unit}"
        return f"{self._name}: {done}{unit}, {', '.join(words)}{note and '; '}{note}"


SILENT = Progress("", unit="", quiet=True)
"""Shows nothing: the default of functions that a command or a Python user may call."""


def add_quiet_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--quiet`."""
    parser.add_argument("--quiet", action="store_true", help="show no progress, only the result")


def open_bar(name: str, *, total: int | None, done: int, unit: str) -> "tqdm[Never]":
    """Draw a bar on stderr."""
    from tqdm import tqdm

    word = unit if unit == BYTES else f" {unit}"
    return tqdm(
        total=total, initial=done, desc=name, unit=word, unit_scale=unit == BYTES, dynamic_ncols=True, file=sys.stderr
    )


def format_time(span_s: float) -> str:
    """Format a time span for people."""
    if span_s < 60:
        return f"{span_s:.1f} s"
    minutes = round(span_s / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def format_bytes(num_bytes: float) -> str:
    """Format a size in bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def _amount(amount: int, unit: str) -> str:
    return format_bytes(amount) if unit == BYTES else str(amount)


def _rate(rate: float, unit: str) -> str:
    return format_bytes(rate) if unit == BYTES else f"{rate:.1f} {unit}" if rate >= 1 else f"{rate:.2g} {unit}"
