"""The parts of a raw tree, as a build and a probe list them: refused where nothing of them is there."""

from collections.abc import Sequence
from dataclasses import dataclass

from vita_data.errors import RequestError
from vita_data.formats.unread import AskedTree, ListedTree, Unread, find_unread
from vita_data.types import Part, RawTree, Source, SourceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PartList:
    """The parts, and the tree that they were listed from, which knows what it was asked for."""

    parts: tuple[Part, ...]
    raw: AskedTree


def list_parts(source: Source, raw: RawTree, settings: SourceSettings) -> PartList:
    """List a source's parts.

    Raises:
        RequestError: the tree is not this dataset's layout, or holds none of the files that its annotations name.
        SourceError: a file that describes the whole tree cannot be read.
    """
    asked = AskedTree(raw)
    parts = source.parts(asked, settings)
    ids = [part.id for part in parts]
    if not ids:
        raise RequestError(f"--raw {raw.root}: no data of source {source.INFO.name!r} found")
    if len(set(ids)) != len(ids):
        raise ValueError(f"source {source.INFO.name} lists a part twice")
    _refuse_absent(parts, raw)
    return PartList(parts=tuple(parts), raw=asked)


def unread_files(listed: PartList, raw: ListedTree) -> Unread:
    """Count the files of the tree that no part reads."""
    return find_unread(raw, listed.parts, listed.raw.asked)


def _refuse_absent(parts: Sequence[Part], raw: RawTree) -> None:
    """Refuse a tree whose annotations are there alone: else each of 200,000 episodes would fail for it."""
    if any(part.num_bytes for part in parts):
        return
    first = parts[0].id
    raise RequestError(
        f"--raw {raw.root}: of the {len(parts)} files that should hold the episodes none is there, or all are empty; "
        f"the first is {first}; fetch or extract them, or give the folder that contains both"
    )
