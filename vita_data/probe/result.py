"""What a probe says: a verdict, the numbers seen with their limits, what they mean, and which setting changes them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from vita_data.formats.raw_tree.unread import Unread
from vita_data.pages.drawing.html import Table
from vita_data.types import Json, SourceSettings


class Probe(StrEnum):
    """The assumptions that are checked."""

    SCHEMA = "P1 schema"
    INTEGRATION = "P2 integration"
    GRIPPER = "P3 gripper polarity"
    LAG = "P4 lag"
    RATE = "P5 rate"
    COLOUR = "P6 colour"
    COUNTS = "P7 counts"
    TEXT = "P8 text"
    ORIENTATION = "P9 orientation"


class Verdict(StrEnum):
    """Whether an assumption holds; `look` where only a person can tell."""

    HELD = "held"
    FAILED = "failed"
    WARNING = "warning"
    LOOK = "look"
    NOT_APPLICABLE = "not applicable"


_NEEDS_A_PERSON = frozenset({Verdict.FAILED, Verdict.WARNING, Verdict.LOOK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number that was seen, its unit, and in words where it should lie."""

    name: str
    value: float | None
    unit: str
    limit: str

    def __str__(self) -> str:
        """Write it as a line of text."""
        if self.value is None:
            return f"{self.name}: nothing to measure"
        return f"{self.name}: {self.value:.4g}{' ' if self.unit else ''}{self.unit} (expected {self.limit})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """One probe's answer."""

    probe: Probe
    verdict: Verdict
    meaning: str
    """One sentence."""
    measures: tuple[Measure, ...] = ()
    settings: tuple[str, ...] = ()
    """Keys of `--set` that change what was measured."""
    table: Table | None = None

    @property
    def advice(self) -> str:
        """What to do about it; empty where there is nothing to do and nothing to set."""
        if self.settings:
            return "changed by " + ", ".join(f"--set {key}=" for key in self.settings)
        wrong = self.verdict in (Verdict.FAILED, Verdict.WARNING)
        return "no setting changes this: the files are not as the source's reader expects" if wrong else ""

    @property
    def line(self) -> str:
        """Name the assumption, what it means and what to do, in one line."""
        return f"{self.probe}: {self.verdict}: {' '.join(self.meaning.split())}; {self.advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """All answers for one download."""

    source: str
    num_parts: int
    num_parts_read: int
    num_episodes: int
    """Raw episodes that were looked at."""
    results: tuple[ProbeResult, ...]
    unread: Unread | None = None
    """Files of the tree that no part reads."""

    @property
    def failed(self) -> tuple[ProbeResult, ...]:
        """The assumptions that do not hold."""
        return tuple(result for result in self.results if result.verdict is Verdict.FAILED)

    def lines(self) -> list[str]:
        """Write the report as lines of text, without the tables."""
        read = f"{self.num_parts_read} of {self.num_parts} parts"
        written = [f"{self.source}: {self.num_episodes} raw episodes of {read}"]
        written += [f"  {self.unread.line()}"] if self.unread is not None and self.unread.line() else []
        for result in self.results:
            written.append(f"{result.probe}: {result.verdict}: {result.meaning}")
            written += [f"  {result.advice}"] if result.verdict in _NEEDS_A_PERSON and result.advice else []
            written += [f"  {measure}" for measure in result.measures]
        return written

    def as_json(self) -> Json:
        """Lay the report out as JSON values."""
        unread = None if self.unread is None else self.unread.as_json()
        return {**dataclasses.asdict(self), "unread": unread}


def setting_keys(settings: SourceSettings, words: Sequence[str]) -> tuple[str, ...]:
    """Find the settings of a source whose name contains one of the words; only the source knows their names."""
    names = (field.name for field in dataclasses.fields(settings))
    return tuple(name for name in names if any(word in name for word in words))


def not_applicable(probe: Probe, why: str) -> ProbeResult:
    """Say that a probe has nothing to look at."""
    return ProbeResult(probe=probe, verdict=Verdict.NOT_APPLICABLE, meaning=why)
