"""Fills one batch, slot by slot, with many threads; the thread that fills the last slot scales all vectors.

Reads only the members that a slot needs. Work that can be done for all slots at once is done once, since a thread that
runs Python code blocks the other threads.
"""

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from vita_data.errors import ShardError
from vita_data.loader.options import Damage, InstructionChoice
from vita_data.loader.order.members import BatchMembers, Member, image, locate_batch, metadata, named
from vita_data.loader.order.permute import key_of
from vita_data.loader.read.decode import NO_FACTS, BatchArrays, Facts, WindowReader
from vita_data.loader.store.prefetch import MemberSource
from vita_data.loader.windows.clips import ShardView
from vita_data.loader.windows.resample import resampled
from vita_data.loader.windows.rules import ABSENT
from vita_data.shards.schema import ACTION_NPY, STATE_NPY
from vita_data.slots import ACTION_DIM, STATE_DIM
from vita_data.types import Float32, Image, Int64

_log = logging.getLogger(__name__)

_MAX_SUBSTITUTES = 100


class _Window(NamedTuple):
    """What to fill a slot from."""

    slot: int
    view: ShardView
    clip: int
    row: int
    frames: list[list[int]]
    """The numbers of its images, for each array of the batch."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The members that some slots need, and the use of each, by its position in the list."""

    members: list[Member] = field(default_factory=list)
    images: list[tuple[int, Image]] = field(default_factory=list)
    """Position, and the memory to decode into."""
    vectors: list[tuple[int, int, Float32]] = field(default_factory=list)
    """Position, first row to take, and where the rows go."""
    facts: list[tuple[int, int]] = field(default_factory=list)
    """Position and slot."""

    def add(self, member: Member) -> int:
        """Add a member; return its position."""
        self.members.append(member)
        return len(self.members) - 1


class BatchFill:
    """The work on one batch."""

    def __init__(
        self, reader: WindowReader, arrays: BatchArrays, located: BatchMembers, members: MemberSource, *, first: int
    ) -> None:
        """Fill `arrays` with the members in `located`; `first` is the position of the slice in the global batch."""
        self._reader, self._arrays, self._located, self._members, self._first = reader, arrays, located, members, first
        self._pools: list[int] = located.picks.pool.tolist()
        self.sources = [reader.sources[located.picks.modality][pool] for pool in self._pools]
        self.keys, self.instructions = [""] * len(located), [""] * len(located)
        """The key and the instruction of each slot, once all are filled."""
        self._facts: list[Facts] = [NO_FACTS] * len(located)
        has_vectors = arrays.action is not None
        self._needs_facts = has_vectors or reader.instruction is InstructionChoice.ANY
        num_rows, timed = len(located) if has_vectors else 0, located.parts.timed
        num_steps = reader.sampler.plan.windows.horizon if timed is None else timed.offset.shape[1]
        self._chunks = np.empty((num_rows, num_steps, ACTION_DIM), np.float32)
        self._states = np.empty((num_rows, 1, STATE_DIM), np.float32)
        self._vectors = ((ACTION_NPY, self._chunks), (STATE_NPY, self._states)) if has_vectors else ()
        self._images = [images for images in (arrays.images, arrays.future) if images is not None]
        self._replaced: dict[int, int] = {}
        self._windows = self._windows_of(located, range(len(located)))
        self._left = len(located)
        self._lock = threading.Lock()
        _set_masks(arrays, located, slice(None))

    @property
    def substituted(self) -> Counter[str]:
        """How many damaged windows were replaced, by source."""
        found: Counter[str] = Counter()
        for slot, count in self._replaced.items():
            found[self.sources[slot]] += count
        return found

    def fill(self, slots: Sequence[int]) -> None:
        """Read the windows of some slots.

        Raises:
            ShardError: a member is damaged, and the options do not allow a substitute.
            StorageError: a disk, mount or store cannot be read.
        """
        windows = [self._windows[slot] for slot in slots]
        try:
            self._fill(windows)
        except ShardError:
            if self._reader.damage is Damage.RAISE:
                raise
            for window in windows:
                self._fill_or_substitute(window)
        with self._lock:
            self._left -= len(slots)
            is_last = not self._left
        if is_last:
            self._scale()

    def _windows_of(self, located: BatchMembers, slots: Sequence[int]) -> list[_Window]:
        # Use lists, since reading single numbers from arrays is slow.
        frames, rows = [numbers.tolist() for numbers in self._numbers(located)], located.parts.row.tolist()
        return [
            _Window(
                slot, located.views[place], located.clips[place], rows[place], [numbers[place] for numbers in frames]
            )
            for place, slot in enumerate(slots)
        ]

    def _numbers(self, located: BatchMembers) -> list[Int64]:
        every = ((self._arrays.images, located.parts.views), (self._arrays.future, located.parts.futures))
        return [numbers for images, numbers in every if images is not None]

    def _fill(self, windows: Sequence[_Window]) -> None:
        # All reads first, then all decoding: Python code between two images would run with cold caches each time.
        wanted = _Wanted()
        for window in windows:
            self._want(window, wanted)
        found, reader = self._reader.read(wanted.members, self._members), self._reader
        for place, slot in wanted.facts:
            self._facts[slot] = reader.learn(wanted.members[place], found[place])
        for place, row, rows in wanted.vectors:
            stored = reader.rows(wanted.members[place], found[place], row, len(rows))
            rows[: len(stored)] = stored
            if len(stored) < len(rows):
                rows[len(stored) :] = 0
        for window in windows:
            self._say(window)
        for place, memory in wanted.images:
            reader.decode(wanted.members[place], found[place], memory)

    def _want(self, window: _Window, wanted: _Wanted) -> None:
        slot, view, clip, row, frames = window
        for images, numbers in zip(self._images, frames, strict=True):
            for place, number in enumerate(numbers):
                if number == ABSENT:
                    images[slot, place] = 0
                else:
                    wanted.images.append((wanted.add(image(view, clip, number)), images[slot, place]))
        for name, rows in self._vectors:
            member = named(view, clip, name)
            if member is None:
                rows[slot] = 0
            else:
                wanted.vectors.append((wanted.add(member), row, rows[slot]))
        if self._needs_facts:
            known = self._reader.facts(view, clip)
            if known is None:
                wanted.facts.append((wanted.add(metadata(view, clip)), slot))
            else:
                self._facts[slot] = known

    def _say(self, window: _Window) -> None:
        slot, view, clip = window.slot, window.view, window.clip
        self.keys[slot] = view.text("key", clip)
        texts = self._facts[slot].instructions
        if texts and self._reader.instruction is InstructionChoice.ANY:
            seed, step = self._reader.sampler.plan.seed, self._located.picks.step
            self.instructions[slot] = texts[instruction_draw(seed, step, self._first + slot) % len(texts)]
        else:
            self.instructions[slot] = view.text("instruction", clip)

    def _fill_or_substitute(self, window: _Window) -> None:
        """Fill a slot; if its window is damaged, use the next intact window of the same pool."""
        try:
            self._fill([window])
            return
        except ShardError as fault:
            error = fault
        picks, slot = self._located.picks, window.slot
        one = slice(slot, slot + 1)
        pool = self._reader.sampler.plan.pools[picks.modality][self._pools[slot]]
        for attempt in range(1, _MAX_SUBSTITUTES + 1):
            _log.warning("%s; taking the next window of %s", error, pool.label)
            self._replaced[slot] = attempt
            numbers = (picks.window[one] + attempt) % pool.pool.num_windows
            located = locate_batch(self._reader.sampler, replace(picks, pool=picks.pool[one], window=numbers))
            _set_masks(self._arrays, located, one)
            try:
                self._fill(self._windows_of(located, [slot]))
                return
            except ShardError as next_error:
                error = next_error
        raise ShardError(
            f"source {pool.label}: {_MAX_SUBSTITUTES} windows in a row are damaged; run `vita-data verify`. If it "
            "finds damage, build the source again; if not, fetch the raw files again first"
        )

    def _scale(self) -> None:
        """Convert the rows that were read to the values of a batch."""
        arrays, picks, timed = self._arrays, self._located.picks, self._located.parts.timed
        chunks = self._chunks[..., self._reader.columns]
        if timed is not None:
            chunks = resampled(timed, chunks, np.array([facts.action_mask for facts in self._facts]))
        vectors = (
            (arrays.action, arrays.action_mask, chunks),
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


def _set_masks(arrays: BatchArrays, located: BatchMembers, slots: slice) -> None:
    """Mark which images and which rows of a chunk the windows have; the columns of a vector are masked per clip."""
    for mask, frames in ((arrays.image_mask, located.parts.views), (arrays.future_mask, located.parts.futures)):
        if mask is not None:
            mask[slots] = frames != ABSENT
    if arrays.action_mask is not None:
        arrays.action_mask[slots] = located.parts.action_real[:, :, None]


def instruction_draw(seed: int, step: int, slot: int) -> int:
    """Return the random number of an instruction draw from seed, step and slot of the global batch."""
    return key_of(seed, "instruction", step, slot)
