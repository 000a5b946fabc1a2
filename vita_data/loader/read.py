"""Members to pixels and numbers: checked reads, decoding straight into a batch's memory.

Called from many threads at once.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from vita_data.errors import ShardError, StorageError, VitaDataError, WorkerError
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
        except Exception as error:
            raise StorageError(f"{member}: reading it failed ({error!r})") from error
        if not matches(member.ref, data):
            raise mismatch(member.view.shard, member.ref, clip=member.key, member=member.member_name)
        return data

    def decode(self, member: Member, image: Image, members: MemberSource) -> None:
        """Decode an image into its place in a batch; raises as `read`."""
        with _named_faults(member):
            shape = simplejpeg.decode_jpeg(self.read(member, members), "RGB", buffer=image).shape
        if shape != _IMAGE_SHAPE:
            raise _unfit(member, f"an image of {shape}, not {_IMAGE_SHAPE}")

    def rows(self, member: Member, row: int, count: int, members: MemberSource) -> Float32:
        """Read rows of a vector, fewer where the clip ends; raises as `read`."""
        with _named_faults(member):
            return npy_array(self.read(member, members))[row : row + count]

    def facts(self, view: ShardView, clip: int, members: MemberSource) -> Facts:
        """Read what only a clip's metadata says, or remember it; raises as `read`."""
        facts = self._facts.get((view, clip))
        if facts is None:
            member = named(view, clip, CLIP_JSON)
            if member is None:
                raise ShardError(f"shard {view.shard}, clip {view.text('key', clip)}: its index lists no {CLIP_JSON}")
            with _named_faults(member):
                facts = _facts(self.read(member, members))
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


@contextmanager
def _named_faults(member: Member) -> Iterator[None]:
    """Name the member in whatever reading it raises: an exit or a lack of memory in a thread must not go unseen."""
    try:
        yield
    except VitaDataError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise _unfit(member, error) from error
    except BaseException as error:
        raise WorkerError(
            f"{member}: reading it failed ({error!r}); run the same command again, it goes on from the last checkpoint"
        ) from error


def _unfit(member: Member, why: object) -> ShardError:
    return ShardError(
        f"shard {member.view.shard}, clip {member.key}, member {member.member_name}: its bytes are as written, but "
        f"are not what the format says ({why}); build the source again"
    )
