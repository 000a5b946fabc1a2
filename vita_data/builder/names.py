"""Names of raw files and episodes as they are stored: files on a disk may have names that are not UTF-8."""

from dataclasses import replace

from vita_data.types import Drop, Episode, Failure, Json, Outcome


def stored_name(name: str) -> str:
    r"""Write bytes of a name that are not UTF-8 as escapes, `caf\udce9`; other names stay as they are."""
    return name.encode(errors="backslashreplace").decode()


def with_stored_names(outcome: Outcome) -> Outcome:
    """Return an outcome whose names can be stored; nearly always, it is the same one."""
    if isinstance(outcome, Episode):
        return outcome if _is_ready(outcome) else _renamed(outcome)
    if isinstance(outcome, Drop):
        return replace(outcome, episode=stored_name(outcome.episode), detail=stored_name(outcome.detail))
    return Failure(episode=stored_name(outcome.episode), detail=stored_name(outcome.detail))


def _is_ready(episode: Episode) -> bool:
    told = (episode.id, episode.release, episode.split_group or "", *map(str, episode.provenance.values()))
    return all(stored_name(name) == name for name in told)


def _renamed(episode: Episode) -> Episode:
    provenance: Json = {
        key: stored_name(value) if isinstance(value, str) else value for key, value in episode.provenance.items()
    }
    return replace(
        episode,
        id=stored_name(episode.id),
        release=stored_name(episode.release),
        split_group=None if episode.split_group is None else stored_name(episode.split_group),
        provenance=provenance,
    )
