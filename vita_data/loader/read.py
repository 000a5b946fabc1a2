"""Windows to the slots of a batch: checked reads, decoding straight into the batch's memory, normalization.

Called from many threads at once; each call writes its own slots. Reads only the members that a slot needs.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from vita_data.errors import ShardError, StorageError, VitaDataError
from vita_data.loader.cuts import BatchCut, Member, cut_batch, image
from vita_data.loader.near import MemberSource
from vita_data.loader.normalize import ACTION14, Scaling, action_scaling, state_scaling
from vita_data.loader.permute import key_of
from vita_data.loader.sampler import MixedModalitySampler
from vita_data.loader.view import ShardView
from vita_data.loader.windows import ABSENT
from vita_data.shards.reader import matches, mismatch
from vita_data.shards.schema import ACTION_NPY, CLIP_JSON, STATE_NPY, npy_array
from vita_data.types import ACTION_DIM, IMAGE_SIZE, STATE_DIM, Bool, Float32, Image

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_MAX_SUBSTITUTES = 100
_KEPT_FACTS = 1 << 16
_IMAGE_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)


class Damage(StrEnum):
    """What to do about a damaged member: end the run, or take the source's next window and count it."""

    RAISE = "raise"
    SUBSTITUTE = "substitute"


class InstructionChoice(StrEnum):
    """Which of a clip's instructions a sample carries: the main one, or any, drawn by seed, step and slot."""

    MAIN = "main"
    ANY = "any"


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


ARRAYS = tuple(field.name for field in fields(BatchArrays))


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
    """[14], the columns of a batch."""
    state_mask: Bool
    instructions: tuple[str, ...]


class WindowReader:
    """Reads windows of a plan into batches; safe to share between threads."""

    def __init__(self, sampler: MixedModalitySampler, *, damage: Damage, instruction: InstructionChoice) -> None:
        self._sampler = sampler
        self._damage, self._instruction_choice = damage, instruction
        self._facts: dict[tuple[ShardView, int], _Facts] = {}
        plan = sampler.plan
        self._sources = {
            modality: [one.pool.opened.entry.source for one in pools] for modality, pools in plan.pools.items()
        }
        self._scalings = {
            modality: tuple(
                Scaling.stack([scaling(plan.statistics, source) for source in sources])
                for scaling in (action_scaling, state_scaling)
            )
            for modality, sources in self._sources.items()
        }
        self.substituted: Counter[str] = Counter()
        """Damaged windows that another took the place of, by source."""

    def fill(
        self, arrays: BatchArrays, cut: BatchCut, slots: Sequence[int], members: MemberSource, *, first: int
    ) -> list[SlotText]:
        """Read the windows of consecutive slots; `first` is the place of the slice in the global batch.

        Raises:
            ShardError: a member is damaged, and the options do not allow another window in its place.
            StorageError: a disk, mount or store cannot be read.
        """
        texts = [self._fill(arrays, cut, slot, members, draw_slot=first + slot) for slot in slots]
        self._normalize(arrays, cut, slice(slots[0], slots[-1] + 1))
        return texts

    def _fill(
        self, arrays: BatchArrays, cut: BatchCut, slot: int, members: MemberSource, *, draw_slot: int
    ) -> SlotText:
        source = self._sources[cut.picks.modality][int(cut.picks.pool[slot])]
        for attempt in range(_MAX_SUBSTITUTES):
            taken, place = (cut, slot) if not attempt else (self._substitute(cut, slot, attempt), 0)
            try:
                self._fill_images(arrays, taken, place, slot, members)
                self._fill_vectors(arrays, taken, place, slot, members)
                view, clip = taken.views[place], taken.clips[place]
                text = self._instruction(view, clip, (cut.picks.step, draw_slot), members)
                return SlotText(source=source, key=view.text("key", clip), instruction=text)
            except ShardError as error:
                if self._damage is Damage.RAISE:
                    raise
                _log.warning("%s; taking the next window of %s", error, source)
                self.substituted[source] += 1
        raise ShardError(
            f"source {source}: {_MAX_SUBSTITUTES} windows in a row are damaged; run `vita-data verify` on it"
        )

    def _substitute(self, cut: BatchCut, slot: int, attempt: int) -> BatchCut:
        """Cut the window that comes `attempt` after a slot's in the same pool."""
        picks, one = cut.picks, slice(slot, slot + 1)
        size = self._sampler.plan.pools[picks.modality][int(picks.pool[slot])].pool.num_windows
        window = (picks.window[one] + attempt) % size
        return cut_batch(self._sampler, replace(picks, pool=picks.pool[one], window=window))

    def _fill_images(self, arrays: BatchArrays, cut: BatchCut, place: int, slot: int, members: MemberSource) -> None:
        view, clip = cut.views[place], cut.clips[place]
        for images, mask, frames in (
            (arrays.images, arrays.image_mask, cut.parts.views),
            (arrays.future, arrays.future_mask, cut.parts.futures),
        ):
            if images is None or mask is None:
                continue
            real = frames[place] != ABSENT
            mask[slot] = real
            for number, frame in enumerate(frames[place].tolist()):
                if frame == ABSENT:
                    images[slot, number] = 0
                else:
                    self._decode(image(view, clip, frame), images[slot, number], members)

    def _decode(self, member: Member, image: Image, members: MemberSource) -> None:
        data = self._read(member, members)
        shape = _checked(member, lambda: simplejpeg.decode_jpeg(data, "RGB", buffer=image).shape)
        if shape != _IMAGE_SHAPE:
            raise ShardError(f"{member}: an image of {shape}, not {_IMAGE_SHAPE}; build the source again")

    def _fill_vectors(self, arrays: BatchArrays, cut: BatchCut, place: int, slot: int, members: MemberSource) -> None:
        """Store values as they are and which of them are real; `_normalize` does the rest for many slots at once."""
        if arrays.action is None or arrays.action_mask is None:
            return
        view, clip, row = cut.views[place], cut.clips[place], int(cut.parts.row[place])
        facts, real = self._facts_of(view, clip, members), cut.parts.action_real[place]
        chunk = self._rows(Member(view, clip, ACTION_NPY), row, len(real), ACTION_DIM, members)
        arrays.action[slot] = chunk[:, ACTION14]
        arrays.action_mask[slot] = real[:, None] & facts.action_mask
        if arrays.state is not None and arrays.state_mask is not None:
            arrays.state[slot] = self._rows(Member(view, clip, STATE_NPY), row, 1, STATE_DIM, members)[0]
            arrays.state_mask[slot] = facts.state_mask

    def _normalize(self, arrays: BatchArrays, cut: BatchCut, slots: slice) -> None:
        vectors = ((arrays.action, arrays.action_mask), (arrays.state, arrays.state_mask))
        for stack, (values, mask) in zip(self._scalings[cut.picks.modality], vectors, strict=True):
            if values is not None and mask is not None:
                scaling = stack.rows(cut.picks.pool[slots], num_axes=values.ndim)
                mask[slots] &= scaling.known
                values[slots] = scaling.normalize(values[slots], mask[slots])

    def _rows(self, member: Member, row: int, count: int, dim: int, members: MemberSource) -> Float32:
        if member.ref is None:
            return np.zeros((count, dim), np.float32)
        data = self._read(member, members)
        stored = _checked(member, lambda: npy_array(data))[row : row + count]
        if len(stored) == count:
            return stored
        return np.concatenate([stored, np.zeros((count - len(stored), dim), np.float32)])

    def _instruction(self, view: ShardView, clip: int, draw: tuple[int, int], members: MemberSource) -> str:
        if self._instruction_choice is InstructionChoice.ANY:
            texts = self._facts_of(view, clip, members).instructions
            if texts:
                return texts[instruction_draw(self._sampler.plan.seed, *draw) % len(texts)]
        return view.text("instruction", clip)

    def _facts_of(self, view: ShardView, clip: int, members: MemberSource) -> _Facts:
        facts = self._facts.get((view, clip))
        if facts is None:
            member = Member(view, clip, CLIP_JSON)
            data = self._read(member, members)
            facts = _checked(member, lambda: _facts(data))
            if len(self._facts) >= _KEPT_FACTS:
                self._facts.clear()
            self._facts[view, clip] = facts
        return facts

    def _read(self, member: Member, members: MemberSource) -> bytes:
        ref = member.ref
        if ref is None:
            raise ShardError(f"{member}: the index does not list it; build the source again")
        try:
            data = members.read(member, ref)
        except VitaDataError:
            raise
        except Exception as error:
            raise StorageError(f"{member}: reading it failed ({error!r})") from error
        if not matches(ref, data):
            raise mismatch(member.view.shard, ref, clip=member.key, member=member.member_name)
        return data


def _facts(data: bytes) -> _Facts:
    meta = json.loads(data)
    return _Facts(
        action_mask=_mask(meta["action_mask"], ACTION_DIM)[ACTION14], state_mask=_mask(meta["state_mask"], STATE_DIM),
        instructions=tuple(text["text"] for text in meta["instructions"] if text["text"]),
    )  # fmt: skip


def _mask(values: list[bool] | None, dim: int) -> NDArray[np.bool_]:
    return np.zeros(dim, bool) if values is None else np.array(values, bool)


def _checked(member: Member, work: Callable[[], _Result]) -> _Result:
    try:
        return work()
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(
            f"shard {member.view.shard}, clip {member.key}, member {member.member_name}: its bytes are as written, but "
            f"are not what the format says ({error}); build the source again"
        ) from error


def instruction_draw(seed: int, step: int, slot: int) -> int:
    """Number an instruction draw by seed, step and slot of the global batch."""
    return key_of(seed, "instruction", step, slot)
