"""The report of `vita-data mix` as text: a table per stage and modality, and a comparison with the paper's Table 10.

Only formats the numbers of `vita_data.loader.mixture.report`; computes none.
"""

from collections.abc import Iterator, Sequence

from vita_data.command.tables import text_table
from vita_data.loader.mixture.report import MixReport, ModalityMix, Realised, SourceMix, StageMix

_ABSENT = "-"


def mix_text(report: MixReport) -> str:
    """Format a report for people."""
    lines = [f"{report.name}: {terms(report)}"]
    for stage in report.stages:
        lines += ["", *_stage_lines(stage, reweighs=report.reweighs)]
    if any(one.printed is not None for one in report.realised):
        lines += ["", *_paper_lines(report.realised)]
    return "\n".join(lines)


def terms(report: MixReport) -> str:
    """Describe how the shares and repeats of a report were computed."""
    temperature = "" if report.temperature == 1 else f", temperature {report.temperature:g}"
    limit = report.max_repeats_per_100k_steps
    cap = "" if limit is None else f", at most {limit:,.10g} repeats per 100k steps"
    return f"basis {report.basis}, batch size {report.batch_size}{temperature}{cap}"


def percent(share: float | None) -> str:
    """Format a share (0 to 1) as a percentage with two decimals, as Table 10 does."""
    return _ABSENT if share is None else f"{share:.2%}"


def points(value: float | None) -> str:
    """Format a difference in percentage points with its sign."""
    # Rounded first, so that a difference of -1e-16 is shown as +0.00.
    return _ABSENT if value is None else f"{round(value, 2) + 0.0:+.2f}"


def _stage_lines(stage: StageMix, *, reweighs: bool) -> list[str]:
    if stage.refused:
        return [f"{stage.stage}: not possible: {stage.refused}"]
    lines: list[str] = []
    for part in stage.modalities:
        lines += [] if part is stage.modalities[0] else [""]
        lines += [f"{stage.stage}: {part.modality} batches, {part.step_share:.2%} of the steps"]
        lines += _table(list(_source_rows(part, reweighs=reweighs)))
    return lines + [f"  note: {note}" for note in stage.notes]


def _source_rows(part: ModalityMix, *, reweighs: bool) -> Iterator[Sequence[str]]:
    """Yield header and rows; `before` is the share without temperature and cap, shown if they are used."""
    before = ("before",) if reweighs else ()
    yield ("source", "clips", "steps", "windows", "weight", *before, "share", "repeats/100k", "no text")
    for source in part.sources:
        yield _source_cells(source, reweighs=reweighs)


def _source_cells(source: SourceMix, *, reweighs: bool) -> Sequence[str]:
    return (
        source.label, f"{source.num_clips:,}", f"{source.num_steps:,}", f"{source.num_windows:,}",
        f"{source.weight:g}", *((percent(source.share_before),) if reweighs else ()), percent(source.share),
        f"{source.repeats_per_100k_steps:,.2f}", f"{source.num_without_instruction:,}",
    )  # fmt: skip


def _paper_lines(realised: Sequence[Realised]) -> list[str]:
    """Compare the shares of all samples with the paper's, whose column adds up to 99.99%."""
    stages = list(realised[0].shares)
    rows = [("source", "printed", "scaled", *(name for stage in stages for name in (stage, "points")))]
    for one in realised:
        parts = (text for stage in stages for text in (percent(one.shares[stage]), points(one.points.get(stage))))
        rows.append((one.label, percent(one.printed), percent(one.scaled), *parts))
    sums = (text for stage in stages for text in (percent(sum(one.shares[stage] for one in realised)), ""))
    printed, scaled = (sum(one.printed or 0.0 for one in realised), sum(one.scaled or 0.0 for one in realised))
    rows.append(("sum", percent(printed), percent(scaled), *sums))
    return [
        "VITA Table 10 compared with the samples of each stage over all modalities (points: share - scaled)",
        *_table(rows),
        "  printed: the paper's proportion; scaled: that proportion among the sources of this manifest only",
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"  {line}" for line in text_table(rows, "lr")]
