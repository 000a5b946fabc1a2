"""The page of `vita-data probe --html`: verdicts, the numbers behind them, and the sheets for a person to look at."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import simplejpeg

from vita_data.pages.drawing.html import (
    Markup,
    Picture,
    Section,
    Table,
    camera_sheets,
    element,
    join,
    page,
    paragraph,
    table,
    text,
)
from vita_data.probe.result import Probe, ProbeReport, ProbeResult, Verdict
from vita_data.probe.run import Probed
from vita_data.probe.sample import Sample, SampledEpisode
from vita_data.types import CameraRole

_QUALITY = 85
_LOOK = {
    Probe.COLOUR: "Skin, wood and metal must have their natural colours: a blue hand means swapped channels.",
    Probe.ORIENTATION: "Every picture must be upright, and text on objects must not be mirrored.",
}


_TALLIED = {
    Verdict.FAILED: "failed",
    Verdict.WARNING: "with a warning",
    Verdict.LOOK: "for you to look at",
    Verdict.HELD: "held",
    Verdict.NOT_APPLICABLE: "not applicable",
}


def probe_page(probed: Probed) -> str:
    """Return the page: a summary, one section per probe, and the pictures of the sample."""
    report = probed.report
    warnings = [f"{result.probe} does not hold: {result.meaning}." for result in report.failed]
    if not probed.info.redistributable:
        warnings.append(f"This page shows images of {report.source}, whose licence forbids redistribution.")
    introduction = (
        f"{report.num_episodes} raw episodes from {report.num_parts_read} of {report.num_parts} parts of a download of "
        f"{probed.info.title}, read with the given settings, without a length filter. Assumptions: {_tally(report)}."
    )
    sections = [
        Section(
            title="Pictures",
            explanation=" ".join((*_LOOK.values(), "Shown as they would be stored: resized to a square, RGB.")),
            body=join(_sheets(probed.sample)),
        ),
        Section(
            title="What holds",
            explanation="Each assumption that building shards makes about this dataset, and what was seen here.",
            body=_summary(report),
        ),
        *(_section(result, probed.sample) for result in report.results),
    ]
    return page(f"{report.source}: probes of a download", introduction, sections, warnings=warnings)


def _tally(report: ProbeReport) -> str:
    counts = Counter(result.verdict for result in report.results)
    return ", ".join(f"{counts[verdict]} {words}" for verdict, words in _TALLIED.items() if counts[verdict])


def _summary(report: ProbeReport) -> Markup:
    rows = tuple(
        (result.probe, result.verdict, "\n".join(map(str, result.measures)), result.meaning, result.advice)
        for result in report.results
    )
    return table(Table(header=("probe", "verdict", "seen", "meaning", "settings that change it"), rows=rows))


def _section(result: ProbeResult, sample: Sample) -> Section:
    css = "warning" if result.verdict in (Verdict.FAILED, Verdict.WARNING) else ""
    words = "; ".join(part for part in (result.meaning, result.advice) if part)
    verdict = paragraph(f"{result.verdict}: {words}.", css=css)
    parts = [verdict, *(paragraph(str(measure)) for measure in result.measures)]
    if result.table is not None and result.table.rows:
        parts.append(table(result.table))
    explanation = _LOOK.get(result.probe, f"Measured on {sample.num_outcomes} raw episodes.")
    return Section(title=result.probe, explanation=explanation, body=join(parts))


def _sheets(sample: Sample) -> Iterator[Markup]:
    """Yield per camera the first, middle and last row of some episodes, under the ids of these."""
    for role in sorted({frame.role for sampled in sample.episodes for frame in sampled.frames}):
        yield element("h3", text(f"Camera {role}"))
        shown = ((sampled.episode.id, tuple(_pictures(sampled, role))) for sampled in sample.episodes)
        yield camera_sheets(((episode, pictures) for episode, pictures in shown if pictures), in_threes=True)


def _pictures(sampled: SampledEpisode, role: CameraRole) -> Iterator[Picture]:
    for frame in sampled.frames:
        if frame.role is role:
            jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(frame.picture), _QUALITY, "RGB", "444")
            yield Picture(jpeg=bytes(jpeg), caption=f"step {frame.step}")
