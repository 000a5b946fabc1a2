"""Finds the files of a raw tree that are not read: they belong to no part, and listing the parts did not request them.

This reports an incomplete copy, another version or a video without a label instead of ignoring it. Sources do not list
their files for this: a tree that records requested paths is placed between the source and the raw tree.
"""

import posixpath
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import attrgetter
from typing import BinaryIO, Protocol, runtime_checkable

from vita_data.command.exits import one_line
from vita_data.formats.raw_tree.entries import Entry
from vita_data.types import READ_BLOCK_BYTES, Json, Part, RawTree

MAX_SHOWN = 8
"""Number of patterns in the text output; JSON has all of them."""
_MAX_FILES, _MAX_FOLDERS = 500_000, 10_000
_MAX_S = 3.0
"""Limits of the search: it must not delay a build, and a tree may have millions of files."""
_MAX_SIBLINGS = 3
"""Up to this many sibling folders are named individually; more are shown as one `*`."""
_REPOSITORIES = frozenset({".git", ".hg"})
"""Version control folders contain only another copy of the data, or none."""
_UNLISTED = "(permission denied)"
_SHARD = re.compile(r"-\d+-of-\d+$")


@runtime_checkable
class ListedTree(Protocol):
    """A raw tree whose folders can be listed completely, including names that `glob` skips."""

    def list_folder(self, path: str) -> list[Entry] | None:
        """List a folder ("" is the root) with one request; None if it may not be listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """The unread files, counted by pattern, most frequent first."""

    patterns: tuple[tuple[str, int], ...]
    is_whole: bool
    """False if the search was stopped early, so that there may be more."""

    @property
    def num_files(self) -> int:
        """The minimum number of unread files."""
        return sum(count for _, count in self.patterns)

    def line(self) -> str:
        """Format the unread files as one line; empty if every file is read."""
        if not self.patterns:
            return "" if self.is_whole else "not read: none found so far; the search for other files was stopped early"
        shown = [f"{count} {pattern}" for pattern, count in self.patterns[:MAX_SHOWN]]
        if rest := self.patterns[MAX_SHOWN:]:
            shown.append(f"{sum(count for _, count in rest)} more files in {len(rest)} patterns")
        count = f"{self.num_files} file{'' if self.num_files == 1 else 's'}"
        return one_line(f"not read: {'' if self.is_whole else 'at least '}{count}: {', '.join(shown)}")

    def as_json(self) -> Json:
        """Return JSON values."""
        return {"num_files": self.num_files, "is_whole": self.is_whole, "patterns": dict(self.patterns)}


class AskedTree:
    """A raw tree that records each path that is requested by name; results of `glob` do not count as requested."""

    def __init__(self, raw: RawTree) -> None:
        self._raw = raw
        self.asked: set[str] = set()

    @property
    def root(self) -> str:
        """The path or URL as the user gave it."""
        return self._raw.root

    def glob(self, pattern: str) -> list[str]:
        """List files that match; see `RawTree`."""
        return self._raw.glob(pattern)

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder exists."""
        self.asked.add(path)
        return self._raw.exists(path)

    def is_dangling(self, path: str) -> bool:
        """Tell whether a path is a broken link."""
        self.asked.add(path)
        return self._raw.is_dangling(path)

    def find_twice(self, paths: Sequence[str]) -> tuple[str, str] | None:
        """Return two of the paths that are the same."""
        return self._raw.find_twice(paths)

    def size(self, path: str) -> int:
        """Size of a file in bytes."""
        self.asked.add(path)
        return self._raw.size(path)

    def read_bytes(self, path: str) -> bytes:
        """Return the whole content of a small file."""
        self.asked.add(path)
        return self._raw.read_bytes(path)

    def open(self, path: str, *, block_bytes: int = READ_BLOCK_BYTES) -> BinaryIO:
        """Open a file for reading; see `RawTree`."""
        self.asked.add(path)
        return self._raw.open(path, block_bytes=block_bytes)

    def local_path(self, path: str) -> str:
        """Return a path that C libraries can open; see `RawTree`."""
        self.asked.add(path)
        return self._raw.local_path(path)


def find_unread(raw: ListedTree, parts: Sequence[Part], asked: Collection[str]) -> Unread:
    """Count, folder by folder, the files that are not a part, not inside one, and were not requested.

    Assumes: a part's id is a file, a folder, or `folder#range`, which counts as the whole folder.
    """
    parted = {part.id.partition("#")[0] for part in parts}
    until_s, num_seen, is_whole = time.monotonic() + _MAX_S, 0, True
    groups: dict[tuple[str, str], _Group] = {}
    folders, seen_targets = [""], set[str]()
    for number, folder in enumerate(folders):  # the list grows in the loop, so that deep folders come last
        if num_seen > _MAX_FILES or number > _MAX_FOLDERS or time.monotonic() > until_s:
            is_whole = False
            break
        entries = raw.list_folder(folder)
        if entries is None:
            entries = [Entry(name=_UNLISTED, is_folder=False)]
        num_seen += len(entries)
        for entry in sorted(entries, key=attrgetter("name")):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if path in parted or (entry.target and entry.target in seen_targets):
                continue
            seen_targets.add(entry.target)
            if entry.is_folder:
                folders += [] if entry.name in _REPOSITORIES else [path]
            elif path not in asked:
                names = tuple(path.split("/"))
                key = folder, _kind(entry.name)
                groups[key] = _Group(folder=names[:-1], example=path).joined(groups.get(key))
    patterns = _patterns(groups)
    ordered = sorted(patterns.items(), key=lambda found: (-found[1], found[0]))
    return Unread(patterns=tuple(ordered), is_whole=is_whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Files of one kind in one folder, or in several folders merged into `*`."""

    folder: tuple[str, ...]
    example: str
    count: int = 1

    def joined(self, other: "_Group | None") -> "_Group":
        return self if other is None else replace(self, count=self.count + other.count)


def _kind(name: str) -> str:
    """Return a file's kind: macOS companion, suffix, or the name without its numbers if it has no suffix."""
    if name.startswith("._"):
        return "._*"
    suffix = _SHARD.sub("-*", posixpath.splitext(name)[1])
    return f"*{suffix}" if suffix else re.sub(r"\d+", "*", name)


def _patterns(groups: Mapping[tuple[str, str], _Group]) -> dict[str, int]:
    """Count files by pattern; a single file is its own pattern."""
    by_kind: dict[str, list[_Group]] = {}
    for (_, kind), group in groups.items():
        by_kind.setdefault(kind, []).append(group)
    merged = [(kind, group) for kind, found in by_kind.items() for group in _merged(found)]
    return {
        "/".join((*group.folder, kind)) if group.count > 1 else group.example: group.count for kind, group in merged
    }


def _merged(groups: Sequence[_Group], depth: int = 0) -> list[_Group]:
    """Name sibling folders individually; if there are many, merge them into one `*`."""
    here = [group for group in groups if len(group.folder) == depth]
    below: dict[str, list[_Group]] = {}
    for group in groups:
        if len(group.folder) > depth:
            below.setdefault(group.folder[depth], []).append(group)
    if len(below) > _MAX_SIBLINGS:
        starred = [_starred(group, depth) for found in below.values() for group in found]
        below = {"*": starred}
    together = [reduce(_Group.joined, here)] if here else []
    return together + [group for found in below.values() for group in _merged(found, depth + 1)]


def _starred(group: _Group, depth: int) -> _Group:
    return replace(group, folder=(*group.folder[:depth], "*", *group.folder[depth + 1 :]))
