"""The windows of one mixture entry in one modality: their number, and the clip of each window number.

Stores one row number and one cumulative count per clip; no table of windows, and no clip's frames until they are
needed.
"""

import difflib
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vita_data.command.progress import SILENT, Progress
from vita_data.curation.selection import excluded, satisfying
from vita_data.errors import ManifestError
from vita_data.loader.order.permute import key_of
from vita_data.loader.windows.clips import ShardView
from vita_data.loader.windows.rules import count_windows
from vita_data.manifest import near_manifest
from vita_data.nearby import near_name
from vita_data.shards.index import SourceIndex, meant_shards, open_source, read_card, sources_in
from vita_data.shards.stats import StatsFile, load_stats
from vita_data.storage.files import AnyPath, open_path, storage_errors
from vita_data.types import Bool, Int64, Json, Manifest, MixtureEntry, Modality, Split, Stage, WindowSpec

_SAME_WORD = 0.8
"""Similarity (0 to 1) from which a name counts as a misspelling of another."""
_OPENERS = 8
"""Sources of a store that are opened in parallel."""


@dataclass(frozen=True)
class OpenEntry:
    """A mixture entry with its shards' indexes open and its clips chosen."""

    entry: MixtureEntry
    index: SourceIndex
    stats: StatsFile
    views: tuple[ShardView, ...]
    first_rows: Int64
    """Row of the source where each shard starts [S]."""
    chosen: Bool
    """[C] clips that `where`, `fraction` and `exclude` select."""

    @cached_property
    def label(self) -> str:
        """What distinguishes this entry from the others of its manifest: the source, and split and `where` if given."""
        pairs = (f"{key}={value}" for key, value in sorted(self.entry.where.items()))
        where = self.entry.condition or ",".join(pairs)
        split = "" if self.entry.split is Split.TRAIN else f":{self.entry.split}"
        return self.entry.source + split + (f"[{where}]" if where else "")

    def __repr__(self) -> str:
        return f"OpenEntry({self.label}, {int(self.chosen.sum())} of {len(self.chosen)} clips)"

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of the index over all shards."""
        return self.index.table.column(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The shard, clip and number within the clip of windows [n]."""

    views: tuple[ShardView, ...]
    clips: Int64
    numbers: Int64
    is_plain: Bool
    """See `Counted.is_plain`."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The windows of an entry in a modality, numbered 0..num_windows-1."""

    modality: Modality
    spec: WindowSpec
    opened: OpenEntry
    rows: Int64
    """[C] rows of the source with a window."""
    ends: Int64
    """[C] cumulative number of windows of those rows."""
    is_plain: Bool
    """[C] see `Counted.is_plain`."""
    num_steps: int
    """Native steps of the clips with a window."""
    num_without_instruction: int
    """Clips with windows but without an instruction, which this stage skips."""

    def __repr__(self) -> str:
        return f"Pool({self.modality} {self.opened.label}, {self.num_windows:,} windows)"

    @property
    def num_windows(self) -> int:
        """The number of windows."""
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def digest(self) -> str:
        """A digest that changes with any window of the pool or its number."""
        windows = hashlib.sha256(self.rows.tobytes() + self.ends.tobytes()).hexdigest()
        return f"{key_of(self.opened.index.digest, self.opened.label, self.modality, self.spec, windows):016x}"

    def locate(self, numbers: Int64) -> Places:
        """Find windows [n] by their numbers."""
        places = np.searchsorted(self.ends, numbers, side="right")
        rows = self.rows[places]
        first_rows, views = self.opened.first_rows, self.opened.views
        shards = np.searchsorted(first_rows, rows, side="right") - 1
        before = np.where(places > 0, self.ends[places - 1], 0)
        return Places(
            views=tuple([views[shard] for shard in shards.tolist()]), clips=rows - first_rows[shards],
            numbers=numbers - before, is_plain=self.is_plain[places],
        )  # fmt: skip

    @cached_property
    def shard_ends(self) -> Int64:
        """Cumulative number of windows of the shards [S]."""
        ends = np.append(self.opened.first_rows[1:], len(self.opened.chosen))
        found = np.searchsorted(self.rows, ends)
        return np.concatenate([[0], self.ends])[found]


def open_entries(manifest: Manifest, shards: str | AnyPath, progress: Progress = SILENT) -> tuple[OpenEntry, ...]:
    """Open the indexes of all sources of a manifest, which progress counts.

    Raises:
        ManifestError: a source has no shards or no statistics, or none of its clips is selected; a condition or a list
            of ids cannot be used.
        ShardError: an index is damaged.
        StorageError: an object store does not answer, or denies access.
    """
    folder = open_path(shards) if isinstance(shards, str) else shards
    with storage_errors(folder):
        if not folder.is_dir():
            raise ManifestError(
                f"manifest {manifest.path}: the folder of shards {folder} does not exist{near_name(folder)}"
            )
    if isinstance(folder, Path):
        return tuple(_counted((_open(manifest, entry, folder) for entry in manifest.entries), progress))
    # Each request to a store takes time.
    with ThreadPoolExecutor(_OPENERS, thread_name_prefix="vita-open") as openers:
        found = openers.map(lambda entry: _open(manifest, entry, folder), manifest.entries)
        return tuple(_counted(found, progress))


def _counted(opened: Iterator[OpenEntry], progress: Progress) -> Iterator[OpenEntry]:
    for one in opened:
        progress.update(note=one.label)
        yield one


@contextmanager
def shards_advice(manifest: Manifest, entry: MixtureEntry, folder: AnyPath) -> Iterator[None]:
    """Add to an error about a missing source the manifest entry that needs it and a suggestion, for a `with` block.

    Raises:
        ManifestError: the source is not built in the folder.
    """
    try:
        yield
    except ManifestError as error:
        place = f"manifest {manifest.path}: source {entry.source!r}"
        built = sources_in(folder)
        if not built and (hint := meant_shards(folder)):
            raise ManifestError(f"{place}: --shards {folder} contains no built source{hint}") from error
        # Names of sources can be as similar as robomind_franka and robomind_agilex.
        near = [] if entry.source in built else difflib.get_close_matches(entry.source, built, n=1, cutoff=_SAME_WORD)
        hint = f"did you mean {near[0]!r}?" if near else near_manifest(manifest)
        if hint and entry.source not in built:
            raise ManifestError(f"{place} is not built in {folder}; {hint}") from error
        raise ManifestError(f"{place}: {error}") from error


def _open(manifest: Manifest, entry: MixtureEntry, folder: AnyPath) -> OpenEntry:
    place = f"manifest {manifest.path}: source {entry.source!r}"
    with shards_advice(manifest, entry, folder):
        index, stats = open_source(folder / entry.source, entry.split), load_stats(folder / entry.source)
    if index.source != entry.source:
        raise ManifestError(
            f"{place}: {folder / entry.source} holds the source {index.source!r}; give the folder that name, and name "
            "it so in the manifest"
        )
    views = tuple(ShardView(shard, table) for shard, table in zip(index.shards, index.tables, strict=True))
    if not sum(len(view) for view in views):
        _refuse_nothing(place, read_card(folder / entry.source))
        raise ManifestError(
            f"{place} has no clip in split {entry.split}; choose another split or build more of the source"
        )
    return OpenEntry(
        entry=entry, index=index, stats=stats, views=views, first_rows=np.array(index.first_rows, np.int64),
        chosen=_chosen(place, manifest, entry, folder, index),
    )  # fmt: skip


def _refuse_nothing(place: str, card: Json) -> None:
    """Refuse a source without any stored episode in any split."""
    outcomes, drops = card["outcomes"], card["drops"]
    if not isinstance(outcomes, dict) or not isinstance(drops, dict) or outcomes.get("ok"):
        return
    most = max(drops, key=lambda code: drops[code], default="")
    why = f"{drops[most]} of {sum(outcomes.values())} dropped: {most}" if most else "all failed"
    raise ManifestError(f"{place} was built without storing any episode ({why}); build it again with other settings")


def _chosen(place: str, manifest: Manifest, entry: MixtureEntry, folder: AnyPath, index: SourceIndex) -> Bool:
    """Choose the clips: `where`, then `fraction` of those, then without those that `exclude` lists."""
    table = index.table
    chosen = _where(place, entry, table)
    if entry.condition:
        ids = satisfying(folder / entry.source, entry.condition, place=place)
        chosen &= _is_of(table, ids)
        if not chosen.any():
            raise ManifestError(f"{place}: where {entry.condition!r} selects no clip in split {entry.split}")
    if entry.fraction != 1:
        chosen &= _few_shot(table, chosen, entry.fraction)
    if entry.exclude:
        # Last, so that excluding an episode never brings in another one.
        known = {one.source for one in manifest.entries} | set(sources_in(folder))
        names = (entry.source, index.source)
        ids = excluded(folder / entry.source, entry.exclude, names=names, known=known, place=place)
        chosen &= ~_is_of(table, ids)
        if not chosen.any():
            raise ManifestError(f"{place}: exclude {entry.exclude} leaves no clip in split {entry.split}")
    return chosen


def _is_of(table: pa.Table, episodes: Sequence[str]) -> Bool:
    return np.asarray(pc.is_in(table.column("episode"), value_set=pa.array(episodes, pa.string())))


def _where(place: str, entry: MixtureEntry, table: pa.Table) -> Bool:
    chosen = np.ones(table.num_rows, bool)
    for key, value in entry.where.items():
        column = table.column(key)
        chosen &= np.asarray(pc.fill_null(pc.equal(column, value), False))  # noqa: FBT003 - Arrow's own signature
        if not chosen.any():
            found = ", ".join(sorted(str(name) for name in pc.unique(column).to_pylist())[:20])
            raise ManifestError(f"{place}: where {key} = {value!r} selects no clip; its shards have {key}: {found}")
    return chosen


def _few_shot(table: pa.Table, chosen: Bool, fraction: float) -> Bool:
    """Keep a fraction of the episodes of every task, at least one, in the order of their hashes.

    A smaller fraction is a subset of a larger one. The task is the index's `task` or, if that is empty, the
    instruction.
    """
    episodes = table.column("episode").to_pylist()
    tasks = pc.coalesce(table.column("task"), table.column("instruction")).to_pylist()
    by_task: dict[str, set[str]] = {}
    for row in np.flatnonzero(chosen):
        by_task.setdefault(tasks[row], set()).add(episodes[row])
    kept: set[tuple[str, str]] = set()
    for task, found in by_task.items():
        ordered = sorted(found, key=lambda episode: hashlib.sha256(episode.encode()).hexdigest())
        kept.update((task, episode) for episode in ordered[: max(1, int(fraction * len(ordered) + 0.5))])
    return np.array([pair in kept for pair in zip(tasks, episodes, strict=True)], bool)


def make_pool(opened: OpenEntry, *, stage: Stage, modality: Modality, spec: WindowSpec) -> Pool:
    """Count an entry's windows in a modality of a stage (vita_data/README.md, "Order")."""
    counts = [count_windows(view, spec, modality) for view in opened.views]
    windows = np.concatenate([one.counts for one in counts])
    windows = np.where(opened.chosen & _in_pool(opened, stage, modality), windows, 0)
    skipped = 0
    if stage is not Stage.WARMUP:
        silent = np.asarray(pc.equal(pc.fill_null(opened.column("instruction"), ""), ""))
        skipped = int(np.count_nonzero(windows[silent]))
        windows = np.where(silent, 0, windows)
    rows = np.flatnonzero(windows)
    steps = np.concatenate([view.num_steps for view in opened.views])
    return Pool(
        modality=modality, spec=spec, opened=opened, rows=rows, ends=np.cumsum(windows[rows]),
        is_plain=np.concatenate([one.is_plain for one in counts])[rows],
        num_steps=int(steps[rows].sum()), num_without_instruction=skipped,
    )  # fmt: skip


def _in_pool(opened: OpenEntry, stage: Stage, modality: Modality) -> Bool:
    if stage is Stage.WARMUP and modality is Modality.VIDEO:
        return np.ones(len(opened.chosen), bool)
    wanted = Modality.VIDEO if modality is Modality.VIDEO else Modality.PAIRED
    return np.asarray(pc.equal(opened.column("modality"), str(wanted)))
