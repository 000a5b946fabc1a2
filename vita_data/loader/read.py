"""Members to pixels and numbers: checked reads, decoding straight into a batch's memory.

Called from many threads at once.
"""

import json
from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from vita_data.errors import ShardError, VitaDataError, WorkerError
from vita_data.loader.cuts import Member, named
from vita_data.loader.near import MemberSource
from vita_data.loader.normalize import ACTION14, Scaling, action_scaling, state_scaling
from vita_data.loader.sampler import MixedModalitySampler
from vita_data.loader.view import ShardView
from vita_data.shards.reader import matches, mismatch
from vita_data.shards.schema import CLIP_JSON, npy_array
from vita_data.types import ACTION_DIM, IMAGE_SIZE, STATE_DIM, Bool, Float32, Image

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
class Facts:
    """What only clip.json knows."""

    action_mask: Bool
    """[14], the columns of a batch."""
    state_mask: Bool
    instructions: tuple[str, ...]


NO_FACTS = Facts(action_mask=np.zeros(len(ACTION14), bool), state_mask=np.zeros(STATE_DIM, bool), instructions=())


class WindowReader:
    """Reads windows of a plan into batches; safe to share between threads."""

    def __init__(self, sampler: MixedModalitySampler, *, damage: Damage, instruction: InstructionChoice) -> None:
        self.sampler = sampler
        self.damage, self.instruction = damage, instruction
        self._facts: dict[tuple[ShardView, int], Facts] = {}
        plan = sampler.plan
        self.sources = {
            modality: [one.pool.opened.entry.source for one in pools] for modality, pools in plan.pools.items()
        }
        """Of each pool of a modality."""
        self.scalings = {
            modality: [
                Scaling.stack([scaling(plan.statistics, source) for source in sources])
                for scaling in (action_scaling, state_scaling)
            ]
            for modality, sources in self.sources.items()
        }
        """Of actions and of states, a row a pool of a modality."""

    def read(self, member: Member, members: MemberSource) -> bytes:
        """Read a member, checked.

        Raises:
            ShardError: it is damaged.
            StorageError: a disk, mount or store does not give it.
        """
        try:
            data = members.read(member)
        except VitaDataError:
            raise
        except BaseException as error:
            raise _broken(member, error) from error
        if not matches(member.ref, data):
            raise mismatch(member.view.shard, member.ref, clip=member.key, member=member.member_name)
        return data

    def decode(self, member: Member, data: bytes, image: Image) -> None:
        """Decode an image into its place in a batch.

        Raises:
            ShardError: the bytes are none of our images.
        """
        try:
            shape = simplejpeg.decode_jpeg(data, "RGB", buffer=image).shape
        except BaseException as error:
            raise _fault(member, error) from error
        if shape != _IMAGE_SHAPE:
            raise _unfit(member, f"an image of {shape}, not {_IMAGE_SHAPE}")

    def rows(self, member: Member, row: int, count: int, members: MemberSource) -> Float32:
        """Read rows of a vector, fewer where the clip ends; raises as `read`."""
        data = self.read(member, members)
        try:
            return npy_array(data)[row : row + count]
        except BaseException as error:
            raise _fault(member, error) from error

    def facts(self, view: ShardView, clip: int, members: MemberSource) -> Facts:
        """Read what only a clip's metadata says, or remember it; raises as `read`."""
        facts = self._facts.get((view, clip))
        if facts is None:
            member = named(view, clip, CLIP_JSON)
            if member is None:
                raise ShardError(f"shard {view.shard}, clip {view.text('key', clip)}: its index lists no {CLIP_JSON}")
            data = self.read(member, members)
            try:
                facts = _facts(data)
            except BaseException as error:
                raise _fault(member, error) from error
            if len(self._facts) >= _KEPT_FACTS:
                self._facts.clear()
            self._facts[view, clip] = facts
        return facts


def _facts(data: bytes) -> Facts:
    meta = json.loads(data)
    return Facts(
        action_mask=_mask(meta["action_mask"], ACTION_DIM)[ACTION14], state_mask=_mask(meta["state_mask"], STATE_DIM),
        instructions=tuple(text["text"] for text in meta["instructions"] if text["text"]),
    )  # fmt: skip


def _mask(values: list[bool] | None, dim: int) -> NDArray[np.bool_]:
    return np.zeros(dim, bool) if values is None else np.array(values, bool)


def _fault(member: Member, error: BaseException) -> VitaDataError:
    """Name the member in whatever reading it raised: an exit or a lack of memory in a thread must not go unseen."""
    if isinstance(error, VitaDataError):
        return error
    if isinstance(error, (ValueError, KeyError, TypeError)):
        return _unfit(member, error)
    return _broken(member, error)


def _broken(member: Member, error: BaseException) -> WorkerError:
    return WorkerError(
        f"{member}: reading it failed ({error!r}); run the same command again, it goes on from the last checkpoint"
    )


def _unfit(member: Member, why: object) -> ShardError:
    return ShardError(
        f"shard {member.view.shard}, clip {member.key}, member {member.member_name}: its bytes are as written, but "
        f"are not what the format says ({why}); build the source again"
    )
