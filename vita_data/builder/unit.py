"""One unit of work: read its parts, normalize, write its shards and, last, its record.

Nothing is lost silently: every raw episode gets one row: ok, dropped or failed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2

from vita_data.builder.leftovers import clear_leftovers
from vita_data.builder.names import stored_name
from vita_data.builder.plan import BuildRequest, PlannedPart, Unit, codec_versions
from vita_data.builder.pulse import Obstacle, Pulse
from vita_data.builder.reading import part_outcomes
from vita_data.builder.records import EpisodeRow, UnitRecord, write_record
from vita_data.builder.stored_plan import require_plan
from vita_data.builder.under_way import reported
from vita_data.command.exits import clipped
from vita_data.errors import BRING_BACK, RequestError, StorageError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.guard import data_fault
from vita_data.normalize import EpisodeDroppedError, iter_clips
from vita_data.shards.writer import ShardSummary, ShardWriter
from vita_data.sources import own_digest
from vita_data.storage.files import remove, storage_errors
from vita_data.types import Clip, Drop, Episode, EpisodeOutcome, Failure, Json, Outcome, RawTree, Source, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What was done since the last report: raw episodes read, frames stored, raw bytes read."""

    num_episodes: int = 0
    num_frames: int = 0
    num_bytes: int = 0


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Ignore the progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTask:
    """A unit with everything that a worker on any machine needs to build it."""

    request: BuildRequest
    unit: Unit
    plan: str
    """Digest of the plan that the unit belongs to."""
    versions: Json
    """The library versions of the build: a worker with other versions would write other bytes."""
    landmarks: tuple[str, ...]
    """Entries of the raw tree when the build started; if one is missing, the whole tree is, and no file is to blame."""
    code: str = ""
    """Digest of the code of a source that does not come with VITA."""
    obstacles: tuple[Obstacle, ...] = ()
    """Places that ended earlier tries of this run."""
    taken: frozenset[str] = frozenset()
    """Ids of this unit's episodes that earlier units have already."""


def run_unit(task: UnitTask, on_progress: OnProgress = ignore_progress, pulse: Pulse | None = None) -> UnitRecord:
    """Build one unit and commit it: first its shards, then its record.

    Args:
        task: the unit.
        on_progress: is called after each raw episode.
        pulse: is told where the reading is; by default, nobody listens.

    Raises:
        StorageError: a disk or bucket is full, unreachable or missing; nothing of the unit is committed.
        RequestError: this process has other library versions than the build, or another build has replaced the output.
    """
    if codec_versions() != task.versions:
        raise RequestError(
            f"unit {task.unit.number}: this worker's library versions differ from the build's: {codec_versions()}; "
            "install the same versions on every node"
        )
    if own_digest(task.request.source, task.request.source_file) != task.code:
        raise RequestError(
            f"unit {task.unit.number}: this worker has another content of the source {task.request.source!r} than the "
            "build; install the same on every node"
        )
    cv2.setNumThreads(1)
    pulse = pulse or Pulse()
    with storage_errors(task.request.folder), _open_raw(task.request.raw, pulse) as raw:
        require_plan(task.request.folder, task.plan, limit=task.request.limit)
        if task.obstacles:
            clear_leftovers(task.request.folder, [task.unit.number])
        with reported(task.request.folder, task.unit, on_progress) as report:
            rows, shards = _write_shards(task, raw, report, pulse)
        require_plan(task.request.folder, task.plan, limit=task.request.limit)
        require_landmarks(raw, task.landmarks)
        require_raw_files(raw, task.unit, rows)
        _remove_other_shards(task, shards)
        unit = task.unit
        record = UnitRecord(number=unit.number, plan=task.plan, episodes=rows, shards=shards, limit=unit.limit)
        write_record(task.request.folder, record)
    return record


def _open_raw(root: str, pulse: Pulse) -> FsspecTree:
    try:
        return FsspecTree(root, on_open=pulse.opened, on_answer=pulse.beat)
    except RequestError as error:
        # It existed when the build started.
        raise StorageError(f"{error}; {BRING_BACK}") from error


def require_landmarks(raw: RawTree, landmarks: Sequence[str]) -> None:
    """Refuse to call files unreadable, or a part empty, if the tree itself has disappeared.

    Raises:
        StorageError: an entry that existed when the build started is missing.
    """
    found = set(raw.glob("*"))
    gone = [name for name in landmarks if name not in found]
    if gone:
        raise StorageError(
            f"--raw {raw.root}: {gone[0]} existed when the build started but is now missing; {BRING_BACK}"
        )


def require_raw_files(raw: RawTree, unit: Unit, rows: Sequence[EpisodeRow]) -> None:
    """End the run if the file of a failed part has disappeared: then the disk is to blame, not the file.

    Raises:
        StorageError: a file that was not empty when the build started is missing.
    """
    failed = {row.part for row in rows if row.outcome is EpisodeOutcome.FAILED}
    # CALVIN's parts are ranges of a folder: `folder#first-last`.
    listed = [one.part.id for one in unit.parts if stored_name(one.part.id) in failed and one.part.num_bytes]
    gone = [part for part in listed if not _is_there(raw, part.partition("#")[0])]
    if gone:
        raise StorageError(
            f"--raw {raw.root}: {gone[0]} existed when the build started but is now missing; {BRING_BACK}"
        )


def _is_there(raw: RawTree, path: str) -> bool:
    return raw.exists(path) and not raw.is_dangling(path)


def _remove_other_shards(task: UnitTask, shards: "_Shards") -> None:
    """Remove what an earlier try of this unit wrote to a split that now gets no clips."""
    written = {split for split, _ in shards}
    for split in set(Split) - written:
        tar = task.request.folder / split / _shard_name(task, split)
        for path in (tar, tar.with_suffix(".arrow")):
            remove(path)


def _shard_name(task: UnitTask, split: Split) -> str:
    return f"{task.request.source}-{split}-{task.unit.number:06d}.tar"


_Shards = tuple[tuple[Split, ShardSummary], ...]


def _write_shards(
    task: UnitTask, raw: FsspecTree, on_progress: OnProgress, pulse: Pulse
) -> tuple[tuple[EpisodeRow, ...], _Shards]:
    request, source = task.request, task.request.load()
    names = {split: _shard_name(task, split) for split in Split}
    rows, seen = list[EpisodeRow](), set(task.taken)
    with (
        ShardWriter(request.folder / Split.TRAIN / names[Split.TRAIN]) as train,
        ShardWriter(request.folder / Split.VAL / names[Split.VAL]) as val,
    ):
        writers = {Split.TRAIN: train, Split.VAL: val}
        for planned in task.unit.parts:
            left = planned.part.num_bytes
            for read in part_outcomes(source, raw, planned, request, obstacles=task.obstacles, pulse=pulse):
                outcome = _once(read, stored_name(planned.part.id), rows, seen)
                rows.append(_write_outcome(outcome, planned, request, source, writers, names))
                share = min(left, planned.part.num_bytes // max(planned.part.num_episodes or 1, 1))
                left -= share
                on_progress(Progress(num_episodes=1, num_frames=rows[-1].num_frames, num_bytes=share))
            pulse.at(None)
            on_progress(Progress(num_bytes=left))
            raw.let_go()
    shards = tuple((split, writer.summary) for split, writer in writers.items() if writer.summary is not None)
    return tuple(rows), shards


def _once(outcome: Outcome, part: str, rows: Sequence[EpisodeRow], seen: set[str]) -> Outcome:
    """Return the outcome, or a failure if its id occurred before: one episode would hide the other."""
    id_ = outcome.id if isinstance(outcome, Episode) else outcome.episode
    if id_ not in seen:
        seen.add(id_)
        return outcome
    detail = f"{part}: the episode id {id_!r} occurs more than once; only its first episode is stored"
    return Failure(episode=f"{part}#again-{len(rows)}", detail=detail)


def _write_outcome(
    outcome: Outcome,
    planned: PlannedPart,
    request: BuildRequest,
    source: Source,
    writers: Mapping[Split, ShardWriter],
    names: Mapping[Split, str],
) -> EpisodeRow:
    """Write an episode's clips one by one; if it is dropped or fails midway, the clips already written are removed."""
    part, ended, release = stored_name(planned.part.id), outcome, ""
    if isinstance(outcome, Episode):
        release = outcome.release
        marks = {split: writer.mark() for split, writer in writers.items()}
        written: list[_Written] = []
        try:
            for clip in iter_clips(outcome, source.INFO, request.settings, request.frames):
                writers[clip.split].add(clip)
                written.append(_Written.of(clip))
                del clip  # free its images before the next clip's are read
            return _ok_row(written, part, names)
        except EpisodeDroppedError as error:
            ended = error.drop
        except Exception as error:  # noqa: BLE001 - as for parts, for one episode
            ended = Failure(episode=outcome.id, detail=stored_name(data_fault(error, outcome.id)))
        for split, writer in writers.items():
            writer.take_back(marks[split])
    return _lost_row(ended, part, release)


def _lost_row(outcome: Outcome, part: str, release: str) -> EpisodeRow:
    if isinstance(outcome, Drop):
        return EpisodeRow(
            id=outcome.episode, part=part, outcome=EpisodeOutcome.DROPPED, reason=outcome.reason,
            detail=clipped(outcome.detail), release=release,
        )  # fmt: skip
    if isinstance(outcome, Failure):
        return EpisodeRow(
            id=outcome.episode, part=part, outcome=EpisodeOutcome.FAILED, detail=clipped(outcome.detail),
            release=release,
        )  # fmt: skip
    raise TypeError(f"episode {outcome.id} was neither written, dropped nor failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What a row needs to know of a clip, without its images."""

    key: str
    episode: str
    split: Split
    modality: str
    embodiment: str
    release: str
    num_steps: int
    num_frames: int

    @staticmethod
    def of(clip: Clip) -> "_Written":
        return _Written(
            key=clip.key,
            episode=clip.episode,
            split=clip.split,
            modality=clip.modality,
            embodiment=clip.embodiment,
            release=clip.release,
            num_steps=clip.num_steps,
            num_frames=sum(len(frames) for frames in clip.frames.values()),
        )


def _ok_row(written: Sequence[_Written], part: str, names: Mapping[Split, str]) -> EpisodeRow:
    first = written[0]
    return EpisodeRow(
        id=first.episode,
        part=part,
        outcome=EpisodeOutcome.OK,
        clip=first.key,
        shard=names[first.split],
        split=first.split,
        modality=first.modality,
        embodiment=first.embodiment,
        release=first.release,
        num_clips=len(written),
        num_steps=sum(clip.num_steps for clip in written),
        num_frames=sum(clip.num_frames for clip in written),
    )
