"""A manifest resolved against the built sources, stage by stage: the numbers of `vita-data mix` and of the paper.

Shows the result of `vita_data.loader.mixture.report`; computes nothing.
"""

from collections.abc import Iterator
from pathlib import Path

from vita_data.loader.mixture.report import MixReport, ModalityMix, Realised, StageMix, mix
from vita_data.loader.mixture.text import percent, points, terms
from vita_data.manifest import load_manifest
from vita_data.pages.drawing.html import Cell, Markup, Section, Table, element, folded, join, paragraph, table, text
from vita_data.storage.files import AnyPath
from vita_data.types import Stage

_HEADER = ("modality", "source", "clips", "windows", "weight", "share of the samples", "repeats per 100k steps",
           "clips without text (skipped)")  # fmt: skip

_DEFAULTS = (
    "These are the defaults of each stage. A recipe may divide the steps otherwise, choose other windows, and have "
    "smaller batches, with fewer repeats; what a run has drawn is in the section of the run."
)
_SHARES = "Of all samples of a stage, over its modalities, the share that each source provides."
_COMPARED = (
    "Printed: the proportion in the paper. Scaled: that proportion among the sources of this manifest only; co-train "
    "has the same shares if the manifest's weights follow it. Warmup uses half of its steps for actions, so its shares "
    "differ by design."
)


def mixture_section(manifest: Path, shards: AnyPath) -> Section:
    """Resolve a manifest against a folder of built sources and show each stage.

    Raises:
        ManifestError: the manifest is invalid, names a source without shards, or fits no stage.
    """
    report = mix(load_manifest(manifest), shards)
    return Section(
        title=f"Mixture {report.name}",
        explanation="What training draws from. A window is one sample that can be cut from a clip. The shares are "
        "the manifest's weights, normalized over the sources that have windows. Repeats say how often each window "
        "is drawn.",
        body=join([
            paragraph(f"Computed with {terms(report)}. {_DEFAULTS}"), *_realised(report),
            *map(_stage, report.stages),
        ]),
    )  # fmt: skip


def _realised(report: MixReport) -> Iterator[Markup]:
    """Show the shares of all samples over all modalities, beside the paper's if the manifest's notes name these."""
    compared = any(one.printed is not None for one in report.realised)
    yield element("h3", text("Realised shares" + (" compared with the paper's Table 10" if compared else "")))
    yield paragraph(f"{_SHARES} {_COMPARED}" if compared else _SHARES, css="explain")
    stages = list(report.realised[0].shares)
    header = ("source", *(("Table 10, printed", "scaled") if compared else ()), *stages,
              *((f"{Stage.COTRAIN} - scaled (points)",) if compared else ()))  # fmt: skip
    yield table(Table(header=header, rows=tuple(tuple(_cells(one, compared=compared)) for one in report.realised)))


def _cells(one: Realised, *, compared: bool) -> Iterator[Cell]:
    yield one.label
    if compared:
        yield from (None if share is None else percent(share) for share in (one.printed, one.scaled))
    yield from (percent(share) for share in one.shares.values())
    if compared:
        apart = one.points.get(Stage.COTRAIN)
        yield None if apart is None else points(apart)


def _stage(stage: StageMix) -> Markup:
    if stage.refused:
        title = element("h3", text(f"Stage {stage.stage}"))
        return join([title, paragraph(f"Not possible with this manifest: {stage.refused}", css="warning")])
    steps = ", ".join(f"{part.modality} {part.step_share:.2%}" for part in stage.modalities)
    rows = tuple(row for part in stage.modalities for row in _rows(part))
    return folded(
        f"Stage {stage.stage}: default share of the steps: {steps}", table(Table(header=_HEADER, rows=rows)),
        *(paragraph(f"Note: {note}") for note in stage.notes),
    )  # fmt: skip


def _rows(part: ModalityMix) -> Iterator[tuple[Cell, ...]]:
    for source in part.sources:
        yield (part.modality, source.label, source.num_clips, source.num_windows, source.weight, percent(source.share),
               source.repeats_per_100k_steps, source.num_without_instruction)  # fmt: skip
