"""What a policy must know of a plan's sources besides statistics: simulator constants, how images became square."""

import json
from collections.abc import Mapping

from vita_data.convention import Convention
from vita_data.loader.cuts import metadata
from vita_data.loader.plan import Plan
from vita_data.loader.pool import OpenEntry
from vita_data.shards.reader import ShardFiles
from vita_data.types import ResizeMode


def conventions(plan: Plan) -> Mapping[str, Convention]:
    """Read each source's constants from the first clip that the plan draws from, by source.

    Assumes: the constants are the source's, not a clip's.

    Raises:
        ShardError: the clip is damaged.
    """
    opened = _opened(plan)
    files = ShardFiles()
    found = {source: _of(entry, files) for source, entry in opened.items()}
    files.close()
    return {source: one for source, one in found.items() if one is not None}


def resizes(plan: Plan) -> Mapping[str, ResizeMode]:
    """Tell how each source's images were made square, by source."""
    return {source: entry.resize for source, entry in _opened(plan).items()}


def _opened(plan: Plan) -> Mapping[str, OpenEntry]:
    return {one.pool.opened.entry.source: one.pool.opened for pools in plan.pools.values() for one in pools}


def _of(opened: OpenEntry, files: ShardFiles) -> Convention | None:
    member = metadata(next(view for view in opened.views if len(view)), 0)
    data = files.read(member.view.shard, member.ref, clip=member.key, member=member.member_name)
    return Convention.of(json.loads(data)["extras"])
