"""A source with its toy: the raw tree and the shards that were built from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vita_data.builder import BuildRequest
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.shards.index import open_source, read_clip
from vita_data.shards.reader import ShardFiles
from vita_data.sources import load
from vita_data.types import Clip, Outcome, Source, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUnderTest:
    """What the checks look at; they change nothing in these folders."""

    name: str
    raw: Path
    """The toy's raw tree."""
    shards: Path
    """Its build with default settings is in the folder `name` here."""
    file: str = ""
    """The Python file that defines the source, if it is neither in this package nor in an installed one."""

    @property
    def source(self) -> Source:
        """The source."""
        return load(self.name, self.file)

    @property
    def built(self) -> Path:
        """The folder of the built source."""
        return self.shards / self.name

    def tree(self) -> FsspecTree:
        """Open the raw tree anew."""
        return FsspecTree(str(self.raw))

    def request(self, out: Path) -> BuildRequest:
        """Ask for a build with default settings."""
        return BuildRequest(
            source=self.name, source_file=self.file, raw=str(self.raw), out=out, settings=self.source.Settings()
        )

    def outcomes(self) -> Iterator[Outcome]:
        """Read the raw episodes; the cameras of one may be read only until the next one is asked for."""
        source, tree = self.source, self.tree()
        settings = source.Settings()
        for part in source.parts(tree, settings):
            yield from source.episodes(tree, part, settings)

    def clips(self) -> list[Clip]:
        """Read all built clips."""
        files, found = ShardFiles(), []
        for split in Split:
            index = open_source(self.built, split)
            for shard, table in zip(index.shards, index.tables, strict=True):
                found += [read_clip(files, shard, row) for row in table.to_pylist()]
        files.close()
        return found


def require(holds: bool, broken: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise AssertionError with what is broken unless it holds."""
    if not holds:
        raise AssertionError(broken)
