"""Everything that the order of a run depends on, resolved once: pools, shares, batch sizes, windows, seed.

A plan contains numbers and open indexes; it reads no clips and makes no later decisions. Plans with equal hashes give
the same order.
"""

import dataclasses
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vita_data import SCHEMA_VERSION
from vita_data.config.checks import MAX_SEED, whole
from vita_data.errors import ManifestError
from vita_data.loader.normalize import acts_by_joints, scaling_digest
from vita_data.loader.order.pool import OpenEntry, Pool, make_pool, open_entries
from vita_data.loader.order.request import GLOBAL_ORDER, PlanRequest, default_windows, plain_sizes, stage_named
from vita_data.loader.order.shares import masses, repeats, shares, step_shares
from vita_data.manifest import as_manifest
from vita_data.shards.schema import json_bytes
from vita_data.slots import batch_columns
from vita_data.storage.files import AnyPath
from vita_data.types import (
    Basis,
    DrawOrder,
    Float64,
    Json,
    Manifest,
    Modality,
    Order,
    ResizeMode,
    Stage,
    Starts,
    WindowSpec,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPool:
    """A pool with its part of the mixture."""

    pool: Pool
    share: float
    """Its share of its modality's draws."""
    repeats_per_100k_steps: float
    statistics: str
    """Digest of the numbers that its actions and states are scaled by; empty if a batch contains neither."""
    offset: int = 0
    """Added to its draws, so that a source keeps its position when the rest of the plan changes."""

    @property
    def label(self) -> str:
        """Name of the mixture entry."""
        return self.pool.opened.label


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The resolved mixture of a stage."""

    manifest: Manifest
    stage: Stage
    seed: int
    basis: Basis
    windows: WindowSpec
    order: DrawOrder
    batch_size: Mapping[Modality, int]
    """Size of the global batch, for each modality in use."""
    modality_steps: Mapping[Modality, float]
    """Share of the steps of each modality; adds up to 1."""
    pools: Mapping[Modality, tuple[PlannedPool, ...]]
    statistics: Mapping[str, Json]
    """Each source's stats.json, for checkpoints."""
    resizes: Mapping[str, ResizeMode]
    """How each source's images were made square, for checkpoints."""
    notes: tuple[str, ...]
    """What a user should know about this plan."""
    joints: bool = False
    """Whether actions in batches include joint targets; the order does not depend on it."""

    @classmethod
    def from_manifest(
        cls,
        manifest: Manifest | str | Path,
        *,
        shards: str | AnyPath,
        stage: Stage | str,
        batch_size: int | Mapping[str, int],
        seed: int = 0,
        windows: WindowSpec | None = None,
        modality_steps: Mapping[str, float] | None = None,
        also: Collection[Modality] = (),
        basis: Basis | None = None,
        order: DrawOrder = GLOBAL_ORDER,
        joints: bool = False,
    ) -> Self:
        """Resolve a manifest against built shards.

        Args:
            manifest: what to mix, or the path of its file.
            shards: the folder that `vita-data build` wrote to.
            stage: decides the modalities, the pools and the defaults below.
            batch_size: size of the global batch; one number, or one per modality.
            seed: another seed gives another order with the same proportions.
            windows: how samples are cut; default: the stage's (vita_data/README.md).
            modality_steps: share of the steps of each modality; default: the stage's.
            also: modalities that get half of the steps if sources have such windows, while the stage's usual modalities
                get the other half: for example, warmup may also draw paired windows.
            basis: overrides the manifest's basis.
            order: the order of the windows within each source.
            joints: actions in batches include joint targets, [B, H, 28] instead of [B, H, 14].

        Raises:
            ManifestError: a source is not built, or has no window in any modality in use.
            RequestError: stage, batch size, windows, seed, joints or modality_steps make no sense.
        """
        request = PlanRequest(
            stage=stage_named(stage), batch_size=plain_sizes(batch_size), seed=whole("seed", seed, most=MAX_SEED),
            windows=windows, modality_steps=modality_steps, also=also, basis=basis, order=order, joints=joints,
        )  # fmt: skip
        named = as_manifest(manifest)
        return cls.resolve(named, open_entries(named, shards), request)

    @classmethod
    def resolve(cls, manifest: Manifest, opened: Sequence[OpenEntry], request: PlanRequest) -> Self:
        """Resolve a manifest whose indexes are open; raises the same errors as `from_manifest`."""
        stage, basis = request.stage, request.basis or manifest.basis
        spec = request.windows or default_windows(stage, opened)
        counted = {
            modality: [make_pool(one, stage=stage, modality=modality, spec=spec) for one in opened]
            for modality in request.modalities
        }
        _check_used(manifest, opened, stage, counted)
        pools = {m: kept for m, all_ in counted.items() if (kept := [pool for pool in all_ if pool.num_windows])}
        sizes = request.batch_sizes(list(pools))
        weights = masses(pools, manifest, basis=basis)
        totals = {m: float(weights[m].sum()) for m in pools}
        steps = request.given_steps(list(pools)) or step_shares(stage, totals, sizes, also=request.also)
        statistics = {one.entry.source: one.stats.as_json() for one in opened}
        resizes = {one.entry.source: one.index.resize for one in opened}
        planned = {
            m: _planned(kept, statistics, shares(kept, weights[m], manifest, step_share=steps[m], batch_size=sizes[m]),
                        step_share=steps[m], batch_size=sizes[m])
            for m, kept in pools.items()
        }  # fmt: skip
        return cls(
            manifest=manifest, stage=stage, seed=request.seed, basis=basis, windows=spec, order=request.order,
            batch_size=sizes, modality_steps=steps, pools=planned, statistics=statistics, resizes=resizes,
            joints=request.joints,
            notes=(*_notes(opened, stage, spec, counted), *_joint_notes(planned, statistics, joints=request.joints)),
        )  # fmt: skip

    @property
    def num_action_dims(self) -> int:
        """Number of columns of the actions in its batches."""
        return len(batch_columns(joints=self.joints))

    @property
    def joint_sources(self) -> tuple[str, ...]:
        """The sources that it draws actions from and that have an arm of which only joints are known."""
        return _joint_sources(self.pools, self.statistics)

    @property
    def fields(self) -> Mapping[str, object]:
        """What the order depends on besides the sources, by name; JSON-able."""
        spec, order = self.windows, self.order
        # The global order is omitted, so that states written before other orders existed can still be read.
        other = {"order": {"kind": str(order.kind), "num_shards": order.num_shards}}
        return {
            **({} if order.kind is Order.GLOBAL else other),
            "schema_version": SCHEMA_VERSION,
            "stage": str(self.stage),
            "seed": self.seed,
            "batch_size": {str(modality): size for modality, size in self.batch_size.items()},
            "modality_steps": {str(modality): share for modality, share in self.modality_steps.items()},
            "windows": {
                "starts": str(spec.starts), "horizon": spec.horizon, "futures": spec.futures,
                "frame_interval_s": spec.frame_interval_s, "views": [str(view) for view in spec.views],
                "min_futures": spec.min_futures,
                **({} if spec.chunk_s is None else {"chunk_s": spec.chunk_s}),
            },
        }  # fmt: skip

    @property
    def hash(self) -> str:
        """The sha256 of everything that the order depends on."""
        sources = {
            str(modality): [[one.label, one.pool.digest, one.statistics, one.share, one.offset] for one in planned]
            for modality, planned in self.pools.items()
        }
        return hashlib.sha256(json_bytes([self.fields, sources])).hexdigest()

    def with_offsets(self, offsets: Mapping[tuple[Modality, str], int]) -> Self:
        """Shift the draws of some sources, given by modality and label; the other sources keep theirs."""
        pools = {
            modality: tuple(dataclasses.replace(one, offset=offsets.get((modality, one.label), 0)) for one in planned)
            for modality, planned in self.pools.items()
        }
        return dataclasses.replace(self, pools=pools)

    def __repr__(self) -> str:
        parts = [
            f"{modality} {self.modality_steps[modality]:.0%} of batches, {self.batch_size[modality]} each: "
            + ", ".join(f"{one.label} {one.share:.1%} ({one.pool.num_windows:,} windows)" for one in planned)
            for modality, planned in self.pools.items()
        ]
        return f"Plan({self.manifest.name}, stage {self.stage}, seed {self.seed}; {'; '.join(parts)})"


def _joint_sources(pools: Mapping[Modality, Sequence[PlannedPool]], statistics: Mapping[str, Json]) -> tuple[str, ...]:
    drawn = (one.pool for modality, planned in pools.items() if modality is not Modality.VIDEO for one in planned)
    sources = sorted({pool.opened.entry.source for pool in drawn})
    return tuple(source for source in sources if acts_by_joints(statistics, source))


def _joint_notes(
    pools: Mapping[Modality, Sequence[PlannedPool]], statistics: Mapping[str, Json], *, joints: bool
) -> tuple[str, ...]:
    return () if joints else tuple(
        f"{source}: has arms of which only joints are known; of these, batches contain the grippers alone, with "
        "joints=True also the joint targets"
        for source in _joint_sources(pools, statistics)
    )  # fmt: skip


def _planned(
    pools: Sequence[Pool], statistics: Mapping[str, Json], parts: Float64, *, step_share: float, batch_size: int
) -> tuple[PlannedPool, ...]:
    return tuple(
        PlannedPool(
            pool=pool, share=float(part),
            repeats_per_100k_steps=repeats(pool, share=float(part), step_share=step_share, batch_size=batch_size),
            statistics=_statistics_digest(pool, statistics),
        )
        for pool, part in zip(pools, parts, strict=True)
    )  # fmt: skip


def _statistics_digest(pool: Pool, statistics: Mapping[str, Json]) -> str:
    return "" if pool.modality is Modality.VIDEO else scaling_digest(statistics, pool.opened.entry.source)


def _check_used(
    manifest: Manifest, opened: Sequence[OpenEntry], stage: Stage, counted: Mapping[Modality, Sequence[Pool]]
) -> None:
    for number, one in enumerate(opened):
        mine = [pools[number] for pools in counted.values()]
        if not any(pool.num_windows for pool in mine):
            skipped = sum(pool.num_without_instruction for pool in mine)
            why = f"; {skipped} clips were skipped because they have no instruction" if skipped else ""
            raise ManifestError(
                f"manifest {manifest.path}: source {one.label!r} has no window for stage {stage}, which uses "
                f"{' and '.join(counted)} batches{why}; remove it from the manifest of this stage"
            )


def _notes(
    opened: Sequence[OpenEntry], stage: Stage, spec: WindowSpec, counted: Mapping[Modality, Sequence[Pool]]
) -> tuple[str, ...]:
    notes = [
        f"stage {stage}: no source has {modality} windows, so it has no {modality} batches"
        for modality, pools in counted.items()
        if not any(pool.num_windows for pool in pools)
    ]
    notes += [
        f"{pool.opened.label}: {modality} batches skip {pool.num_without_instruction} clips without instruction"
        for modality, pools in counted.items()
        for pool in pools
        if pool.num_without_instruction
    ]
    if spec.starts is Starts.ROWS:
        sparse = ", ".join(one.label for one in opened if all(view.keyframes_only for view in one.views))
        if sparse:
            notes.append(f"{sparse}: built with keyframes only, so windows start at keyframes instead of at every row")
    return tuple(notes)
