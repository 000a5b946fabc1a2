"""A source that reads LeRobot datasets as a declaration says."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import PurePosixPath
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from vita_data.declared.arm import Table
from vita_data.declared.commands import compare_arms
from vita_data.declared.declaration import LeRobotDeclaration
from vita_data.declared.rows import PairedRows, Recorded, make_episode, pair_rows, rows_of_clip, source_info
from vita_data.declared.toy import write_declared_toy
from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.lerobot.cameras import TIME, VideoScans, open_camera
from vita_data.formats.lerobot.dataset import read_column, read_table, read_texts
from vita_data.formats.lerobot.episode import LeRobotEpisode
from vita_data.formats.lerobot.features import require_features
from vita_data.formats.lerobot.info import INFO_FILE
from vita_data.formats.lerobot.meta import LeRobotDataset, find_lerobot, open_lerobot
from vita_data.guard import guarded
from vita_data.types import (
    Clip,
    CommandPair,
    CommandReader,
    Drop,
    Episode,
    Outcome,
    Part,
    RawTree,
    SourceSettings,
)

RELEASE = "lerobot"
_LAYOUT = "LeRobot v2.0, v2.1 or v3.0: meta/info.json, data/, videos/"
_Groups = dict[str, tuple[LeRobotEpisode, ...]]


class LeRobotSource:
    """A `Source` made from a declaration.

    The sources of this package whose datasets need more than a declaration says override `pair` and `finish`.
    """

    Settings: type[SourceSettings] = SourceSettings
    text_columns: tuple[str, ...] = ()
    """Further columns of strings that `finish` needs."""

    def __init__(self, declaration: LeRobotDeclaration, *, release: str = RELEASE) -> None:
        self.declaration, self.release = declaration, release
        self.INFO = source_info(declaration, raw_layout=_LAYOUT)
        self._groups: WeakKeyDictionary[RawTree, _Groups] = WeakKeyDictionary()

    def parts(self, raw: RawTree, settings: SourceSettings) -> list[Part]:
        """List one part per table, or per run of episodes that share their table and videos.

        Raises:
            RequestError: there is no LeRobot dataset, or one that is not as declared.
            SourceError: the description of a dataset cannot be read.
        """
        datasets = _open_all(raw)
        if not datasets:
            raise RequestError(f"--raw {raw.root}: found no {INFO_FILE}; give the folder of a LeRobot dataset")
        for dataset in datasets:
            self._require(raw, dataset)
        sizes = _Sizes(raw, datasets)
        return [
            Part(id=id_, num_bytes=sum(map(sizes.of, episodes)), num_episodes=len(episodes))
            for id_, episodes in sorted(_grouped(datasets).items())
        ]

    def _require(self, raw: RawTree, dataset: LeRobotDataset) -> None:
        declared = self.declaration
        require_features(
            raw,
            dataset,
            columns=declared.columns,
            cameras=[camera.key for camera in declared.cameras],
            texts=self._texts,
        )
        if abs(dataset.fps / declared.labelled_fps - 1) > 1e-3:
            raise RequestError(
                f"{PurePosixPath(dataset.root) / INFO_FILE} in {raw.root}: fps is {dataset.fps:g}, but the declaration "
                f"of {declared.name} says labelled_fps={declared.labelled_fps:g}; check its hz as well"
            )

    def episodes(self, raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
        """Read the episodes of one part; an unreadable one is a Failure with its own id."""
        if raw not in self._groups:
            self._groups[raw] = _grouped(_open_all(raw))
        scans = VideoScans(raw)
        for episode in self._groups[raw][part.id]:
            yield guarded(episode.id, partial(self._episode, raw, episode, scans, settings))

    def _episode(
        self, raw: RawTree, episode: LeRobotEpisode, scans: VideoScans, settings: SourceSettings
    ) -> Episode | Drop:
        declared, name = self.declaration, episode.id
        table = read_table(raw, episode, (*declared.columns, *self._texts, TIME))
        _check_times(table, declared.labelled_fps, name)
        columns = {key: read_column(table, key, width=width, name=name) for key, width in declared.columns.items()}
        cameras = {
            camera: open_camera(raw, episode, camera.key, table=table, scans=scans) for camera in declared.cameras
        }
        recorded = Recorded(
            id=name,
            release=self.release,
            split=None,
            hz=settings.hz or declared.hz,
            texts=self._texts_of(table, episode, name),
            cameras=cameras,
            provenance={"file": episode.table, "record": episode.index},
        )
        rows = self.pair(columns, table.num_rows, settings)
        found = make_episode(declared, recorded, rows)
        return found if isinstance(found, Drop) else self.finish(found, rows, table, settings)

    @property
    def _texts(self) -> tuple[str, ...]:
        column = self.declaration.text_column
        return self.text_columns if column is None else (column, *self.text_columns)

    def pair(self, columns: Table, num_rows: int, settings: SourceSettings) -> PairedRows:
        """Choose the rows, and pair observations with actions.

        Args:
            columns: the used columns, all rows.
            num_rows: the number of rows, also if no column is used.
            settings: those of the build.
        """
        return pair_rows(columns, num_rows, rows_to_action=self.declaration.rows_to_action)

    def finish(self, episode: Episode, rows: PairedRows, table: pa.Table, settings: SourceSettings) -> Episode | Drop:
        """Add what a declaration cannot say, or drop the episode; `table` has all its rows."""
        return episode

    def _texts_of(self, table: pa.Table, episode: LeRobotEpisode, name: str) -> Sequence[str]:
        if self.declaration.text_column is None:
            return episode.texts or ("",)
        return list(dict.fromkeys(read_texts(table, self.declaration.text_column, name=name)))

    def command_reader(self, raw: RawTree, settings: SourceSettings) -> CommandReader:
        """Make a reader of recorded and rebuilt commands, or of reached poses if the actions are those."""
        episodes = {episode.id: episode for dataset in _open_all(raw) for episode in dataset.episodes}

        def read(clip: Clip) -> tuple[CommandPair, ...]:
            if clip.episode not in episodes:
                raise EpisodeError(f"{clip.episode}: the episode is not in {raw.root}; is it the same download?")
            return tuple(self._compare(raw, episodes[clip.episode], clip, settings))

        return read

    def _compare(
        self, raw: RawTree, episode: LeRobotEpisode, clip: Clip, settings: SourceSettings
    ) -> Iterator[CommandPair]:
        declared = self.declaration
        found = read_table(raw, episode, tuple(declared.columns))
        columns = {
            key: read_column(found, key, width=width, name=episode.id) for key, width in declared.columns.items()
        }
        rows = self.pair(columns, found.num_rows, settings)
        yield from compare_arms(declared, clip, rows_of_clip(rows, clip, name=episode.id))

    def write_toy(self, root: str) -> None:
        """Write a small dataset that is as declared."""
        write_declared_toy(self.declaration, root)


class _Sizes:
    """How many bytes an episode takes of its files, which it may share with others."""

    def __init__(self, raw: RawTree, datasets: Sequence[LeRobotDataset]) -> None:
        self._raw = raw
        self._num_steps: dict[str, int] = {}
        self._num_bytes: dict[str, int] = {}
        for episode in (episode for dataset in datasets for episode in dataset.episodes):
            for path in _files(episode):
                self._num_steps[path] = self._num_steps.get(path, 0) + episode.num_steps

    def of(self, episode: LeRobotEpisode) -> int:
        """Return the bytes of an episode; 0 if its table is missing."""
        sizes = [self._size(path) * episode.num_steps // max(self._num_steps[path], 1) for path in _files(episode)]
        return sum(sizes) if sizes and sizes[0] else 0

    def _size(self, path: str) -> int:
        if path not in self._num_bytes:
            self._num_bytes[path] = self._raw.size(path) if self._raw.exists(path) else 0
        return self._num_bytes[path]


def _files(episode: LeRobotEpisode) -> tuple[str, ...]:
    if episode.fault:
        return ()
    return (episode.table, *dict.fromkeys(span.path for span in episode.videos.values()))


def _open_all(raw: RawTree) -> list[LeRobotDataset]:
    return [open_lerobot(raw, root) for root in find_lerobot(raw)]


def _grouped(datasets: Sequence[LeRobotDataset]) -> _Groups:
    """Map the id of each part to its episodes: those in a row that share all their files."""
    groups: _Groups = {}
    for dataset in datasets:
        for _, run in groupby(dataset.episodes, key=lambda episode: _files(episode) or episode.id):
            episodes = tuple(run)
            first = episodes[0]
            id_ = first.id
            if first.is_packed and not first.fault:
                id_ = f"{first.table}#{first.index:06d}-{episodes[-1].index:06d}"
            groups[id_] = episodes
    return groups


def _check_times(table: pa.Table, fps: float, name: str) -> None:
    """Refuse rows whose time stamps are not those of a constant rate: a pause would be stored as if there were none.

    Raises:
        EpisodeError: a time stamp is off by more than half a row.
    """
    rows = read_column(table, TIME, width=1, name=name)[:, 0] * fps
    is_off = ~(np.abs(rows - np.arange(len(rows))) <= 0.5)  # NaN is off too
    if is_off.any():
        row = int(np.argmax(is_off))
        raise EpisodeError(
            f"{name}: row {row} is at {rows[row] / fps:.4f} s, expected {row / fps:.4f} s at {fps:g} fps"
        )
