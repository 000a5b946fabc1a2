"""What each drop code means, which settings affect its number of episodes, and why a build stored nothing."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vita_data.builder.causes import by_cause
from vita_data.builder.records import EpisodeRow
from vita_data.types import EpisodeOutcome, Reason, SourceSettings

_MAX_DETAIL = 300


@dataclass(frozen=True, slots=True)
class DropRule:
    """A drop code in words, and the `--set` keys that may affect it; a source has only some of these keys."""

    meaning: str
    settings: tuple[str, ...] = ()


DROPS: Mapping[Reason, DropRule] = {
    Reason.EMPTY: DropRule("empty instruction", ("mode",)),
    Reason.PLACEHOLDER: DropRule("placeholder instead of an instruction"),
    Reason.TEMPLATE: DropRule("unfilled template"),
    Reason.UNSURE: DropRule("annotator unsure"),
    Reason.NOT_WEARER: DropRule("not done by the camera wearer"),
    Reason.TOO_FEW_WORDS: DropRule("too few words"),
    Reason.GLUED: DropRule("words glued together"),
    Reason.GARBAGE: DropRule("garbage text"),
    Reason.NO_LETTERS: DropRule("text without letters"),
    Reason.TOO_LONG: DropRule("text too long"),
    Reason.REPETITION: DropRule("repeated words"),
    Reason.UNDECODABLE: DropRule("an image does not decode"),
    Reason.BLACK: DropRule("black images"),
    Reason.SHORT: DropRule("too few frames", ("min_frames", "idle")),
    Reason.UNSUCCESSFUL: DropRule("task not achieved", ("outcome",)),
    Reason.NO_OUTCOME: DropRule("neither marked as success nor as failure", ("outcome",)),
    Reason.IDLE: DropRule("nothing moves", ("idle",)),
    Reason.STUCK_EEF: DropRule("hand pose stuck"),
    Reason.REDACTED: DropRule("redacted video"),
    Reason.STEREO: DropRule("stereo video"),
    Reason.INVALID_ANNOTATION: DropRule("invalid annotation", ("mode",)),
    Reason.OUTLIERS: DropRule("outlying values"),
    Reason.NONFINITE: DropRule("NaN or infinite values"),
    Reason.HELD_OUT: DropRule("held out for evaluation"),
    Reason.NO_CAMERA: DropRule("primary camera absent"),
}


def rule_of(code: str) -> DropRule:
    """Give the rule of a drop code, which another version may have written."""
    return DROPS[Reason(code)] if code in set(Reason) else DropRule("reason unknown to this version")


def changed_by(code: str, settings: Mapping[str, object]) -> str:
    """Name what may keep the episodes of a drop code, with its value in a built source: `--set min_frames=N (now 13)`.

    Args:
        code: the drop code.
        settings: the settings that the source was built with, by name.

    Returns:
        The settings; empty if the source has none that matters.
    """
    found = [(key, settings[key]) for key in rule_of(code).settings if key in settings]
    return " or ".join(f"--set {key}={'N' if isinstance(now, int) else '...'} (now {now})" for key, now in found)


def why_nothing(rows: Sequence[EpisodeRow], settings: SourceSettings, *, folder: object) -> str:
    """Explain why no episode was stored, by the most frequent reason, and which setting changes it; "" if one was.

    Args:
        rows: all raw episodes of the build.
        settings: the settings of the build.
        folder: the output of the build, which does not accept other settings.
    """
    if any(row.outcome is EpisodeOutcome.OK for row in rows):
        return ""
    if not rows:
        return "stored nothing: the raw files hold no episodes; `vita-data probe` shows what they hold"
    outcomes = Counter(row.outcome for row in rows)
    counted = " and ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    ((outcome, code), count), *_ = Counter((row.outcome, row.reason) for row in rows).most_common()
    detail = next(row.detail for row in rows if (row.outcome, row.reason) == (outcome, code))
    example = f", such as: {' '.join(detail.split())[:_MAX_DETAIL]}" if detail else ""
    told = f"stored nothing: {counted} of {len(rows)} episodes, most ({count})"
    if outcome is EpisodeOutcome.FAILED:
        is_one = count == len(rows) and len(by_cause(rows)) == 1
        ask = "all for one cause: is --raw the folder of this source? If it is, " if is_one else ""
        return f"{told} failed{example}; {ask}fix the cause and run the same command again with --retry-failed"
    rule = rule_of(code)
    return f"{told} as {str(code)!r} ({rule.meaning}){example}; {_advice(rule, settings, folder)}"


def _advice(rule: DropRule, settings: SourceSettings, folder: object) -> str:
    present = {field.name for field in dataclasses.fields(settings)}
    keys = [_assignment(key, getattr(settings, key)) for key in rule.settings if key in present]
    if not keys:
        return "no setting changes that: `vita-data probe` shows what the raw files hold"
    return f"{' or '.join(keys)} changes that: remove {folder} first, or give another --out"


def _assignment(key: str, value: object) -> str:
    """Format `--set KEY=` with the possible values and the current one."""
    others = "|".join(option for option in type(value) if option != value) if isinstance(value, StrEnum) else "N"
    return f"--set {key}={others} (now {value})"
