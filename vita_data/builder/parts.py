"""Lists the parts of a raw tree for a build or a probe; refuses missing parts and parts duplicated by links."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from vita_data.errors import RequestError, SourceError, VitaDataError
from vita_data.formats.raw_tree.file_head import look
from vita_data.formats.raw_tree.unread import AskedTree, ListedTree, Unread, find_unread
from vita_data.guard import data_fault
from vita_data.types import Part, RawTree, Source, SourceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PartList:
    """The parts and the tree they were listed from; the tree records which paths were requested."""

    parts: tuple[Part, ...]
    raw: AskedTree


def list_parts(source: Source, raw: RawTree, settings: SourceSettings) -> PartList:
    """List a source's parts.

    Raises:
        RequestError: the tree does not have this dataset's layout, lacks all files that its annotations name,
            or contains some of them twice.
        SourceError: a file that describes the whole tree cannot be read.
    """
    asked = AskedTree(raw)
    parts = _read_parts(source, asked, settings)
    ids = [part.id for part in parts]
    if not ids:
        raise RequestError(f"--raw {raw.root}: no data of source {source.INFO.name!r} found")
    if len(set(ids)) != len(ids):
        raise ValueError(f"source {source.INFO.name} lists a part more than once")
    listed = PartList(parts=tuple(parts), raw=asked)
    _refuse_absent(listed, raw)
    _refuse_twice(parts, raw)
    return listed


def _read_parts(source: Source, raw: AskedTree, settings: SourceSettings) -> list[Part]:
    """List the parts; what a damaged description raises is an error in words, as for an episode (`guard`)."""
    try:
        return list(source.parts(raw, settings))
    except VitaDataError:
        raise
    except Exception as error:
        told = data_fault(error, f"--raw {raw.root}")
        raise SourceError(f"{told}; a file that describes the tree is damaged, fetch it again") from error


def unread_files(listed: PartList, raw: ListedTree) -> Unread:
    """Count the files of the tree that no part reads."""
    return find_unread(raw, listed.parts, listed.raw.asked)


def _refuse_absent(listed: PartList, raw: RawTree) -> None:
    """Refuse a tree that has only annotations: otherwise each of 200,000 episodes would fail."""
    parts = listed.parts
    if any(part.num_bytes for part in parts):
        return
    first = parts[0].id
    is_file = PurePosixPath(first).suffix and "#" not in first
    found = look(partial(raw.open, first), name=first) if is_file and raw.exists(first) else None
    told, advice = (f" ({found.what})", found.advice) if found else ("", "fetch or extract them")
    beside = unread_files(listed, raw).line() if isinstance(raw, ListedTree) else ""
    raise RequestError(
        f"--raw {raw.root}: all {len(parts)} files that should hold the episodes are missing or empty; "
        f"the first is {first}{told}; {advice}, or give the folder that contains them and the "
        f"annotations{beside and f' ({beside})'}"
    )


def _refuse_twice(parts: Sequence[Part], raw: RawTree) -> None:
    """Refuse links that list one folder or file twice: all its episodes would be read twice."""
    twice = raw.find_twice(list(dict.fromkeys(part.id.partition("#")[0] for part in parts)))
    if twice is not None:
        first, second = (PurePosixPath(path) for path in twice)
        while first.name == second.name:
            first, second = first.parent, second.parent
        raise RequestError(
            f"--raw {raw.root}: {first} and {second} are the same file through a link, so its episodes would be "
            "read twice; remove the link"
        )
