"""Exact proportions: which member of a mixture each numbered draw goes to, computed for any draw directly.

Draws come in blocks. At the end of every block each member's count is within 1 of draws x share; within a block the
order is shuffled. Shares are multiples of 1 / (block x PERIOD), so that all numbers are integers and repeat after
PERIOD blocks. The first use of a late block takes at most a second for 14 members, and more for more members.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from vita_data.loader.order.permute import key_of, shuffled
from vita_data.types import Float64, Int64

PERIOD = 1 << 14
_KEPT_BLOCKS = 32


def quantize(shares: Float64, *, total: int) -> Int64:
    """Convert shares [S] > 0 to integers >= 1 that add up to `total`, by largest remainders."""
    exact = shares / shares.sum() * total
    units: Int64 = np.maximum(np.floor(exact).astype(np.int64), 1)
    short = total - int(units.sum())
    if short < 0:
        # Only members far below one unit were rounded up; the largest member compensates for them.
        units[np.argmax(units)] += short
    else:
        units[np.argsort(units - exact, kind="stable")[:short]] += 1
    return units


@dataclass(frozen=True, slots=True)
class Choices:
    """The result of draws: the member of each draw [n], and how many earlier draws that member had [n]."""

    member: Int64
    ordinal: Int64


class ExactShares:
    """The endless sequence of draws of one mixture; a pure function of shares, block and key."""

    def __init__(self, shares: Float64, *, block: int, key: int) -> None:
        self.units = quantize(np.asarray(shares, np.float64), total=block * PERIOD)
        """Draws of each member [S] in `block * PERIOD` draws."""
        self._block = block
        self._key = key
        self._extras = _Extras(self.units % PERIOD)
        self._orders: OrderedDict[int, Choices] = OrderedDict()

    @property
    def shares(self) -> Float64:
        """The exact shares [S]."""
        return np.asarray(self.units / self.units.sum(), np.float64)

    def counts(self, num_draws: int) -> Int64:
        """Count the draws of each member [S] among the first `num_draws`."""
        block, inside = divmod(num_draws, self._block)
        counts = self._counts_at(block)
        if inside:
            counts = counts + np.bincount(self._order(block).member[:inside], minlength=len(self.units))
        return counts

    def draws(self, first: int, stop: int) -> Choices:
        """Resolve the draws first..stop-1."""
        members, ordinals = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for block in range(first // self._block, -(-stop // self._block)):
            order, start = self._order(block), block * self._block
            inside = slice(max(first - start, 0), min(stop - start, self._block))
            members.append(order.member[inside])
            ordinals.append(order.ordinal[inside])
        return Choices(np.concatenate(members), np.concatenate(ordinals))

    def _counts_at(self, block: int) -> Int64:
        period, inside = divmod(block, PERIOD)
        counts: Int64 = self.units * period + self.units // PERIOD * inside + self._extras.counts(inside)
        return counts

    def _order(self, block: int) -> Choices:
        if block in self._orders:
            self._orders.move_to_end(block)
            return self._orders[block]
        before = self._counts_at(block)
        counts = self._counts_at(block + 1) - before
        members = np.repeat(np.arange(len(counts)), counts)
        ranks = np.arange(self._block) - np.repeat(np.cumsum(counts) - counts, counts)
        order = shuffled(self._block, key_of(self._key, block))
        # Ordinals follow the shuffled order, so that those of a member's draws ascend.
        member, ordinal = members[order], np.empty(self._block, np.int64)
        ordinal[np.argsort(member, kind="stable")] = ranks + np.repeat(before, counts)
        self._orders[block] = Choices(member, ordinal)
        if len(self._orders) > _KEPT_BLOCKS:
            self._orders.popitem(last=False)
        return self._orders[block]


class _Extras:
    """Assigns the draws of a block that rounding down leaves over: each to the member that would fall behind first.

    Source: the chairman assignment rule (Tijdeman 1980), which keeps every count within 1 - 1 / (2S - 2) of its target
    after every single assignment.
    """

    def __init__(self, fractions: Int64) -> None:
        self._fractions: list[int] = fractions.tolist()
        self._per_block = sum(self._fractions) // PERIOD
        self._total = self._per_block * PERIOD
        self._dealt = [0] * len(self._fractions)
        self._table = [np.zeros(len(self._fractions), np.int64)]

    def counts(self, num_blocks: int) -> Int64:
        """Count the extra draws of each member [S] in the first blocks of a period."""
        while len(self._table) <= num_blocks:
            first = (len(self._table) - 1) * self._per_block
            for slot in range(first, first + self._per_block):
                self._dealt[self._next(slot)] += 1
            self._table.append(np.array(self._dealt, np.int64))
        return self._table[num_blocks]

    def _next(self, slot: int) -> int:
        scale = max(2 * len(self._dealt) - 2, 1)
        best, soonest = -1, float("inf")
        for member, (fraction, dealt) in enumerate(zip(self._fractions, self._dealt, strict=True)):
            if fraction and scale * fraction * (slot + 1) >= (scale * dealt + 1) * self._total:
                deadline = (scale * (dealt + 1) - 1) / fraction
                if deadline < soonest:
                    best, soonest = member, deadline
        return best
