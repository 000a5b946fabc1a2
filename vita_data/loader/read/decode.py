"""Reads members with checks and decodes them to pixels and numbers directly into a batch's memory.

Called from many threads at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from vita_data.errors import TRAINING_RESUMES, ShardError, VitaDataError, WorkerError
from vita_data.loader.normalize import Scaling, action_scaling, state_scaling
from vita_data.loader.options import Damage, InstructionChoice
from vita_data.loader.order.members import Member
from vita_data.loader.order.sampler import MixedModalitySampler
from vita_data.loader.store.prefetch import Data, MemberSource
from vita_data.loader.windows.clips import ShardView
from vita_data.shards.clip_fields import parse_clip
from vita_data.shards.reader import matches, mismatch
from vita_data.shards.schema import npy_array
from vita_data.slots import ACTION_DIM, STATE_DIM, batch_columns
from vita_data.types import IMAGE_SIZE, Bool, Float32, Image, Int64

_KEPT_FACTS = 1 << 16
_IMAGE_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchArrays:
    """The memory of a batch, filled slot by slot; None for members that the modality lacks (shapes: types.Batch)."""

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
class Facts:
    """Facts that only clip.json contains."""

    action_mask: Bool
    """[A], the columns of a batch."""
    state_mask: Bool
    instructions: tuple[str, ...]


NO_FACTS = Facts(action_mask=np.zeros(0, bool), state_mask=np.zeros(STATE_DIM, bool), instructions=())


class WindowReader:
    """Reads windows of a plan into batches; safe to share between threads."""

    def __init__(self, sampler: MixedModalitySampler, *, damage: Damage, instruction: InstructionChoice) -> None:
        self.sampler = sampler
        self.damage, self.instruction = damage, instruction
        self._facts: dict[tuple[ShardView, int], Facts] = {}
        plan = sampler.plan
        self.columns = np.array(batch_columns(joints=plan.joints))
        """The columns of the 40 that a batch holds."""
        self.sources = {
            modality: [one.pool.opened.entry.source for one in pools] for modality, pools in plan.pools.items()
        }
        """The source of each pool of a modality."""
        scale_action = partial(action_scaling, joints=plan.joints)
        self.scalings = {
            modality: [
                Scaling.stack([scaling(plan.statistics, source) for source in sources])
                for scaling in (scale_action, state_scaling)
            ]
            for modality, sources in self.sources.items()
        }
        """The scalings of actions and states, one row per pool of a modality."""

    def read(self, members: Sequence[Member], source: MemberSource) -> list[Data]:
        """Read and check members; the result is valid until the same thread reads again.

        Raises:
            ShardError: a member is damaged.
            StorageError: a disk, mount or store cannot read a member.
        """
        found: list[Data] = []
        try:
            # Check each member while it is still in the processor's cache.
            for member, data in zip(members, source.read(members), strict=True):
                if not matches(member.ref, data):
                    raise mismatch(member.view.shard, member.ref, clip=member.key, member=member.member_name)
                found.append(data)
        except VitaDataError:
            raise
        except BaseException as error:
            raise _broken(members[len(found)], error) from error
        return found

    def decode(self, member: Member, data: Data, image: Image) -> None:
        """Decode an image into its place in a batch.

        Raises:
            ShardError: the bytes are not an image as the shard format requires.
        """
        try:
            shape = simplejpeg.decode_jpeg(data, "RGB", buffer=image).shape
        except BaseException as error:
            raise _fault(member, error) from error
        if shape != _IMAGE_SHAPE:
            raise _unfit(member, f"expected an image of {_IMAGE_SHAPE}, got {shape}")

    def rows(self, member: Member, data: Data, row: int, count: int) -> Float32:
        """Take rows of a vector that was read; fewer at the end of the clip.

        Raises:
            ShardError: the bytes are not a vector as the shard format requires.
        """
        try:
            return npy_array(data)[row : row + count]
        except BaseException as error:
            raise _fault(member, error) from error

    def facts(self, view: ShardView, clip: int) -> Facts | None:
        """Return the remembered facts of a clip's metadata; None if it has to be read."""
        return self._facts.get((view, clip))

    def learn(self, member: Member, data: Data) -> Facts:
        """Parse a clip's metadata that was read, and remember its facts.

        Raises:
            ShardError: the bytes are not metadata as the shard format requires.
        """
        try:
            facts = _facts(data, self.columns)
        except BaseException as error:
            raise _fault(member, error) from error
        if len(self._facts) >= _KEPT_FACTS:
            self._facts.clear()
        self._facts[member.view, member.clip] = facts
        return facts


def _facts(data: Data, columns: Int64) -> Facts:
    meta = parse_clip(bytes(data))
    return Facts(
        action_mask=_mask(meta["action_mask"], ACTION_DIM)[columns], state_mask=_mask(meta["state_mask"], STATE_DIM),
        instructions=tuple(text["text"] for text in meta["instructions"] if text["text"]),
    )  # fmt: skip


def _mask(values: list[bool] | None, dim: int) -> NDArray[np.bool_]:
    return np.zeros(dim, bool) if values is None else np.array(values, bool)


def _fault(member: Member, error: BaseException) -> VitaDataError:
    """Name the member in any error of its read: an exit or lack of memory in a thread must not go unnoticed."""
    if isinstance(error, VitaDataError):
        return error
    if isinstance(error, (ValueError, KeyError, TypeError)):
        return _unfit(member, error)
    return _broken(member, error)


def _broken(member: Member, error: BaseException) -> WorkerError:
    return WorkerError(f"{member}: cannot be read ({error!r}); {TRAINING_RESUMES}")


def _unfit(member: Member, why: object) -> ShardError:
    return ShardError(
        f"shard {member.view.shard}, clip {member.key}, member {member.member_name}: the checksum matches, but the "
        f"content is invalid ({why}): it was stored like this. Continue with --set loader.damage=substitute, or fetch "
        "the raw file again and build the source again"
    )
