"""Converts weights to shares: of a modality's draws for each source, and of the steps for each modality."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from vita_data.errors import ManifestError
from vita_data.loader.order.pool import Pool
from vita_data.types import Basis, Float64, Manifest, Modality, Stage

_STEPS = 100_000
MIN_SHARE = 1e-9
"""A smaller share is refused: no run would ever draw it, and the draw order could not represent it."""


def masses(pools: Mapping[Modality, Sequence[Pool]], manifest: Manifest, *, basis: Basis) -> Mapping[Modality, Float64]:
    """Weigh the pools [S] of every modality relative to the heaviest one, which gets 1.

    Assumes: temperature T raises the basis' values to the power 1/T, so that T > 1 makes the sources more equal.

    Raises:
        ManifestError: a source would get less than MIN_SHARE of a modality's draws; names it.
    """
    scaled = _scaled(pools, basis=basis)
    found = {modality: values ** (1.0 / manifest.temperature) for modality, values in scaled.items()}
    for modality, values in found.items():
        total = values.sum()
        for pool, value in zip(pools[modality], values.tolist(), strict=True):
            if not 0 < value < np.inf or value < MIN_SHARE * total:
                raise ManifestError(
                    f"manifest {manifest.path}: source {pool.opened.label!r} gets almost none (or an undefined share) "
                    f"of the {modality} draws with basis {basis} and temperature = {manifest.temperature:g}; bring the "
                    "weights closer together, or raise the temperature"
                )
    return found


def _scaled(pools: Mapping[Modality, Sequence[Pool]], *, basis: Basis) -> Mapping[Modality, Float64]:
    """Return weight x size of every pool, with the largest scaled to 1.

    The division comes before each product, so that a weight of 1e308 does not overflow. Logarithms are not used: their
    last bits differ between processors and would change the plan's hash.
    """
    sizes = {modality: np.array([_size(pool, basis) for pool in members]) for modality, members in pools.items()}
    weights = {
        modality: np.array([pool.opened.entry.weight for pool in members]) for modality, members in pools.items()
    }
    most_size, most_weight = (max(float(values.max()) for values in part.values()) for part in (sizes, weights))
    products = {modality: (weights[modality] / most_weight) * (sizes[modality] / most_size) for modality in pools}
    most = max(float(values.max()) for values in products.values())
    return {modality: np.asarray(values / most, np.float64) for modality, values in products.items()}


def _size(pool: Pool, basis: Basis) -> float:
    return {Basis.WEIGHT: 1.0, Basis.FRAMES: float(pool.num_steps), Basis.WINDOWS: float(pool.num_windows)}[basis]


def step_shares(
    stage: Stage,
    totals: Mapping[Modality, float],
    batch_size: Mapping[Modality, int],
    *,
    also: Collection[Modality] = (),
) -> Mapping[Modality, float]:
    """Share a stage's steps among the modalities that have windows (vita_data/README.md).

    Args:
        stage: warmup uses equal shares, the other stages W_m / B_m.
        totals: W_m, the mass of each modality's pools.
        batch_size: B_m.
        also: the modalities that together get half of the steps, in equal shares; the others share the rest.

    Assumes: equal shares in warmup, and a source with windows in two modalities counts in both; the paper does not say.
    """
    parts = {
        modality: 1.0 if stage is Stage.WARMUP else total / batch_size[modality] for modality, total in totals.items()
    }
    groups = [[m for m in parts if (m in also) is joins] for joins in (False, True)]
    groups = [group for group in groups if group]
    return {m: parts[m] / sum(parts[one] for one in group) / len(groups) for group in groups for m in group}


def repeats(pool: Pool, *, share: float, step_share: float, batch_size: int) -> float:
    """Return how often each window of a pool is drawn in 100,000 steps."""
    return _STEPS * step_share * batch_size * share / pool.num_windows


def shares(
    pools: Sequence[Pool], weights: Float64, manifest: Manifest, *, step_share: float, batch_size: int
) -> Float64:
    """Normalize weights [S]; sources at the manifest's repeat limit are capped, and the others get the rest.

    Raises:
        ManifestError: all sources together are too small for the limit.
    """
    limit = manifest.max_repeats_per_100k_steps
    if limit is None:
        return np.asarray(weights / weights.sum(), np.float64)
    most = np.array([limit * pool.num_windows for pool in pools]) / (_STEPS * step_share * batch_size)
    if most.sum() < 1:
        raise ManifestError(
            f"manifest {manifest.path}: max_repeats_per_100k_steps = {limit:g} limits the {pools[0].modality} windows "
            f"to {most.sum():.1%} of the batches of {batch_size}; raise it, or build more data"
        )
    capped = np.zeros(len(pools), bool)
    while True:
        free = np.where(capped, 0.0, weights)
        result = np.where(capped, most, free / free.sum() * (1 - most[capped].sum()) if free.any() else 0.0)
        over = ~capped & (result > most)
        if not over.any():
            return np.asarray(result / result.sum(), np.float64)
        capped |= over
