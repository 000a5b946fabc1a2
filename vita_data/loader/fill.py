"""One batch being filled, slot by slot, by many threads; whoever fills its last slot scales the vectors of all.

Reads only the members that a slot needs. What can be done for all slots at once is, since a thread that computes in
Python keeps the others from it.
"""

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vita_data.errors import ShardError
from vita_data.loader.cuts import BatchCut, cut_batch, image, named
from vita_data.loader.near import MemberSource
from vita_data.loader.permute import key_of
from vita_data.loader.read import (
    NO_FACTS,
    BatchArrays,
    Damage,
    Facts,
    InstructionChoice,
    SlotText,
    WindowReader,
)
from vita_data.loader.view import ShardView
from vita_data.loader.windows import ABSENT
from vita_data.shards.schema import ACTION_NPY, STATE_NPY
from vita_data.types import Image

_log = logging.getLogger(__name__)

_MAX_SUBSTITUTES = 100
_LEFT, _RIGHT = slice(0, 7), slice(16, 23)
"""Columns of the 40 that a batch holds."""


class BatchFill:
    """The work on one batch."""

    def __init__(
        self, reader: WindowReader, arrays: BatchArrays, cut: BatchCut, members: MemberSource, *, first: int
    ) -> None:
        """Fill `arrays` with what `cut` names; `first` is the place of the slice in the global batch."""
        self._reader, self._arrays, self._cut, self._members, self._first = reader, arrays, cut, members, first
        self._sources = reader.sources[cut.picks.modality]
        self._texts: list[SlotText | None] = [None] * len(cut)
        self._facts: list[Facts] = [NO_FACTS] * len(cut)
        self._replaced = [0] * len(cut)
        # Lists of numbers, since taking single ones out of arrays is slow.
        self._frames = (cut.parts.views.tolist(), cut.parts.futures.tolist())
        self._left = len(cut)
        self._lock = threading.Lock()
        _set_masks(arrays, cut, slice(None))

    @property
    def texts(self) -> list[SlotText]:
        """What each slot says in words, once all are filled."""
        return [text for text in self._texts if text is not None]

    @property
    def substituted(self) -> Counter[str]:
        """How many damaged windows another took the place of, by source."""
        found: Counter[str] = Counter()
        for pool, count in zip(self._cut.picks.pool.tolist(), self._replaced, strict=True):
            found[self._sources[pool]] += count
        return found

    def fill(self, slots: Sequence[int]) -> None:
        """Read the windows of some slots.

        Raises:
            ShardError: a member is damaged, and the options do not allow another window in its place.
            StorageError: a disk, mount or store cannot be read.
        """
        for slot in slots:
            self._texts[slot] = self._fill(slot)
        with self._lock:
            self._left -= len(slots)
            is_last = not self._left
        if is_last:
            self._scale()

    def _fill(self, slot: int) -> SlotText:
        try:
            return self._read(self._cut, slot, [frames[slot] for frames in self._frames], slot)
        except ShardError as error:
            if self._reader.damage is Damage.RAISE:
                raise
            return self._substitute(slot, error)

    def _substitute(self, slot: int, error: ShardError) -> SlotText:
        """Fill a slot with the first whole window after its own in the same pool."""
        picks, one = self._cut.picks, slice(slot, slot + 1)
        pool = self._reader.sampler.plan.pools[picks.modality][int(picks.pool[slot])]
        for attempt in range(1, _MAX_SUBSTITUTES + 1):
            _log.warning("%s; taking the next window of %s", error, pool.label)
            self._replaced[slot] = attempt
            window = (picks.window[one] + attempt) % pool.pool.num_windows
            cut = cut_batch(self._reader.sampler, replace(picks, pool=picks.pool[one], window=window))
            _set_masks(self._arrays, cut, one)
            try:
                return self._read(cut, 0, [cut.parts.views[0].tolist(), cut.parts.futures[0].tolist()], slot)
            except ShardError as next_error:
                error = next_error
        raise ShardError(
            f"source {pool.label}: {_MAX_SUBSTITUTES} windows in a row are damaged; run `vita-data verify` on it"
        )

    def _read(self, cut: BatchCut, place: int, frames: Sequence[Sequence[int]], slot: int) -> SlotText:
        view, clip, arrays = cut.views[place], cut.clips[place], self._arrays
        for images, numbers in zip((arrays.images, arrays.future), frames, strict=True):
            if images is not None and numbers:
                self._images(view, clip, numbers, images[slot])
        if arrays.action is not None:
            self._vectors(view, clip, int(cut.parts.row[place]), slot)
        return SlotText(
            source=self._sources[int(self._cut.picks.pool[slot])], key=view.text("key", clip),
            instruction=self._instruction(view, clip, slot),
        )  # fmt: skip

    def _images(self, view: ShardView, clip: int, numbers: Sequence[int], images: Image) -> None:
        for place, number in enumerate(numbers):
            if number == ABSENT:
                images[place] = 0
            else:
                self._reader.decode(image(view, clip, number), images[place], self._members)

    def _vectors(self, view: ShardView, clip: int, row: int, slot: int) -> None:
        """Store values as they lie in the shard; `_scale` does the rest."""
        arrays, self._facts[slot] = self._arrays, self._reader.facts(view, clip, self._members)
        if arrays.action is not None:
            values, member = arrays.action[slot], named(view, clip, ACTION_NPY)
            stored = None if member is None else self._reader.rows(member, row, len(values), self._members)
            num_rows = 0 if stored is None else len(stored)
            if stored is not None:
                values[:num_rows, :7], values[:num_rows, 7:] = stored[:, _LEFT], stored[:, _RIGHT]
            values[num_rows:] = 0
        if arrays.state is not None:
            member = named(view, clip, STATE_NPY)
            arrays.state[slot] = 0 if member is None else self._reader.rows(member, row, 1, self._members)

    def _scale(self) -> None:
        arrays, picks = self._arrays, self._cut.picks
        if arrays.action_mask is not None and arrays.state_mask is not None:
            arrays.action_mask[:] &= np.array([facts.action_mask for facts in self._facts])[:, None]
            arrays.state_mask[:] = [facts.state_mask for facts in self._facts]
        vectors = ((arrays.action, arrays.action_mask), (arrays.state, arrays.state_mask))
        for stack, (values, mask) in zip(self._reader.scalings[picks.modality], vectors, strict=True):
            if values is not None and mask is not None:
                scaling = stack.rows(picks.pool, num_axes=values.ndim)
                mask[:] &= scaling.known
                values[:] = scaling.normalize(values, mask)

    def _instruction(self, view: ShardView, clip: int, slot: int) -> str:
        if self._reader.instruction is InstructionChoice.ANY:
            texts = self._reader.facts(view, clip, self._members).instructions
            if texts:
                seed, step = self._reader.sampler.plan.seed, self._cut.picks.step
                return texts[instruction_draw(seed, step, self._first + slot) % len(texts)]
        return view.text("instruction", clip)


def _set_masks(arrays: BatchArrays, cut: BatchCut, slots: slice) -> None:
    """Say which images and which rows of a chunk the windows have; the columns of a vector are each clip's own."""
    for mask, frames in ((arrays.image_mask, cut.parts.views), (arrays.future_mask, cut.parts.futures)):
        if mask is not None:
            mask[slots] = frames != ABSENT
    if arrays.action_mask is not None:
        arrays.action_mask[slots] = cut.parts.action_real[:, :, None]


def instruction_draw(seed: int, step: int, slot: int) -> int:
    """Number an instruction draw by seed, step and slot of the global batch."""
    return key_of(seed, "instruction", step, slot)
