"""Compares the commands that a built source gives back with the raw rows it was built from; needs no simulator.

The strongest check of a conversion short of executing it: each clip names its raw rows by `provenance` and
`step_index`, and the source rebuilds from the stored actions what the raw file says that the robot was told.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from vita_data.command.progress import SILENT, Progress
from vita_data.config.from_json import from_json
from vita_data.dataset import BuiltSource
from vita_data.errors import RequestError, VitaDataError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.shards.card_fields import settings_of
from vita_data.shards.index import is_built, meant_shards, read_card, source_name, sources_in
from vita_data.sources import load, names
from vita_data.storage.files import AnyPath, open_path
from vita_data.types import (
    Clip,
    CommandedSource,
    CommandPair,
    DemonstrationReader,
    SimulatedSource,
    Source,
    SourceSettings,
    Split,
)

TOLERANCE = 1e-6
"""Largest allowed difference, in the unit of each quantity: stored values are float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstRow:
    """The largest difference of one quantity, and where it is."""

    error: float
    clip: str
    row: int
    step: int
    """Native step of the row."""


@dataclass(slots=True, kw_only=True)
class CommandReport:
    """The comparison of one source."""

    source: str
    has_commands: bool
    """False: the raw data has no commands that its actions determine, so nothing was compared."""
    num_clips: int = 0
    num_rows: int = 0
    worst: dict[str, WorstRow] = field(default_factory=dict)
    """By the quantity's name."""

    @property
    def passes(self) -> bool:
        """Whether no difference exceeds the tolerance."""
        return all(worst.error <= TOLERANCE for worst in self.worst.values())

    def add(self, clip: Clip, pairs: tuple[CommandPair, ...]) -> None:
        """Add the rows of a clip."""
        self.num_clips, self.num_rows = self.num_clips + 1, self.num_rows + clip.num_steps
        for pair in pairs:
            row = int(np.argmax(pair.errors))
            found = WorstRow(error=float(pair.errors[row]), clip=clip.key, row=row, step=int(clip.step_index[row]))
            if pair.name not in self.worst or found.error > self.worst[pair.name].error:
                self.worst[pair.name] = found


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltFrom:
    """A built source with the raw tree it was built from."""

    name: str
    folder: AnyPath
    raw: str

    def clips(self) -> Iterator[Clip]:
        """Yield its clips without frames, in the order of its shards."""
        for split in Split:
            for stored in BuiltSource(self.folder, split=split):
                yield stored.vectors

    @property
    def num_clips(self) -> int:
        """Number of clips in both splits."""
        return sum(len(BuiltSource(self.folder, split=split)) for split in Split)


def find_built(shards: AnyPath, raw: str) -> list[BuiltFrom]:
    """Pair the built sources of a folder, or the one that it is, with their raw trees.

    A single source's tree is `raw` itself, those of several are `raw/NAME`.

    Raises:
        RequestError: there is no built source, or a source's raw tree is missing.
    """
    folders = [shards] if is_built(shards) else [shards / name for name in sources_in(shards)]
    if not folders:
        raise RequestError(f"--shards {shards}: expected built sources, found none{meant_shards(shards)}")
    named = {source_name(read_card(folder)): folder for folder in folders}
    return [
        BuiltFrom(name=name, folder=folder, raw=raw if len(named) == 1 else _raw_of(name, raw))
        for name, folder in named.items()
    ]


def _raw_of(name: str, raw: str) -> str:
    within = f"{raw.rstrip('/')}/{name}"
    if not open_path(within).is_dir():
        raise RequestError(f"--raw {raw}: expected a folder for each built source, found none for {name}")
    return within


def compare_commands(built: BuiltFrom, *, source_file: str = "", progress: Progress = SILENT) -> CommandReport:
    """Compare every clip with its raw rows; progress counts clips.

    Raises:
        RequestError: the source is unknown; its file is then needed.
        VitaDataError: the raw rows of a clip cannot be read; names the clip.
    """
    source = _source(built, source_file)
    report = CommandReport(source=built.name, has_commands=isinstance(source, CommandedSource))
    if not isinstance(source, CommandedSource):
        return report
    progress.start(built.num_clips)
    read = source.command_reader(FsspecTree(built.raw), _settings(source, built))
    for clip in built.clips():
        try:
            pairs = read(clip)
        except VitaDataError as error:
            raise type(error)(f"clip {clip.key}: {error}") from error
        report.add(clip, pairs)
        progress.update()
    return report


def demonstration_reader(built: BuiltFrom, *, source_file: str = "") -> DemonstrationReader:
    """Make a function that reads the demonstrations of a built source's clips, to execute them in their simulator.

    Raises:
        RequestError: the source is unknown, or was not recorded in a simulator.
    """
    source = _source(built, source_file)
    if not isinstance(source, SimulatedSource):
        raise RequestError(f"{built.name} was not recorded in a simulator, so its demonstrations cannot be executed")
    return source.demonstration_reader(FsspecTree(built.raw), _settings(source, built))


def _source(built: BuiltFrom, source_file: str) -> Source:
    return load(built.name, "" if built.name in names() else source_file)


def _settings(source: Source, built: BuiltFrom) -> SourceSettings:
    return from_json(source.Settings, settings_of(read_card(built.folder)))
