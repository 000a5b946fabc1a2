"""Which windows make up batch k of a run: a pure function of (plan, k), so that resuming is arithmetic.

Knows nothing of images, threads or tensors. Ranks take slices of one global batch.
"""

from dataclasses import dataclass

import numpy as np

from vita_data.errors import RequestError
from vita_data.loader.blocks import Blocks
from vita_data.loader.permute import key_of, permute
from vita_data.loader.plan import Plan, PlannedPool
from vita_data.types import BatchPlan, Int64, Json, Modality, Window

DRAW_BLOCK = 4096
STEP_BLOCK = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """A rank's slice of a batch: for each slot the pool of the batch's modality, and the window's number in it."""

    step: int
    modality: Modality
    pool: Int64
    """[B / world size]"""
    window: Int64
    """[B / world size]"""


class MixedModalitySampler:
    """The sampler of all three stages (vita_data/README.md)."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._modalities = tuple(plan.pools)
        steps = np.array([plan.modality_steps[modality] for modality in self._modalities])
        self._steps = Blocks(steps, block=STEP_BLOCK, key=key_of(plan.seed, "modalities"))
        self._draws = {
            modality: Blocks(
                np.array([one.share for one in pools]), block=DRAW_BLOCK, key=key_of(plan.seed, "sources", modality)
            )
            for modality, pools in plan.pools.items()
        }

    def batch(self, k: int, *, rank: int = 0, world_size: int = 1) -> BatchPlan:
        """Name the windows of a rank's slice of global batch k.

        Raises:
            RequestError: k is negative or there is no such rank.
        """
        picks = self.picks(k, rank=rank, world_size=world_size)
        pools = self.plan.pools[picks.modality]
        windows = []
        for number, window in zip(picks.pool.tolist(), picks.window.tolist(), strict=True):
            pool = pools[number].pool
            view, clip, step = pool.locate(window)
            windows.append(Window(pool.opened.entry.source, view.text("key", clip), step))
        return BatchPlan(step=k, modality=picks.modality, windows=tuple(windows))

    def picks(self, k: int, *, rank: int = 0, world_size: int = 1) -> Picks:
        """Number the windows of a rank's slice of global batch k, without opening a clip; raises as `batch` does."""
        if k < 0 or not 0 <= rank < world_size:
            raise RequestError(f"batch {k} of rank {rank} of {world_size}: need batch >= 0 and 0 <= rank < world size")
        choice = self._steps.draws(k, k + 1)
        modality = self._modalities[int(choice.member[0])]
        size = self.plan.batch_size[modality]
        first = int(choice.ordinal[0]) * size
        draws = self._draws[modality].draws(first + rank * size // world_size, first + (rank + 1) * size // world_size)
        windows = np.empty(len(draws.member), np.int64)
        for number, planned in enumerate(self.plan.pools[modality]):
            mine = draws.member == number
            windows[mine] = self._windows(modality, planned, draws.ordinal[mine] + planned.offset)
        return Picks(step=k, modality=modality, pool=draws.member, window=windows)

    def draws_before(self, k: int) -> dict[tuple[Modality, str], int]:
        """Count the draws of every pool, by modality and label, in batches 0..k-1, its offset included."""
        counts: dict[tuple[Modality, str], int] = {}
        for modality, steps in zip(self._modalities, self._steps.counts(k).tolist(), strict=True):
            drawn = self._draws[modality].counts(steps * self.plan.batch_size[modality]).tolist()
            for planned, count in zip(self.plan.pools[modality], drawn, strict=True):
                counts[modality, planned.label] = count + planned.offset
        return counts

    def state_dict(self, step: int) -> Json:
        """Describe the position before batch `step`; JSON-able (vita_data/README.md: State)."""
        draws = self.draws_before(step)
        sources: dict[str, dict[str, Json]] = {
            str(modality): {
                one.label: {
                    "digest": one.pool.digest, "weight": one.pool.opened.entry.weight, "share": one.share,
                    "windows": one.pool.num_windows, "statistics": one.statistics,
                    "draws": draws[modality, one.label], "offset": one.offset,
                }
                for one in planned
            }
            for modality, planned in self.plan.pools.items()
        }  # fmt: skip
        plan = self.plan
        return {"step": step, "seed": plan.seed, "plan": plan.hash, "fields": plan.fields, "sources": sources}

    def _windows(self, modality: Modality, planned: PlannedPool, ordinals: Int64) -> Int64:
        # Every pass over a source has its own permutation, so that all windows come once before any comes again.
        size = planned.pool.num_windows
        passes, positions = np.divmod(ordinals, size)
        windows = np.empty(len(ordinals), np.int64)
        for number in np.unique(passes).tolist():
            mine = passes == number
            key = key_of(self.plan.seed, "windows", modality, planned.label, number)
            windows[mine] = permute(positions[mine], size=size, key=key)
        return windows
