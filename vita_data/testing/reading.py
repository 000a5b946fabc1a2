"""Checks of what a source says about itself and reads from its toy."""

from collections import Counter
from operator import attrgetter

from vita_data.normalize import FrameSelection, normalize
from vita_data.shards.schema import clip_from_members, clip_members
from vita_data.testing.under_test import SourceUnderTest, require
from vita_data.types import Drop, Episode, Failure, Modality, SourceSettings

_LEAST_GOOD = 2


def check_info(tested: SourceUnderTest) -> None:
    """INFO names the source, its licence, access and address; Settings extend the common ones."""
    source, name = tested.source, tested.name
    info = source.INFO
    require(info.name == name, f"{name}: INFO.name is {info.name!r}")
    require(issubclass(source.Settings, SourceSettings), f"{name}: Settings must extend SourceSettings")
    for field in ("licence", "access", "url"):
        require(bool(attrgetter(field)(info)), f"{name}: INFO.{field} is empty")
    require(
        (info.action_origin is None) == (info.modality is Modality.VIDEO),
        f"{name}: INFO.action_origin is {info.action_origin}, but the modality is {info.modality}; only video has none",
    )


def check_parts(tested: SourceUnderTest) -> None:
    """Parts exist, have distinct ids, and are the same each time."""
    source = tested.source
    first, again = ([part.id for part in source.parts(tested.tree(), source.Settings())] for _ in range(2))
    require(bool(first), f"{tested.name}: parts() finds none in its toy")
    twice = [id_ for id_, count in Counter(first).items() if count > 1]
    require(not twice, f"{tested.name}: parts() lists {twice[:1]} more than once")
    require(first == again, f"{tested.name}: parts() lists other parts, or another order, the second time")


def check_counts(tested: SourceUnderTest) -> None:
    """A part yields as many outcomes as it announces."""
    source, tree = tested.source, tested.tree()
    settings = source.Settings()
    for part in source.parts(tree, settings):
        count = sum(1 for _ in source.episodes(tree, part, settings))
        require(
            part.num_episodes in (None, count),
            f"{tested.name}: part {part.id!r} announces {part.num_episodes} episodes and yields {count}",
        )


def check_ids(tested: SourceUnderTest) -> None:
    """Episode ids are distinct, the same each time, and free of the tree's place."""
    first, again = (_ids(tested) for _ in range(2))
    twice = [id_ for id_, count in Counter(first).items() if count > 1]
    require(not twice, f"{tested.name}: episode id {twice[:1]} is used more than once")
    require(first == again, f"{tested.name}: episodes have other ids, or another order, the second time")
    placed = [id_ for id_ in first if str(tested.raw) in id_]
    require(not placed, f"{tested.name}: episode id {placed[:1]} has the path of the raw tree; use a relative one")


def _ids(tested: SourceUnderTest) -> list[str]:
    return [found.id if isinstance(found, Episode) else found.episode for found in tested.outcomes()]


def check_toy(tested: SourceUnderTest) -> None:
    """The toy reads without failures, and at least two of its episodes are good."""
    source, num_good = tested.source, 0
    for found in tested.outcomes():
        if isinstance(found, Failure):
            raise AssertionError(f"{tested.name}: toy episode {found.episode} failed: {found.detail}")
        if isinstance(found, Episode):
            clips = normalize(found, source.INFO, source.Settings(), FrameSelection.KEYFRAMES)
            num_good += not isinstance(clips, Drop)
    require(num_good >= _LEAST_GOOD, f"{tested.name}: {num_good} toy episodes are stored, expected at least 2")


def check_clips_survive(tested: SourceUnderTest) -> None:
    """A clip is the same after writing and reading, and has an image of every row if all are asked for."""
    source = tested.source
    for found in tested.outcomes():
        if not isinstance(found, Episode):
            continue
        normalized = normalize(found, source.INFO, source.Settings(), FrameSelection.ALL)
        for clip in normalized if isinstance(normalized, tuple) else ():
            again = clip_from_members(clip.key, dict(clip_members(clip)))
            same = dict(clip_members(again)) == dict(clip_members(clip))
            require(same, f"{tested.name}: clip {clip.key} is another one after writing and reading")
            for role, frames in again.frames.items():
                require(
                    len(frames) == clip.num_steps,
                    f"{tested.name}: clip {clip.key} has {len(frames)} images of {role} for {clip.num_steps} rows",
                )
