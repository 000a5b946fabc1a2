"""P8: which instructions the text rules would drop, with examples, and whether there is more than one."""

from collections import Counter
from collections.abc import Iterator

from vita_data.instruction_text import normalize_text
from vita_data.normalize.text import find_main, text_fault
from vita_data.pages.drawing.html import Table
from vita_data.probe.result import Measure, Probe, ProbeResult, Verdict, not_applicable, setting_keys
from vita_data.probe.sample import Sample
from vita_data.types import Reason, SourceInfo, SourceSettings, TextStyle

NUM_EXAMPLES = 20
_RULES = (
    Reason.EMPTY, Reason.PLACEHOLDER, Reason.TEMPLATE, Reason.UNSURE, Reason.NOT_WEARER, Reason.TOO_FEW_WORDS,
    Reason.GLUED, Reason.GARBAGE, Reason.NO_LETTERS, Reason.TOO_LONG, Reason.REPETITION,
)  # fmt: skip
_MAX_CONSTANT_SHARE = 0.9
_MIN_FOR_CONSTANT = 10
_MAX_WARNED_SHARE, _MAX_DROPPED_SHARE = 0.5, 0.9


def text_report(sample: Sample, info: SourceInfo, settings: SourceSettings) -> ProbeResult:
    """P8: count the rules T1 to T11 over the sample, with 20 examples each, and warn of a constant text (T12).

    Source: the text rules of vita_data/README.md.
    Assumes: losing more than half of the sample because of text is a warning, more than 0.9 a failure; a constant text
        is reported only for at least 10 texts.
    """
    judged = list(_judged(sample, info))
    if not judged:
        return not_applicable(Probe.TEXT, "no episode of the sample has a text to look at")
    faulty = [(reason, text) for reason, text in judged if reason is not None]
    good = Counter(normalize_text(text) for reason, text in judged if reason is None)
    share = len(faulty) / len(judged)
    text, num_same = (good.most_common(1) or [("", 0)])[0]
    constant = num_same / len(judged)
    verdict, meaning = Verdict.HELD, "most instructions pass the text rules, and they differ"
    if share > _MAX_DROPPED_SHARE:
        verdict, meaning = Verdict.FAILED, f"text rules drop nearly all, the first text is {faulty[0][1][:80]!r}"
    elif share > _MAX_WARNED_SHARE:
        verdict, meaning = Verdict.WARNING, "text rules drop more than half of the sample"
    elif info.text_style is TextStyle.CONSTANT:
        meaning = "the text is constant, as expected for this source"
    elif constant > _MAX_CONSTANT_SHARE and len(judged) >= _MIN_FOR_CONSTANT:
        verdict, meaning = Verdict.WARNING, f"T12: nearly all episodes have the one text {text[:80]!r}"
    codes = Counter(str(reason) for reason, _ in faulty)
    counted = ", ".join(f"{code} {codes[code]}" for code in sorted(codes)) or "none"
    return ProbeResult(
        probe=Probe.TEXT, verdict=verdict, meaning=f"{meaning} (dropped of {len(judged)}: {counted})",
        measures=(
            Measure(name="share dropped for text", value=share, unit="", limit=f"below {_MAX_WARNED_SHARE}"),
            Measure(name="share of the top text", value=constant, unit="", limit=f"below {_MAX_CONSTANT_SHARE}"),
        ),
        settings=setting_keys(settings, ("text", "language", "instruction", "unsure", "mode")),
        table=_table(faulty, good),
    )  # fmt: skip


def _judged(sample: Sample, info: SourceInfo) -> Iterator[tuple[Reason | None, str]]:
    """Yield the rule that the main text of each episode breaks, including text drops by the source."""
    for drop in sample.drops:
        if drop.reason in _RULES:
            yield drop.reason, drop.detail
    for sampled in sample.episodes:
        main = find_main(sampled.episode.instructions)
        yield text_fault(main.text, info.text_style, main.template), main.text


def _table(faulty: list[tuple[Reason, str]], good: Counter[str]) -> Table:
    found = {rule: [text for reason, text in faulty if reason is rule] for rule in _RULES}
    rows = [(f"{rule} {rule.name.lower()}", len(texts), _examples(texts)) for rule, texts in found.items()]
    passed = ("passed", good.total(), _examples([text for text, _ in good.most_common(NUM_EXAMPLES)]))
    return Table(header=("rule", "episodes", f"up to {NUM_EXAMPLES} examples"), rows=(passed, *rows))


def _examples(texts: list[str]) -> str:
    return "\n".join(repr(text) for text in list(dict.fromkeys(texts))[:NUM_EXAMPLES])
