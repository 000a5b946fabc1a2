"""The episodes that a manifest entry selects: those of a condition, without those of a list of ids.

Only ids are compared; nothing is copied, so that removing the line from the manifest restores the whole source.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from vita_data.curation.ids import ListedId, read_ids
from vita_data.errors import ManifestError, RequestError, did_you_mean
from vita_data.shards.episodes import read_episodes
from vita_data.storage.files import AnyPath

_MAX_IDS_COMPARED = 20_000
"""Beyond this number of ids, looking for a similar one takes too long."""


def satisfying(folder: AnyPath, condition: str, *, place: str) -> list[str]:
    """List the ids of a built source's raw episodes that satisfy a condition on the episode table.

    Raises:
        ManifestError: the condition cannot be used (`condition.matching`).
        ShardError: the list of episodes or an index is missing or damaged.
    """
    # polars is imported only for manifests with a condition.
    from vita_data.curation.condition import matching
    from vita_data.curation.table import episode_table

    try:
        return matching(episode_table(folder), condition, place=f"{place}: where")["id"].to_list()
    except RequestError as error:
        raise ManifestError(str(error)) from error


def excluded(folder: AnyPath, path: str, *, names: Sequence[str], known: Collection[str], place: str) -> list[str]:
    """List the ids of a built source that a file names.

    Args:
        folder: the built source.
        path: the file; its lines about other sources are skipped.
        names: the names of the source; a line without a name is also about it.
        known: the names of all sources that a line may be about.
        place: the manifest entry, for messages.

    Raises:
        ManifestError: the file cannot be read, or names an episode or source that does not exist.
        ShardError: the list of episodes is missing or damaged.
    """
    try:
        listed = read_ids(Path(path), place=f"{place}: exclude")
    except RequestError as error:
        raise ManifestError(str(error)) from error
    place = f"{place}: exclude {path}"
    for one in listed:
        if one.source and one.source not in (*names, *known):
            hint = did_you_mean(one.source, known, f"known sources: {', '.join(sorted(known))}")
            raise ManifestError(f"{place}, line {one.line}: source {one.source!r} is not built here; {hint}")
    mine = [one for one in listed if one.source in ("", *names)]
    _require_ids(mine, read_episodes(folder)["id"].to_pylist(), source=names[0], place=place)
    return [one.id for one in mine]


def _require_ids(listed: Sequence[ListedId], ids: Sequence[str], *, source: str, place: str) -> None:
    there = set(ids)
    unknown = [one for one in listed if one.id not in there]
    if unknown:
        first = unknown[0]
        hint = did_you_mean(first.id, ids[:_MAX_IDS_COMPARED], f"`vita-data episodes DIR/{source}` lists them")
        more = f" ({len(unknown)} such lines)" if len(unknown) > 1 else ""
        raise ManifestError(f"{place}, line {first.line}: {source} has no episode {first.id!r}{more}; {hint}")
