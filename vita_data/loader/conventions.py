"""The constants that turn canonical actions into a simulator's, of each source of a plan that has some."""

import json
from collections.abc import Mapping

from vita_data.convention import Convention
from vita_data.errors import ShardError
from vita_data.loader.plan import Plan
from vita_data.loader.pool import OpenEntry
from vita_data.shards.reader import ShardFiles
from vita_data.shards.schema import CLIP_JSON


def conventions(plan: Plan) -> Mapping[str, Convention]:
    """Read each source's constants from the first clip that the plan draws from, by source.

    Assumes: the constants are the source's, not a clip's.

    Raises:
        ShardError: the clip is damaged.
    """
    opened = {one.pool.opened.entry.source: one.pool.opened for pools in plan.pools.values() for one in pools}
    files = ShardFiles()
    found = {source: _of(entry, files) for source, entry in opened.items()}
    files.close()
    return {source: one for source, one in found.items() if one is not None}


def _of(opened: OpenEntry, files: ShardFiles) -> Convention | None:
    view = next(view for view in opened.views if len(view))
    key = view.text("key", 0)
    ref = view.member(0, "clip")
    if ref is None:
        raise ShardError(f"shard {view.shard}, clip {key}: its index lists no {CLIP_JSON}")
    return Convention.of(json.loads(files.read(view.shard, ref, clip=key, member=CLIP_JSON))["extras"])
