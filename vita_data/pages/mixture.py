"""What a manifest makes of the built sources, stage by stage: the numbers of `vita-data mix`, and the paper's beside.

The paper's proportions stand in the notes of a manifest's entries and nowhere else; they are read from there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vita_data.loader.mix import MixReport, ModalityMix, StageMix, mix
from vita_data.manifest import load_manifest
from vita_data.pages.html import Cell, Markup, Section, Table, element, join, paragraph, table, text
from vita_data.storage import AnyPath
from vita_data.types import Manifest, Stage

_HEADER = ("modality", "source", "clips", "windows", "weight", "share of the samples", "repeats per 100k steps",
           "clips without text, left out")  # fmt: skip
_PRINTED = re.compile(r"Table 10: (\d+(?:\.\d+)?)% printed")

_COMPARED = (
    "Printed: the proportion in the paper. Scaled: the same among the sources of this manifest, which the shares of "
    "co-train equal where the manifest weighs by them. Warmup gives half of its steps to actions, so its shares differ "
    "by design."
)


def mixture_section(manifest: Path, shards: AnyPath) -> Section:
    """Resolve a manifest against a folder of built sources and show each stage.

    Raises:
        ManifestError: the manifest has a fault, names a source without shards, or suits no stage.
    """
    asked = load_manifest(manifest)
    report = mix(asked, shards)
    return Section(
        title=f"Mixture {report.name}",
        explanation="What training draws from: a window is one sample that can be cut from a clip; the weights of the "
                    "manifest, normalized among the sources that have windows, give the share; repeats say how often "
                    "each window comes back.",
        body=join([
            paragraph(_basis(report)), *_realised(asked, report),
            *(part for stage in report.stages for part in _stage(stage)),
        ]),
    )  # fmt: skip


def sample_shares(stage: StageMix) -> Mapping[str, float]:
    """Which part of a stage's samples each source gives, over all modalities, for batches of one size.

    A source that gives samples of two modalities counts with both.
    """
    found: dict[str, float] = {}
    for part in stage.modalities:
        for source in part.sources:
            found[source.label] = found.get(source.label, 0.0) + part.step_share * source.share
    return found


def printed_shares(manifest: Manifest) -> tuple[float | None, ...]:
    """The proportions of the paper's Table 10 that a manifest's notes state, as parts of 1, one an entry."""
    found = (_PRINTED.search(entry.note) for entry in manifest.entries)
    return tuple(None if match is None else float(match[1]) / 100 for match in found)


def _realised(manifest: Manifest, report: MixReport) -> Iterator[Markup]:
    """Set the shares of all samples, every modality together, against the paper's."""
    printed = printed_shares(manifest)
    yield element("h3", text("Realised shares against the paper's Table 10"))
    compared = any(share is not None for share in printed)
    words = _COMPARED if compared else "The notes of this manifest state no proportion of Table 10: nothing to compare."
    yield paragraph(words, css="explain")
    stages = [stage for stage in report.stages if not stage.refused]
    total = sum(share or 0.0 for share in printed)
    rows = [
        (label, *(_paper_cells(share, total) if compared else ()), *_share_cells(label, stages),
         *(_apart(label, share, total, stages) if compared else ()))
        for label, share in zip(report.digests, printed, strict=True)
    ]  # fmt: skip
    header = ("source", *(("Table 10, printed", "scaled") if compared else ()), *(f"{one.stage}" for one in stages),
              *((f"{Stage.COTRAIN} - scaled (points)",) if compared else ()))  # fmt: skip
    yield table(Table(header=header, rows=tuple(rows)))


def _paper_cells(printed: float | None, total: float) -> tuple[Cell, ...]:
    return (None, None) if printed is None else (_percent(printed), _percent(printed / total))


def _share_cells(label: str, stages: Sequence[StageMix]) -> tuple[Cell, ...]:
    return tuple(_percent(sample_shares(stage).get(label, 0.0)) for stage in stages)


def _apart(label: str, printed: float | None, total: float, stages: Sequence[StageMix]) -> tuple[Cell, ...]:
    share = next((sample_shares(stage).get(label, 0.0) for stage in stages if stage.stage is Stage.COTRAIN), None)
    return (None,) if printed is None or share is None else (f"{100 * (share - printed / total):+.2f}",)


def _percent(share: float) -> Cell:
    return f"{share:.2%}"


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
