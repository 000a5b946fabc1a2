"""One window to one slot of a batch: checked reads, decoding straight into the batch's memory, normalization.

Called from many threads at once; each call writes its own slot. Reads only the members that the slot needs.
"""

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from vita_data.errors import ShardError
from vita_data.loader.normalize import ACTION14, Scaling, action_scaling, state_scaling
from vita_data.loader.permute import key_of
from vita_data.loader.plan import Plan
from vita_data.loader.pool import Pool
from vita_data.loader.view import ShardView
from vita_data.loader.windows import ABSENT, Cut, cut
from vita_data.shards.reader import ShardFiles
from vita_data.shards.schema import ACTION_NPY, CLIP_JSON, STATE_NPY, MemberRef, npy_array
from vita_data.types import ACTION_DIM, STATE_DIM, Bool, Float32, Image, Int64

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_MAX_SUBSTITUTES = 100
_KEPT_FACTS = 1 << 16


class Damage(StrEnum):
    """What to do about a damaged member: end the run, or take the source's next window and count it."""

    RAISE = "raise"
    SUBSTITUTE = "substitute"


class InstructionChoice(StrEnum):
    """Which of a clip's instructions a sample carries: the main one, or any, drawn by seed, step and slot."""

    MAIN = "main"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How windows are read."""

    damage: Damage = Damage.RAISE
    instruction: InstructionChoice = InstructionChoice.MAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchArrays:
    """The memory of a batch, filled slot by slot; None where the modality has no such member (types.Batch: shapes)."""

    images: Image | None
    image_mask: Bool | None
    future: Image | None
    future_mask: Bool | None
    action: Float32 | None
    action_mask: Bool | None
    state: Float32 | None
    state_mask: Bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotText:
    """What a slot says in words."""

    source: str
    key: str
    instruction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What only clip.json knows."""

    action_mask: Bool
    state_mask: Bool
    instructions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """A clip of an open shard."""

    view: ShardView
    clip: int
    key: str


class WindowReader:
    """Reads windows of a plan into batches; safe to share between threads."""

    def __init__(self, plan: Plan, options: ReadOptions) -> None:
        self._plan = plan
        self._options = options
        self._files = ShardFiles()
        self._lock = threading.Lock()
        self._facts: dict[tuple[str, str], _Facts] = {}
        self._scalings = {
            source: _Scalings(action_scaling(plan.statistics, source), state_scaling(plan.statistics, source))
            for source in plan.statistics
        }
        self.substituted: Counter[str] = Counter()
        """Damaged windows that another took the place of, by source."""

    def fill(self, arrays: BatchArrays, slot: int, *, pool: Pool, window: int, draw: int) -> SlotText:
        """Read a window into a slot; `draw` picks among instructions where any will do.

        Raises:
            ShardError: a member is damaged, and the options do not allow another window in its place.
        """
        for attempt in range(_MAX_SUBSTITUTES):
            try:
                return self._read(arrays, slot, pool, (window + attempt) % pool.num_windows, draw)
            except ShardError as error:
                if self._options.damage is Damage.RAISE:
                    raise
                _log.warning("%s; taking the next window of %s", error, pool.opened.label)
                with self._lock:
                    self.substituted[pool.opened.entry.source] += 1
        raise ShardError(
            f"source {pool.opened.label}: {_MAX_SUBSTITUTES} windows in a row are damaged; run `vita-data verify` on it"
        )

    def close(self) -> None:
        """Close the shards."""
        self._files.close()

    def _read(self, arrays: BatchArrays, slot: int, pool: Pool, window: int, draw: int) -> SlotText:
        view, clip, step = pool.locate(window)
        place = _Place(view, clip, view.text("key", clip))
        taken = cut(view, clip, step, pool.spec, pool.modality)
        if arrays.images is not None and arrays.image_mask is not None:
            self._fill_images(place, taken.views, arrays.images[slot], arrays.image_mask[slot])
        if arrays.future is not None and arrays.future_mask is not None:
            self._fill_images(place, taken.futures, arrays.future[slot], arrays.future_mask[slot])
        if arrays.action is not None:
            self._fill_vectors(place, taken, pool.opened.entry.source, arrays, slot)
        return SlotText(source=pool.opened.entry.source, key=place.key, instruction=self._instruction(place, draw))

    def _fill_images(self, place: _Place, frames: Int64, images: Image, mask: Bool) -> None:
        for number, frame in enumerate(frames.tolist()):
            mask[number] = frame != ABSENT
            if frame == ABSENT:
                images[number] = 0
                continue
            name = place.view.frame_name(frame)
            data = self._member(place, name, place.view.frame_ref(frame))
            image = images[number]

            def decode(data: bytes = data, image: Image = image) -> None:
                simplejpeg.decode_jpeg(data, "RGB", buffer=image)

            _checked(place, name, decode)

    def _fill_vectors(self, place: _Place, taken: Cut, source: str, arrays: BatchArrays, slot: int) -> None:
        facts, scalings = self._facts_of(place), self._scalings[source]
        if arrays.action is not None and arrays.action_mask is not None:
            values = self._rows(place, ACTION_NPY, "action", taken.row, len(taken.action_real), ACTION_DIM)[:, ACTION14]
            real = taken.action_real[:, None] & (facts.action_mask[ACTION14] & scalings.action.known)
            arrays.action[slot] = scalings.action.normalize(values, real)
            arrays.action_mask[slot] = real
        if arrays.state is not None and arrays.state_mask is not None:
            values = self._rows(place, STATE_NPY, "state", taken.row, 1, STATE_DIM)[0]
            real = facts.state_mask & scalings.state.known
            arrays.state[slot] = scalings.state.normalize(values, real)
            arrays.state_mask[slot] = real

    def _rows(self, place: _Place, name: str, column: str, row: int, count: int, dim: int) -> Float32:
        rows = np.zeros((count, dim), np.float32)
        ref = place.view.member(place.clip, column)
        if ref is not None:
            data = self._member(place, name, ref)
            stored = _checked(place, name, lambda: npy_array(data))[row : row + count]
            rows[: len(stored)] = stored
        return rows

    def _instruction(self, place: _Place, draw: int) -> str:
        if self._options.instruction is InstructionChoice.ANY:
            texts = self._facts_of(place).instructions
            if texts:
                return texts[draw % len(texts)]
        return place.view.text("instruction", place.clip)

    def _facts_of(self, place: _Place) -> _Facts:
        slot = (str(place.view.shard), place.key)
        facts = self._facts.get(slot)
        if facts is None:
            ref = place.view.member(place.clip, "clip")
            if ref is None:
                raise ShardError(f"shard {place.view.shard}, clip {place.key}: the index lists no {CLIP_JSON}")
            data = self._member(place, CLIP_JSON, ref)
            facts = _checked(place, CLIP_JSON, lambda: _facts(data))
            if len(self._facts) >= _KEPT_FACTS:
                self._facts.clear()
            self._facts[slot] = facts
        return facts

    def _member(self, place: _Place, name: str, ref: MemberRef) -> bytes:
        return self._files.read(place.view.shard, ref, clip=place.key, member=name)


@dataclass(frozen=True, slots=True)
class _Scalings:
    action: Scaling
    state: Scaling


def _facts(data: bytes) -> _Facts:
    meta = json.loads(data)
    return _Facts(
        action_mask=_mask(meta["action_mask"], ACTION_DIM), state_mask=_mask(meta["state_mask"], STATE_DIM),
        instructions=tuple(text["text"] for text in meta["instructions"] if text["text"]),
    )  # fmt: skip


def _mask(values: list[bool] | None, dim: int) -> NDArray[np.bool_]:
    return np.zeros(dim, bool) if values is None else np.array(values, bool)


def _checked(place: _Place, name: str, work: Callable[[], _Result]) -> _Result:
    try:
        return work()
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(
            f"shard {place.view.shard}, clip {place.key}, member {name}: its bytes are as written, but are not what "
            f"the format says ({error}); build the source again"
        ) from error


def instruction_draw(seed: int, step: int, slot: int) -> int:
    """Number an instruction draw by seed, step and slot of the global batch."""
    return key_of(seed, "instruction", step, slot)
