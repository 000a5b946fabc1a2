"""Finds, for each source of a plan that has them, the constants that convert canonical actions to a simulator's."""

from collections.abc import Mapping

from vita_data.action_convention import Convention
from vita_data.loader.order.members import metadata
from vita_data.loader.order.plan import Plan
from vita_data.loader.order.pool import OpenEntry
from vita_data.shards.index import read_convention
from vita_data.shards.reader import ShardFiles


def conventions(plan: Plan) -> Mapping[str, Convention]:
    """Read the constants of each source from the first clip that the plan draws from.

    Assumes: all clips of a source have the same constants.

    Raises:
        ShardError: the clip is damaged.
    """
    opened = {one.pool.opened.entry.source: one.pool.opened for pools in plan.pools.values() for one in pools}
    files = ShardFiles()
    found = {source: _of(entry, files) for source, entry in opened.items()}
    files.close()
    return {source: one for source, one in found.items() if one is not None}


def _of(opened: OpenEntry, files: ShardFiles) -> Convention | None:
    member = metadata(next(view for view in opened.views if len(view)), 0)
    return read_convention(files, member.view.shard, member.ref, clip=member.key)
