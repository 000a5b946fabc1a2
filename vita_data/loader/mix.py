"""What a manifest comes to with the shards at hand, stage by stage: the numbers behind `vita-data mix`.

Uses the same plan as training, so that what is printed is what will be drawn.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from vita_data import SCHEMA_VERSION
from vita_data.errors import ManifestError, RequestError
from vita_data.loader.plan import Plan
from vita_data.loader.pool import OpenEntry, open_entries
from vita_data.loader.request import PlanRequest
from vita_data.storage import AnyPath, open_path, write_atomically
from vita_data.types import Basis, Json, Manifest, Modality, Stage

_COLUMNS = ("source", "clips", "windows", "weight", "share", "repeats/100k", "no text")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMix:
    """A source in one modality of a stage."""

    label: str
    num_clips: int
    num_windows: int
    weight: float
    share: float
    repeats_per_100k_steps: float
    num_without_instruction: int
    """Clips that this stage leaves out for want of an instruction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityMix:
    """One kind of batch of a stage."""

    modality: Modality
    step_share: float
    sources: tuple[SourceMix, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMix:
    """A stage; `refused` says why it cannot be trained with this manifest, and is empty if it can."""

    stage: Stage
    refused: str
    notes: tuple[str, ...]
    modalities: tuple[ModalityMix, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixReport:
    """A manifest resolved against built shards."""

    name: str
    basis: Basis
    batch_size: int
    digests: dict[str, str]
    """Digest of each entry's shards, by label."""
    stages: tuple[StageMix, ...]

    def as_json(self) -> Json:
        """Lay the report out for machines."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    def table(self) -> str:
        """Lay the report out for people."""
        lines = [f"{self.name}: basis {self.basis}, batch size {self.batch_size}"]
        for stage in self.stages:
            lines += _stage_lines(stage)
        return "\n".join(lines)

    def write_lock(self, shards: str | AnyPath) -> AnyPath:
        """Write `<name>.lock.json` beside the shards: digests and resolved shares; return its path.

        Raises:
            RequestError: the folder cannot be written to.
        """
        path = (open_path(shards) if isinstance(shards, str) else shards) / f"{self.name}.lock.json"
        data = json.dumps(self.as_json(), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
        try:
            write_atomically(path, data)
        except OSError as error:
            raise RequestError(
                f"lock file {path} cannot be written ({error.strerror or error}); the mixture itself is fine: make "
                f"{shards} writable to record it"
            ) from error
        return path


def mix(manifest: Manifest, shards: str | AnyPath, *, basis: Basis | None = None, batch_size: int = 1024) -> MixReport:
    """Resolve a manifest for every stage.

    Args:
        manifest: what to mix.
        shards: the folder that `vita-data build` wrote to.
        basis: overrides the manifest's.
        batch_size: global batch that repeats are counted for; the paper's is 1024 (VITA 7.2).

    Raises:
        ManifestError: a source is not built, or no stage can be trained.
    """
    opened = open_entries(manifest, shards)
    stages = tuple(
        _stage_mix(manifest, opened, PlanRequest(stage=stage, batch_size=batch_size, basis=basis)) for stage in Stage
    )
    if all(stage.refused for stage in stages):
        raise ManifestError(stages[0].refused)
    return MixReport(
        name=manifest.name, basis=basis or manifest.basis, batch_size=batch_size, stages=stages,
        digests={one.label: one.index.digest for one in opened},
    )  # fmt: skip


def _stage_mix(manifest: Manifest, opened: Sequence[OpenEntry], request: PlanRequest) -> StageMix:
    try:
        plan = Plan.resolve(manifest, opened, request)
    except ManifestError as error:
        return StageMix(stage=request.stage, refused=str(error), notes=(), modalities=())
    modalities = tuple(
        ModalityMix(
            modality=modality, step_share=plan.modality_steps[modality],
            sources=tuple(
                SourceMix(
                    label=one.label, num_clips=len(one.pool.rows), num_windows=one.pool.num_windows,
                    weight=one.pool.opened.entry.weight, share=one.share,
                    repeats_per_100k_steps=one.repeats_per_100k_steps,
                    num_without_instruction=one.pool.num_without_instruction,
                )
                for one in planned
            ),
        )
        for modality, planned in plan.pools.items()
    )  # fmt: skip
    return StageMix(stage=request.stage, refused="", notes=plan.notes, modalities=modalities)


def _stage_lines(stage: StageMix) -> list[str]:
    if stage.refused:
        return ["", f"{stage.stage}: not possible; {stage.refused}"]
    lines: list[str] = []
    for part in stage.modalities:
        rows = [_COLUMNS, *(_cells(source) for source in part.sources)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        lines += ["", f"{stage.stage}: {part.modality} batches, {part.step_share:.2%} of the steps"]
        lines += [
            "  " + "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
    return lines + [f"  note: {note}" for note in stage.notes]


def _cells(source: SourceMix) -> tuple[str, ...]:
    return (
        source.label, f"{source.num_clips:,}", f"{source.num_windows:,}", f"{source.weight:g}", f"{source.share:.2%}",
        f"{source.repeats_per_100k_steps:,.2f}", f"{source.num_without_instruction:,}",
    )  # fmt: skip
