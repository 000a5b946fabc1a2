"""Weights to shares: what part of a modality's draws each source gets, and of the steps each modality."""

from collections.abc import Mapping, Sequence

import numpy as np

from vita_data.errors import ManifestError
from vita_data.loader.pool import Pool
from vita_data.types import Basis, Float64, Manifest, Modality, Stage

_STEPS = 100_000


def masses(pools: Sequence[Pool], *, basis: Basis, temperature: float) -> Float64:
    """Weigh pools [S] relative to each other.

    Assumes: temperature T raises what the basis gives to the power 1/T, so that a T above 1 evens sources out.
    """
    sizes = {
        Basis.WEIGHT: [1.0] * len(pools),
        Basis.FRAMES: [float(pool.num_steps) for pool in pools],
        Basis.WINDOWS: [float(pool.num_windows) for pool in pools],
    }[basis]
    weights = np.array([pool.opened.entry.weight for pool in pools])
    return np.asarray((weights * np.array(sizes)) ** (1.0 / temperature), np.float64)


def step_shares(
    stage: Stage, totals: Mapping[Modality, float], batch_size: Mapping[Modality, int]
) -> Mapping[Modality, float]:
    """Share a stage's steps among the modalities that have windows (shards.md section 8).

    Args:
        stage: warmup takes equal parts, the others W_m / B_m.
        totals: W_m, the mass of each modality's pools.
        batch_size: B_m.

    Assumes: equal parts in warmup, and a source with windows in two modalities counts in both; the paper is silent.
    """
    parts = {
        modality: 1.0 if stage is Stage.WARMUP else total / batch_size[modality] for modality, total in totals.items()
    }
    return {modality: part / sum(parts.values()) for modality, part in parts.items()}


def repeats(pool: Pool, *, share: float, step_share: float, batch_size: int) -> float:
    """How often each window of a pool is seen in 100,000 steps."""
    return _STEPS * step_share * batch_size * share / pool.num_windows


def shares(
    pools: Sequence[Pool], weights: Float64, manifest: Manifest, *, step_share: float, batch_size: int
) -> Float64:
    """Normalize weights [S], no source being repeated more often than the manifest allows; the others take the rest.

    Raises:
        ManifestError: all sources together are too small for that limit.
    """
    limit = manifest.max_repeats_per_100k_steps
    if limit is None:
        return np.asarray(weights / weights.sum(), np.float64)
    most = np.array([limit * pool.num_windows for pool in pools]) / (_STEPS * step_share * batch_size)
    if most.sum() < 1:
        raise ManifestError(
            f"manifest {manifest.path}: max_repeats_per_100k_steps = {limit:g} lets {pools[0].modality} windows fill "
            f"only {most.sum():.1%} of the batches of {batch_size}; raise it, or build more data"
        )
    capped = np.zeros(len(pools), bool)
    while True:
        free = np.where(capped, 0.0, weights)
        result = np.where(capped, most, free / free.sum() * (1 - most[capped].sum()) if free.any() else 0.0)
        over = ~capped & (result > most)
        if not over.any():
            return np.asarray(result / result.sum(), np.float64)
        capped |= over
