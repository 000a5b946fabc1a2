"""P7: whether a download is complete; partial downloads are fine, so a different count is only a warning."""

from vita_data.pages.drawing.html import Table
from vita_data.probe.result import Measure, Probe, ProbeResult, Verdict, not_applicable, setting_keys
from vita_data.probe.sample import Sample
from vita_data.types import SourceInfo, SourceSettings


def counts(sample: Sample, info: SourceInfo, settings: SourceSettings) -> ProbeResult:
    """P7: compare the raw episodes of the tree with published counts; a difference is a warning, not a failure."""
    known = [part.num_episodes for part in sample.parts]
    total = sum(number for number in known if number is not None)
    if None in known:
        return not_applicable(Probe.COUNTS, f"parts of {info.name} cannot be counted without reading them")
    if not info.published_episodes:
        return not_applicable(Probe.COUNTS, f"{total} raw episodes; no published count is known for {info.name}")
    equal = [name for name, number in info.published_episodes.items() if number == total]
    published = tuple((name, number) for name, number in info.published_episodes.items())
    other = "the number of raw episodes differs from the published one: a partial download, or another release"
    return ProbeResult(
        probe=Probe.COUNTS,
        verdict=Verdict.HELD if equal else Verdict.WARNING,
        meaning=f"the same number of raw episodes as {', '.join(equal)}" if equal else other,
        measures=(
            Measure(name="raw episodes", value=total, unit="",
                    limit=" or ".join(f"{number} ({name})" for name, number in published)),
        ),
        settings=setting_keys(settings, ("release", "mode")),
        table=Table(header=("counted", "raw episodes"), rows=(("this download", total), *published)),
    )  # fmt: skip
