"""Resolves a manifest against built shards for every stage: the numbers of `vita-data mix`.

Uses the same plan as training, so the report counts exactly what training will draw. The paper's proportions are stored
only in the notes of a manifest's entries and are read from there. `vita_data.loader.mixture.text` formats the report.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from vita_data import SCHEMA_VERSION
from vita_data.command.progress import SILENT, Progress
from vita_data.errors import ManifestError, RequestError, StorageError
from vita_data.loader.order.plan import Plan, PlannedPool
from vita_data.loader.order.pool import OpenEntry, Pool, make_pool, open_entries
from vita_data.loader.order.request import PlanRequest
from vita_data.loader.order.shares import masses
from vita_data.storage.files import AnyPath, describe_fault, open_path, write_atomically
from vita_data.types import Basis, Json, Manifest, Modality, Stage

BATCH_SIZE = 1024
"""The batch size of pre-training (VITA 7.2)."""

_PRINTED = re.compile(r"Table 10: (\d+(?:\.\d+)?)% printed")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMix:
    """A source in one modality of a stage."""

    label: str
    num_clips: int
    num_steps: int
    """Native steps of those clips, which basis `frames` counts."""
    num_windows: int
    weight: float
    share: float
    share_before: float | None
    """Share without the manifest's temperature and cap; None if it would be too small to draw."""
    repeats_per_100k_steps: float
    num_without_instruction: int
    """Clips that this stage skips because they have no instruction."""
    num_clips_whole: int
    """Clips with a window without `where`, `fraction` and `exclude`."""
    num_windows_whole: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityMix:
    """The batches of one modality in a stage."""

    modality: Modality
    step_share: float
    sources: tuple[SourceMix, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMix:
    """A stage; `refused` explains, without the manifest's path, why it cannot be trained; empty if it can."""

    stage: Stage
    refused: str
    notes: tuple[str, ...]
    modalities: tuple[ModalityMix, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Realised:
    """A source's share of all samples over all modalities, compared with the paper's Table 10; from 0 to 1."""

    label: str
    printed: float | None
    """The proportion in the table, from the entry's note."""
    scaled: float | None
    """The proportion among the entries of this manifest whose notes name one."""
    shares: Mapping[str, float]
    """By name of each possible stage, for the same batch size in every modality."""
    points: Mapping[str, float]
    """Each stage's share minus `scaled`, in percentage points; empty without `scaled`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixReport:
    """A manifest resolved against built shards."""

    name: str
    basis: Basis
    temperature: float
    max_repeats_per_100k_steps: float | None
    batch_size: int
    digests: dict[str, str]
    """Digest of each entry's shards, by label."""
    stages: tuple[StageMix, ...]
    realised: tuple[Realised, ...]
    """One per manifest entry, in its order."""

    @property
    def reweighs(self) -> bool:
        """Whether a temperature or a cap changes the shares."""
        return self.temperature != 1 or self.max_repeats_per_100k_steps is not None

    def as_json(self) -> Json:
        """Return the report as JSON."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    def write_lock(self, shards: str | AnyPath) -> AnyPath:
        """Write `<name>.lock.json` beside the shards: digests and resolved shares; return its path.

        Raises:
            RequestError: the folder, or the bucket, cannot be written to.
        """
        path = (open_path(shards) if isinstance(shards, str) else shards) / f"{self.name}.lock.json"
        data = json.dumps(self.as_json(), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
        try:
            write_atomically(path, data)
        except (OSError, StorageError) as error:
            reason = getattr(error, "strerror", None) or describe_fault(error.__cause__ or error)
            raise RequestError(
                f"lock file {path} cannot be written ({reason}); the mixture itself is valid: make {shards} writable "
                "to record it"
            ) from error
        return path


def mix(
    manifest: Manifest,
    shards: str | AnyPath,
    *,
    basis: Basis | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress = SILENT,
) -> MixReport:
    """Resolve a manifest for every stage.

    Args:
        manifest: what to mix.
        shards: the folder that `vita-data build` wrote to.
        basis: overrides the manifest's basis.
        batch_size: global batch size for counting and capping repeats.
        progress: counts the sources that are opened and the stages that are resolved.

    Raises:
        ManifestError: a source is not built, or no stage can be trained.
    """
    progress.start(len(manifest.entries) + len(Stage))
    opened = open_entries(manifest, shards, progress)
    stages: list[StageMix] = []
    for stage in Stage:
        stages.append(_stage_mix(manifest, opened, PlanRequest(stage=stage, batch_size=batch_size, basis=basis)))
        progress.update(note=f"stage {stage}")
    if all(stage.refused for stage in stages):
        raise ManifestError(_in_manifest(manifest) + stages[0].refused)
    return MixReport(
        name=manifest.name, basis=basis or manifest.basis, temperature=manifest.temperature,
        max_repeats_per_100k_steps=manifest.max_repeats_per_100k_steps, batch_size=batch_size, stages=tuple(stages),
        digests={one.label: one.index.digest for one in opened},
        realised=_realised([one.label for one in opened], printed_shares(manifest), stages),
    )  # fmt: skip


def sample_shares(stage: StageMix) -> Mapping[str, float]:
    """Return each source's share of a stage's samples over all modalities, for the same batch size in every modality.

    A source with samples of two modalities counts with both.
    """
    found: dict[str, float] = {}
    for part in stage.modalities:
        for source in part.sources:
            found[source.label] = found.get(source.label, 0.0) + part.step_share * source.share
    return found


def printed_shares(manifest: Manifest) -> tuple[float | None, ...]:
    """Return the proportions of the paper's Table 10 in a manifest's notes, from 0 to 1, one per entry."""
    found = (_PRINTED.search(entry.note) for entry in manifest.entries)
    return tuple(None if match is None else float(f"{match[1]}e-2") for match in found)


def _realised(
    labels: Sequence[str], printed: Sequence[float | None], stages: Sequence[StageMix]
) -> tuple[Realised, ...]:
    total = sum(share or 0.0 for share in printed)
    drawn = {str(one.stage): sample_shares(one) for one in stages if not one.refused}
    made: list[Realised] = []
    for label, paper in zip(labels, printed, strict=True):
        shares = {stage: found.get(label, 0.0) for stage, found in drawn.items()}
        scaled = paper / total if paper else paper
        points = {} if scaled is None else {stage: 100 * (share - scaled) for stage, share in shares.items()}
        made.append(Realised(label=label, printed=paper, scaled=scaled, shares=shares, points=points))
    return tuple(made)


def _in_manifest(manifest: Manifest) -> str:
    return f"manifest {manifest.path}: "


def _stage_mix(manifest: Manifest, opened: Sequence[OpenEntry], request: PlanRequest) -> StageMix:
    try:
        plan = Plan.resolve(manifest, opened, request)
    except ManifestError as error:
        # Reports and lock files are read on other machines, where the manifest lies elsewhere.
        reason = str(error).removeprefix(_in_manifest(manifest))
        return StageMix(stage=request.stage, refused=reason, notes=(), modalities=())
    before = _shares_before(plan)
    modalities = tuple(
        ModalityMix(
            modality=modality, step_share=plan.modality_steps[modality],
            sources=tuple(
                _source_mix(one, request.stage, share) for one, share in zip(planned, before[modality], strict=True)
            ),
        )
        for modality, planned in plan.pools.items()
    )  # fmt: skip
    return StageMix(
        stage=request.stage, refused="", notes=(*plan.notes, *_subset_notes(plan, modalities)), modalities=modalities
    )


def _source_mix(planned: PlannedPool, stage: Stage, share_before: float | None) -> SourceMix:
    pool = planned.pool
    whole = _whole(pool, stage)
    return SourceMix(
        label=planned.label, num_clips=len(pool.rows), num_steps=pool.num_steps, num_windows=pool.num_windows,
        weight=pool.opened.entry.weight, share=planned.share, share_before=share_before,
        repeats_per_100k_steps=planned.repeats_per_100k_steps,
        num_without_instruction=pool.num_without_instruction,
        num_clips_whole=len(whole.rows), num_windows_whole=whole.num_windows,
    )  # fmt: skip


def _whole(pool: Pool, stage: Stage) -> Pool:
    """Return the pool that the entry would have without `where`, `fraction` and `exclude`."""
    opened = pool.opened
    if opened.chosen.all():
        return pool
    everything = replace(opened, chosen=np.ones_like(opened.chosen))
    return make_pool(everything, stage=stage, modality=pool.modality, spec=pool.spec)


def _shares_before(plan: Plan) -> Mapping[Modality, Sequence[float | None]]:
    pools = {modality: [one.pool for one in planned] for modality, planned in plan.pools.items()}
    try:
        found = masses(pools, replace(plan.manifest, temperature=1.0), basis=plan.basis)
    except ManifestError:
        # The mixture may be possible only with the temperature.
        return {modality: [None] * len(members) for modality, members in pools.items()}
    return {modality: (values / values.sum()).tolist() for modality, values in found.items()}


def _subset_notes(plan: Plan, modalities: Sequence[ModalityMix]) -> Iterator[str]:
    entries = {one.label: one.pool.opened.entry for planned in plan.pools.values() for one in planned}
    for part in modalities:
        for source in part.sources:
            entry = entries[source.label]
            limits = [f"{key} = {value}" for key, value in sorted(entry.where.items())]
            limits += [entry.condition] if entry.condition else []
            limits += [] if entry.fraction == 1 else [f"fraction = {entry.fraction:g}"]
            limits += [f"exclude = {Path(entry.exclude).name}"] if entry.exclude else []
            if limits:
                yield (
                    f"{entry.source}: {', '.join(limits)} limits {part.modality} batches to {source.num_clips:,} of "
                    f"{source.num_clips_whole:,} clips, {source.num_windows:,} of {source.num_windows_whole:,} windows"
                )
