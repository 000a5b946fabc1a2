"""A rank's slice of a batch, cut: for each slot the shard, clip, rows and images that it is read from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vita_data.loader.sampler import MixedModalitySampler, Picks
from vita_data.loader.view import ShardView, gather
from vita_data.loader.windows import ABSENT, Cut, cut, start_steps
from vita_data.shards.schema import ACTION_NPY, CLIP_JSON, STATE_NPY, MemberRef
from vita_data.types import CameraRole, Modality

MEMBERS = {CLIP_JSON: "clip", ACTION_NPY: "action", STATE_NPY: "state"}
"""The index's columns of the members that are no images."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an open shard: one that is no image by its name, an image by its number."""

    view: ShardView
    clip: int
    name: str
    frame: int = ABSENT

    @property
    def ref(self) -> MemberRef | None:
        """Where it lies; None where the clip has none."""
        if self.frame != ABSENT:
            return self.view.frame_ref(self.frame)
        return self.view.member(self.clip, MEMBERS[self.name])

    @property
    def key(self) -> str:
        """The clip's key."""
        return self.view.text("key", self.clip)

    @property
    def member_name(self) -> str:
        """Its name after the key's dot."""
        return self.name if self.frame == ABSENT else self.view.frame_name(self.frame)

    def __str__(self) -> str:
        ref = self.ref
        where = "" if ref is None else f", {ref.size} bytes at byte {ref.offset}"
        return f"shard {self.view.shard}, clip {self.key}, member {self.member_name}{where}"


def image(view: ShardView, clip: int, frame: int) -> Member:
    """Name an image by its number in its shard."""
    return Member(view, clip, "", frame)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCut:
    """What a rank's slice of a batch is read from, slot by slot."""

    picks: Picks
    views: Sequence[ShardView]
    clips: Sequence[int]
    parts: Cut

    def __len__(self) -> int:
        return len(self.clips)

    def members(self) -> Iterator[Member]:
        """Name all that the slots are read from."""
        modality = self.picks.modality
        frames = np.concatenate([self.parts.views, self.parts.futures], axis=1)
        for slot in range(len(self)):
            view, clip = self.views[slot], self.clips[slot]
            for frame in frames[slot].tolist():
                if frame != ABSENT:
                    yield image(view, clip, frame)
            if modality is not Modality.VIDEO:
                yield from (Member(view, clip, name) for name in MEMBERS)


def cut_batch(sampler: MixedModalitySampler, picks: Picks) -> BatchCut:
    """Cut the windows of a rank's slice."""
    spec, modality = sampler.plan.windows, picks.modality
    places = sampler.locate(picks)
    clips = places.clips.tolist()
    found = gather(places.views, clips, tuple(dict.fromkeys((CameraRole.PRIMARY, *spec.views))))
    steps = start_steps(found, places.numbers, spec, modality)
    return BatchCut(picks=picks, views=places.views, clips=clips, parts=cut(found, steps, spec, modality))
