"""One unit of work: read its parts, normalize, write its shards, and last of all its record.

Nothing is lost silently: every raw episode leaves one row, ok, dropped or failed.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path

import cv2

from vita_data.build.plan import BuildRequest, PlannedPart, Unit
from vita_data.errors import VitaDataError
from vita_data.formats.tree import FsspecTree
from vita_data.normalize import normalize
from vita_data.shards.schema import json_bytes
from vita_data.shards.writer import ShardSummary, ShardWriter, write_atomically
from vita_data.sources import load
from vita_data.types import Clip, Drop, Episode, Failure, Outcome, Source, Split

RECORDS = ".build"


class EpisodeOutcome(StrEnum):
    """What became of a raw episode."""

    OK = "ok"
    DROPPED = "dropped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRow:
    """One row of episodes.parquet."""

    id: str
    part: str
    outcome: EpisodeOutcome
    reason: str = ""
    detail: str = ""
    clip: str = ""
    shard: str = ""
    split: str = ""
    modality: str = ""
    embodiment: str = ""
    release: str = ""
    num_clips: int = 0
    num_steps: int = 0
    num_frames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRecord:
    """What a committed unit leaves behind; its existence means that its shards are whole."""

    number: int
    episodes: tuple[EpisodeRow, ...]
    shards: tuple[tuple[Split, ShardSummary], ...]

    def count(self, outcome: EpisodeOutcome) -> int:
        """How many raw episodes ended so."""
        return sum(row.outcome is outcome for row in self.episodes)


def record_path(folder: Path, number: int) -> Path:
    """Where a unit's record lies."""
    return folder / RECORDS / f"unit-{number:06d}.json"


def read_record(folder: Path, number: int) -> UnitRecord | None:
    """Read a unit's record, None if the unit has to be built: no whole record, or a shard of it is gone."""
    try:
        value = json.loads(record_path(folder, number).read_text())
        rows = tuple(EpisodeRow(**{**row, "outcome": EpisodeOutcome(row["outcome"])}) for row in value["episodes"])
        shards = tuple((Split(split), ShardSummary(**summary)) for split, summary in value["shards"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    tars = [(folder / split / shard.name, shard.num_bytes) for split, shard in shards]
    if any(not tar.with_suffix(".arrow").exists() or not _has_size(tar, num_bytes) for tar, num_bytes in tars):
        return None
    return UnitRecord(number=number, episodes=rows, shards=shards)


def _has_size(path: Path, num_bytes: int) -> bool:
    return path.exists() and path.stat().st_size == num_bytes


def run_unit(request: BuildRequest, unit: Unit) -> UnitRecord:
    """Build one unit and commit it."""
    cv2.setNumThreads(1)
    raw, source = FsspecTree(request.raw), load(request.source)
    rows: list[EpisodeRow] = []
    names = {split: f"{request.source}-{split}-{unit.number:06d}.tar" for split in Split}
    with (
        ShardWriter(request.folder / Split.TRAIN / names[Split.TRAIN]) as train,
        ShardWriter(request.folder / Split.VAL / names[Split.VAL]) as val,
    ):
        writers = {Split.TRAIN: train, Split.VAL: val}
        for planned in unit.parts:
            for outcome in part_outcomes(source, raw, planned, request):
                rows.append(_row(outcome, planned, names))
                for clip in outcome if isinstance(outcome, tuple) else ():
                    writers[clip.split].add(clip)
    shards = tuple((split, writer.summary) for split, writer in writers.items() if writer.summary is not None)
    record = UnitRecord(number=unit.number, episodes=tuple(rows), shards=shards)
    write_atomically(record_path(request.folder, unit.number), json_bytes(asdict(record)))
    return record


def part_outcomes(
    source: Source, raw: FsspecTree, planned: PlannedPart, request: BuildRequest
) -> Iterator[tuple[Clip, ...] | Drop | Failure]:
    """Yield what becomes of each raw episode of a part, the ones that a broken file hides included."""
    part, wanted, num_seen, fault = planned.part, planned.limit, 0, ""
    try:
        for outcome in islice(source.episodes(raw, part, request.settings), wanted):
            num_seen += 1
            yield _normalized(outcome, source, request)
    except (ImportError, NameError, MemoryError):
        raise
    except VitaDataError as error:
        fault = str(error)
    except Exception as error:  # noqa: BLE001 - one unreadable file must not cost the rest of a long build
        fault = f"{part.id}: unexpected {error!r}"
    num_announced = part.num_episodes or 0
    num_wanted = num_announced if wanted is None else min(wanted, num_announced)
    for number in range(num_seen, num_wanted):
        detail = fault or f"{part.id} announced {num_announced} episodes and holds {num_seen}"
        yield Failure(episode=f"{part.id}#{number}", detail=detail)
    if fault and num_seen >= num_wanted:
        yield Failure(episode=part.id, detail=fault)


def _normalized(outcome: Outcome, source: Source, request: BuildRequest) -> tuple[Clip, ...] | Drop | Failure:
    if not isinstance(outcome, Episode):
        return outcome
    try:
        return normalize(outcome, source.INFO, request.settings, request.frames)
    except (ImportError, NameError, MemoryError):
        raise
    except VitaDataError as error:
        return Failure(episode=outcome.id, detail=str(error))
    except Exception as error:  # noqa: BLE001 - as above, for one episode
        return Failure(episode=outcome.id, detail=f"unexpected {error!r}")


def _row(outcome: tuple[Clip, ...] | Drop | Failure, planned: PlannedPart, names: dict[Split, str]) -> EpisodeRow:
    part = planned.part.id
    if isinstance(outcome, Drop):
        return EpisodeRow(
            id=outcome.episode, part=part, outcome=EpisodeOutcome.DROPPED, reason=outcome.reason, detail=outcome.detail
        )
    if isinstance(outcome, Failure):
        return EpisodeRow(id=outcome.episode, part=part, outcome=EpisodeOutcome.FAILED, detail=outcome.detail)
    first = outcome[0]
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
        num_clips=len(outcome),
        num_steps=sum(clip.num_steps for clip in outcome),
        num_frames=sum(len(frames) for clip in outcome for frames in clip.frames.values()),
    )
