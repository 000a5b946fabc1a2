"""The result of a probe: verdict, measured numbers with their limits, meaning, and settings that change them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from vita_data.formats.raw_tree.unread import Unread
from vita_data.pages.drawing.html import Table, number
from vita_data.types import Json, SourceSettings


class Probe(StrEnum):
    """The checked assumptions."""

    SCHEMA = "P1 schema"
    INTEGRATION = "P2 integration"
    GRIPPER = "P3 gripper polarity"
    LAG = "P4 lag"
    RATE = "P5 rate"
    COLOUR = "P6 colour"
    COUNTS = "P7 counts"
    TEXT = "P8 text"
    ORIENTATION = "P9 orientation"
    KINEMATICS = "P10 kinematics"


class Verdict(StrEnum):
    """Whether an assumption holds; `look` if only a person can tell."""

    HELD = "held"
    FAILED = "failed"
    WARNING = "warning"
    LOOK = "look"
    NOT_APPLICABLE = "not applicable"


_NEEDS_A_PERSON = frozenset({Verdict.FAILED, Verdict.WARNING, Verdict.LOOK})
_ROUNDING_NOISE = 1e-9
"""No probe measures anything smaller in its unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A measured number, its unit, and its expected range in words."""

    name: str
    value: float | None
    unit: str
    limit: str

    def __str__(self) -> str:
        """Format as a line of text."""
        if self.value is None:
            return f"{self.name}: nothing to measure"
        shown = number(self.value if abs(self.value) >= _ROUNDING_NOISE else 0)
        return f"{self.name}: {shown}{' ' if self.unit else ''}{self.unit} (expected {self.limit})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """The result of one probe."""

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
        """What to do about it; empty if there is nothing to do or set."""
        if self.settings:
            return "changed by " + ", ".join(f"--set {key}=" for key in self.settings)
        wrong = self.verdict in (Verdict.FAILED, Verdict.WARNING)
        return "no setting changes this: the files are not as the source's reader expects" if wrong else ""

    @property
    def line(self) -> str:
        """Return the assumption, its meaning and what to do, as one line."""
        return f"{self.probe}: {self.verdict}: {' '.join(self.meaning.split())}; {self.advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """All results for one download."""

    source: str
    num_parts: int
    num_parts_read: int
    num_episodes: int
    """Number of checked raw episodes."""
    results: tuple[ProbeResult, ...]
    unread: Unread | None = None
    """Files of the tree that no part reads."""

    @property
    def failed(self) -> tuple[ProbeResult, ...]:
        """The assumptions that do not hold."""
        return tuple(result for result in self.results if result.verdict is Verdict.FAILED)

    def lines(self) -> list[str]:
        """Return the report as lines of text, without the tables."""
        read = f"{self.num_parts_read} of {self.num_parts} parts"
        written = [f"{self.source}: {self.num_episodes} raw episodes of {read}"]
        written += [f"  {self.unread.line()}"] if self.unread is not None and self.unread.line() else []
        for result in self.results:
            written.append(f"{result.probe}: {result.verdict}: {result.meaning}")
            written += [f"  {result.advice}"] if result.verdict in _NEEDS_A_PERSON and result.advice else []
            written += [f"  {measure}" for measure in result.measures]
        return written

    def as_json(self) -> Json:
        """Return the report as JSON values."""
        unread = None if self.unread is None else self.unread.as_json()
        return {**dataclasses.asdict(self), "unread": unread}


def setting_keys(settings: SourceSettings, words: Sequence[str]) -> tuple[str, ...]:
    """Find the settings of a source whose name contains one of the words; the names depend on the source."""
    names = (field.name for field in dataclasses.fields(settings))
    return tuple(name for name in names if any(word in name for word in words))


def not_applicable(probe: Probe, why: str) -> ProbeResult:
    """Make the result of a probe that has nothing to check."""
    return ProbeResult(probe=probe, verdict=Verdict.NOT_APPLICABLE, meaning=why)
