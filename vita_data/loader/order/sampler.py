"""Which windows make up batch k of a run: a pure function of (plan, k), so that resuming is arithmetic.

Independent of images, threads and tensors. Ranks take slices of one global batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vita_data.errors import RequestError
from vita_data.loader.order.exact_shares import Choices, ExactShares
from vita_data.loader.order.locality import local_windows
from vita_data.loader.order.permute import key_of, permute
from vita_data.loader.order.plan import Plan
from vita_data.loader.order.pool import Places
from vita_data.loader.windows.clips import GatheredClips, ShardView
from vita_data.loader.windows.rules import start_steps
from vita_data.types import BatchPlan, Int64, Json, Modality, Order, Window

DRAW_BLOCK = 4096
STEP_BLOCK = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """One rank's part of a batch: for each sample, which pool of the modality and which window of that pool."""

    step: int
    modality: Modality
    pool: Int64
    """[B / world size]"""
    window: Int64
    """[B / world size]"""


class MixedModalitySampler:
    """Tells which windows make up each batch: a modality for each step, then a source and a window for each sample.

    A batch has one modality; the mixture is over steps (vita_data/README.md, "Order").
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._modalities = tuple(plan.pools)
        steps = np.array([plan.modality_steps[modality] for modality in self._modalities])
        self._modality_of_step = ExactShares(steps, block=STEP_BLOCK, key=key_of(plan.seed, "modalities"))
        self._source_of_draw = {
            modality: ExactShares(
                np.array([one.share for one in pools]), block=DRAW_BLOCK, key=key_of(plan.seed, "sources", modality)
            )
            for modality, pools in plan.pools.items()
        }

    def batch(self, k: int, *, rank: int = 0, world_size: int = 1) -> BatchPlan:
        """Name the windows of a rank's slice of global batch k.

        Raises:
            RequestError: k is negative or the rank does not exist.
        """
        picks = self.picks(k, rank=rank, world_size=world_size)
        if not len(picks.pool):
            # With more ranks than slots, some ranks get none.
            return BatchPlan(step=k, modality=picks.modality, windows=())
        places = self.locate(picks)
        clips = places.clips.tolist()
        found = GatheredClips(places.views, clips)
        spec, modality = self.plan.windows, picks.modality
        steps = start_steps(found, places.numbers, spec, modality, is_plain=places.is_plain).tolist()
        sources = [one.pool.opened.entry.source for one in self.plan.pools[picks.modality]]
        slots = zip(picks.pool.tolist(), places.views, clips, steps, strict=True)
        windows = tuple(Window(sources[pool], view.text("key", clip), step) for pool, view, clip, step in slots)
        return BatchPlan(step=k, modality=picks.modality, windows=windows)

    def locate(self, picks: Picks) -> Places:
        """Find the shards and clips of numbered windows."""
        views: list[ShardView | None] = [None] * len(picks.pool)
        clips, numbers = np.empty((2, len(picks.pool)), np.int64)
        is_plain = np.empty(len(picks.pool), bool)
        for number, planned in enumerate(self.plan.pools[picks.modality]):
            mine = np.flatnonzero(picks.pool == number)
            places = planned.pool.locate(picks.window[mine])
            clips[mine], numbers[mine], is_plain[mine] = places.clips, places.numbers, places.is_plain
            for slot, view in zip(mine.tolist(), places.views, strict=True):
                views[slot] = view
        kept = tuple(view for view in views if view is not None)
        return Places(views=kept, clips=clips, numbers=numbers, is_plain=is_plain)

    def picks(self, k: int, *, rank: int = 0, world_size: int = 1) -> Picks:
        """Number the windows of a rank's slice of global batch k, without opening a clip; raises like `batch`."""
        return self.picks_of(k, k + 1, rank=rank, world_size=world_size)[0]

    def picks_of(self, first: int, stop: int, *, rank: int = 0, world_size: int = 1) -> list[Picks]:
        """Number the windows of batches first..stop-1 at once, with the same result as `picks` for each."""
        if first < 0 or not 0 <= rank < world_size:
            raise RequestError(
                f"batch {first} of rank {rank} of {world_size}: need batch >= 0 and 0 <= rank < world size"
            )
        choice = self._modality_of_step.draws(first, stop)
        found: dict[int, Picks] = {}
        for number in np.unique(choice.member).tolist():
            mine = np.flatnonzero(choice.member == number)
            modality = self._modalities[number]
            # The n-th batch of a modality takes its draws n * B to (n + 1) * B - 1; a rank takes the same part of each.
            draws = self._slices(modality, choice.ordinal[mine].tolist(), rank=rank, world_size=world_size)
            windows, size = self._windows(modality, draws), len(draws.member) // len(mine)
            for place, step in enumerate((first + mine).tolist()):
                part = slice(place * size, (place + 1) * size)
                found[step] = Picks(step=step, modality=modality, pool=draws.member[part], window=windows[part])
        return [found[step] for step in range(first, stop)]

    def _slices(self, modality: Modality, batches: Sequence[int], *, rank: int, world_size: int) -> Choices:
        size = self.plan.batch_size[modality]
        begin, end = rank * size // world_size, (rank + 1) * size // world_size
        parts = [self._source_of_draw[modality].draws(number * size + begin, number * size + end) for number in batches]
        return Choices(np.concatenate([p.member for p in parts]), np.concatenate([p.ordinal for p in parts]))

    def draws_before(self, k: int) -> dict[tuple[Modality, str], int]:
        """Count the draws of every pool, by modality and label, in batches 0..k-1, including its offset."""
        counts: dict[tuple[Modality, str], int] = {}
        for modality, steps in zip(self._modalities, self._modality_of_step.counts(k).tolist(), strict=True):
            drawn = self._source_of_draw[modality].counts(steps * self.plan.batch_size[modality]).tolist()
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

    def _windows(self, modality: Modality, draws: Choices) -> Int64:
        """Number the window of each draw [n] in its pool.

        Every pass over a source has its own permutation, so that every window is drawn once before any is drawn again.
        """
        pools = self.plan.pools[modality]
        sizes = np.array([planned.pool.num_windows for planned in pools])[draws.member]
        ordinals = draws.ordinal + np.array([planned.offset for planned in pools])[draws.member]
        passes, positions = np.divmod(ordinals, sizes)
        # A batch draws from few pools, and from one or two passes of each.
        met, which = np.unique(passes * len(pools) + draws.member, return_inverse=True)
        pairs = [divmod(one, len(pools)) for one in met.tolist()]
        seed = self.plan.seed
        keys = [key_of(seed, "windows", modality, pools[pool].label, number) for number, pool in pairs]
        if self.plan.order.kind is Order.GLOBAL:
            return permute(positions, sizes, np.array(keys, np.uint64)[which])
        windows = np.empty(len(positions), np.int64)
        for number, ((_, pool), key) in enumerate(zip(pairs, keys, strict=True)):
            mine, ends = which == number, pools[pool].pool.shard_ends
            windows[mine] = local_windows(positions[mine], ends, num_shards=self.plan.order.num_shards, key=key)
        return windows
