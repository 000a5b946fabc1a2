"""What a manifest makes of the built sources, stage by stage: the numbers of `vita-data mix` as tables."""

from collections.abc import Iterator
from pathlib import Path

from vita_data.loader.mix import MixReport, ModalityMix, StageMix, mix
from vita_data.manifest import load_manifest
from vita_data.pages.html import Cell, Markup, Section, Table, element, join, paragraph, table, text

_HEADER = ("modality", "source", "clips", "windows", "weight", "share of the samples", "repeats per 100k steps",
           "clips without text, left out")  # fmt: skip


def mixture_section(manifest: Path, shards: Path) -> Section:
    """Resolve a manifest against a folder of built sources and show each stage.

    Raises:
        ManifestError: the manifest has a fault, names a source without shards, or suits no stage.
    """
    report = mix(load_manifest(manifest), shards)
    return Section(
        title=f"Mixture {report.name}",
        explanation="What training draws from: a window is one sample that can be cut from a clip; the weights of the "
                    "manifest, normalized among the sources that have windows, give the share; repeats say how often "
                    "each window comes back.",
        body=join([paragraph(_basis(report)), *(part for stage in report.stages for part in _stage(stage))]),
    )  # fmt: skip


def _basis(report: MixReport) -> str:
    return f"Shares by {report.basis}; repeats counted for a batch of {report.batch_size} samples."


def _stage(stage: StageMix) -> Iterator[Markup]:
    yield element("h3", text(f"Stage {stage.stage}"))
    if stage.refused:
        yield paragraph(f"Not possible with this manifest: {stage.refused}", css="warning")
        return
    steps = ", ".join(f"{part.modality} {part.step_share:.2%}" for part in stage.modalities)
    yield paragraph(f"Share of the steps: {steps}.")
    yield table(Table(header=_HEADER, rows=tuple(row for part in stage.modalities for row in _rows(part))))
    yield from (paragraph(f"Note: {note}") for note in stage.notes)


def _rows(part: ModalityMix) -> Iterator[tuple[Cell, ...]]:
    for source in part.sources:
        yield (part.modality, source.label, source.num_clips, source.num_windows, source.weight, f"{source.share:.2%}",
               source.repeats_per_100k_steps, source.num_without_instruction)  # fmt: skip
