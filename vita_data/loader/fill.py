"""One batch being filled, slot by slot, by many threads; whoever fills its last slot scales the vectors of all.

Reads only the members that a slot needs. What can be done for all slots at once is, since a thread that computes in
Python keeps the others from it.
"""

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vita_data.errors import ShardError
from vita_data.loader.cuts import BatchCut, Member, cut_batch, image, named
from vita_data.loader.near import MemberSource
from vita_data.loader.normalize import ACTION14
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
from vita_data.types import ACTION_DIM, STATE_DIM, Image

_log = logging.getLogger(__name__)

_MAX_SUBSTITUTES = 100


class _Jpeg(NamedTuple):
    """An image that was read and checked, and its place in the batch."""

    member: Member
    data: bytes
    image: Image


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
        num_rows = len(cut) if arrays.action is not None else 0
        self._chunks = np.empty((num_rows, reader.sampler.plan.windows.horizon, ACTION_DIM), np.float32)
        self._states = np.empty((num_rows, 1, STATE_DIM), np.float32)
        self._replaced = [0] * len(cut)
        # Lists of numbers, since taking single ones out of arrays is slow.
        self._frames = (cut.parts.views.tolist(), cut.parts.futures.tolist())
        self._rows: list[int] = cut.parts.row.tolist()
        self._names = [self._sources[pool] for pool in cut.picks.pool.tolist()]
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
        # All reads first, then all decoding: Python between two images would each time start from cold caches.
        begun = [(slot, self._begin(slot)) for slot in slots]
        for slot, jpegs in begun:
            self._decode(slot, jpegs)
        with self._lock:
            self._left -= len(slots)
            is_last = not self._left
        if is_last:
            self._scale()

    def _begin(self, slot: int) -> list[_Jpeg]:
        """Read a slot's members; its images are left to be decoded."""
        try:
            frames = [frames[slot] for frames in self._frames]
            return self._read(self._cut.views[slot], self._cut.clips[slot], self._rows[slot], frames, slot)
        except ShardError as error:
            if self._reader.damage is Damage.RAISE:
                raise
            self._substitute(slot, error)
            return []

    def _decode(self, slot: int, jpegs: Sequence[_Jpeg]) -> None:
        try:
            for jpeg in jpegs:
                self._reader.decode(jpeg.member, jpeg.data, jpeg.image)
        except ShardError as error:
            if self._reader.damage is Damage.RAISE:
                raise
            self._substitute(slot, error)

    def _substitute(self, slot: int, error: ShardError) -> None:
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
                frames = [cut.parts.views[0].tolist(), cut.parts.futures[0].tolist()]
                for jpeg in self._read(cut.views[0], cut.clips[0], int(cut.parts.row[0]), frames, slot):
                    self._reader.decode(jpeg.member, jpeg.data, jpeg.image)
                return
            except ShardError as next_error:
                error = next_error
        raise ShardError(
            f"source {pool.label}: {_MAX_SUBSTITUTES} windows in a row are damaged; run `vita-data verify` on it"
        )

    def _read(self, view: ShardView, clip: int, row: int, frames: Sequence[Sequence[int]], slot: int) -> list[_Jpeg]:
        jpegs: list[_Jpeg] = []
        for images, numbers in zip((self._arrays.images, self._arrays.future), frames, strict=True):
            if images is None:
                continue
            for place, number in enumerate(numbers):
                if number == ABSENT:
                    images[slot, place] = 0
                else:
                    member = image(view, clip, number)
                    jpegs.append(_Jpeg(member, self._reader.read(member, self._members), images[slot, place]))
        if self._arrays.action is not None:
            self._vectors(view, clip, row, slot)
        self._texts[slot] = SlotText(
            source=self._names[slot], key=view.text("key", clip), instruction=self._instruction(view, clip, slot)
        )
        return jpegs

    def _vectors(self, view: ShardView, clip: int, row: int, slot: int) -> None:
        """Take rows as they lie in the shard; `_scale` does the rest for all slots at once."""
        self._facts[slot] = self._reader.facts(view, clip, self._members)
        for name, rows in ((ACTION_NPY, self._chunks), (STATE_NPY, self._states)):
            member = named(view, clip, name)
            if member is None:
                rows[slot] = 0
                continue
            stored = self._reader.rows(member, row, rows.shape[1], self._members)
            rows[slot, : len(stored)] = stored
            if len(stored) < rows.shape[1]:
                rows[slot, len(stored) :] = 0

    def _scale(self) -> None:
        """Turn the rows that were read into what a batch holds."""
        arrays, picks = self._arrays, self._cut.picks
        vectors = (
            (arrays.action, arrays.action_mask, self._chunks[..., ACTION14]),
            (arrays.state, arrays.state_mask, self._states[:, 0]),
        )
        if arrays.action_mask is not None and arrays.state_mask is not None:
            arrays.action_mask[:] &= np.array([facts.action_mask for facts in self._facts])[:, None]
            arrays.state_mask[:] = [facts.state_mask for facts in self._facts]
        for stack, (values, mask, rows) in zip(self._reader.scalings[picks.modality], vectors, strict=True):
            if values is not None and mask is not None:
                scaling = stack.rows(picks.pool, num_axes=values.ndim)
                mask[:] &= scaling.known
                values[:] = scaling.normalize(rows, mask)

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
