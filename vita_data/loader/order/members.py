"""The members of a rank's slice of a batch: for each slot the shard, clip, rows and images to read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from vita_data.errors import ShardError
from vita_data.loader.order.sampler import MixedModalitySampler, Picks
from vita_data.loader.windows.clips import GatheredClips, ShardView
from vita_data.loader.windows.rules import ABSENT, Cut, cut, start_steps
from vita_data.shards.clip_fields import CLIP_JSON
from vita_data.shards.schema import ACTION_NPY, STATE_NPY, MemberRef
from vita_data.types import Modality

MEMBERS = {CLIP_JSON: "clip", ACTION_NPY: "action", STATE_NPY: "state"}
"""The index columns of the members that are not images."""


class Member(NamedTuple):
    """A member of an open shard: an image by its number, any other member by its name.

    A tuple, since a loader makes thousands of them per second.
    """

    view: ShardView
    clip: int
    ref: MemberRef
    name: str
    frame: int = ABSENT

    @property
    def key(self) -> str:
        """The clip's key."""
        return self.view.text("key", self.clip)

    @property
    def member_name(self) -> str:
        """Its name after the key's dot."""
        return self.name if self.frame == ABSENT else self.view.frame_name(self.frame)

    def __str__(self) -> str:
        where = f"{self.ref.size} bytes at byte {self.ref.offset}"
        return f"shard {self.view.shard}, clip {self.key}, member {self.member_name}, {where}"


def named(view: ShardView, clip: int, name: str) -> Member | None:
    """Find a member that is not an image; None if the clip does not have it."""
    ref = view.member(clip, MEMBERS[name])
    return None if ref is None else Member(view, clip, ref, name)


def image(view: ShardView, clip: int, frame: int) -> Member:
    """Find an image by its number in its shard."""
    return Member(view, clip, view.frame_ref(frame), "", frame)


def metadata(view: ShardView, clip: int) -> Member:
    """Find a clip's metadata.

    Raises:
        ShardError: the index does not list it.
    """
    member = named(view, clip, CLIP_JSON)
    if member is None:
        raise ShardError(f"shard {view.shard}, clip {view.text('key', clip)}: its index lists no {CLIP_JSON}")
    return member


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMembers:
    """What to read for a rank's slice of a batch, slot by slot."""

    picks: Picks
    views: Sequence[ShardView]
    clips: Sequence[int]
    parts: Cut

    def __len__(self) -> int:
        return len(self.clips)

    def members(self) -> Iterator[Member]:
        """Yield all members to read for the slots."""
        modality = self.picks.modality
        frames = np.concatenate([self.parts.views, self.parts.futures], axis=1)
        for slot in range(len(self)):
            view, clip = self.views[slot], self.clips[slot]
            for frame in frames[slot].tolist():
                if frame != ABSENT:
                    yield image(view, clip, frame)
            if modality is not Modality.VIDEO:
                yield from (member for name in MEMBERS if (member := named(view, clip, name)) is not None)


def locate_batch(sampler: MixedModalitySampler, picks: Picks) -> BatchMembers:
    """Find the members of a rank's slice."""
    return locate_batches(sampler, [picks])[0]


def locate_batches(sampler: MixedModalitySampler, batches: Sequence[Picks]) -> list[BatchMembers]:
    """Find the members of several batches of one modality at once, which costs little more than for one batch."""
    spec, modality = sampler.plan.windows, batches[0].modality
    together = replace(
        batches[0],
        pool=np.concatenate([one.pool for one in batches]),
        window=np.concatenate([one.window for one in batches]),
    )
    places = sampler.locate(together)
    clips = places.clips.tolist()
    found = GatheredClips(places.views, clips)
    steps = start_steps(found, places.numbers, spec, modality, is_plain=places.is_plain)
    parts, size = cut(found, steps, spec, modality), len(batches[0].pool)
    slices = [slice(place * size, (place + 1) * size) for place in range(len(batches))]
    return [
        BatchMembers(picks=picks, views=places.views[one], clips=clips[one], parts=parts.part(one))
        for picks, one in zip(batches, slices, strict=True)
    ]
