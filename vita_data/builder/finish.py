"""Finishes a build: writes episodes.parquet, stats.json and, last, the card that makes the source usable."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vita_data import SCHEMA_VERSION
from vita_data.builder.plan import config_hash
from vita_data.builder.records import EpisodeRow, UnitRecord, record_path
from vita_data.builder.under_way import remove_reports
from vita_data.errors import SourceError
from vita_data.normalize.keyframes import native_stride
from vita_data.shards.card_fields import SUMS
from vita_data.shards.episodes import EPISODES, EPISODES_SCHEMA
from vita_data.shards.index import CARD, RECORDS, card_bytes, card_shards, index_of
from vita_data.shards.stats import STATS, compute_stats, stats_bytes
from vita_data.shards.sums import with_sum
from vita_data.storage.files import AnyPath, list_files, remove, remove_abandoned, write_atomically
from vita_data.types import EpisodeOutcome, Json, SourceInfo, Split

_NUMBERED = re.compile(r"(.+-\d{6})\.(?:tar|arrow|json)")


def finish(folder: AnyPath, info: SourceInfo, fingerprint: Json, records: Sequence[UnitRecord]) -> Json:
    """Write the files that describe the whole source and return its card.

    Raises:
        SourceError: two raw episodes have the same id, so that one would hide the other.
    """
    rows = [row for record in records for row in record.episodes]
    twice = [id_ for id_, count in Counter(row.id for row in rows).items() if count > 1]
    if twice:
        raise SourceError(f"{info.name}: {len(twice)} episode ids occur more than once; the first is {twice[0]!r}")
    if isinstance(folder, Path):
        for stray in folder.rglob(".*.tmp"):
            remove_abandoned(stray)
    remove_reports(folder)
    remove(folder / CARD)
    _remove_others(folder, records)
    files = {EPISODES: _episodes_bytes(_with_release(rows))}
    card = make_card(info, fingerprint, records)
    index = index_of(folder, Split.TRAIN, card_shards(card, Split.TRAIN), source=info.name)
    files[STATS] = stats_bytes(compute_stats(index))
    for name, data in files.items():
        write_atomically(folder / name, data)
    # The card marks a folder as a built source and holds the checksums of its files, so it is written last.
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    sealed = with_sum({**card, SUMS: sums})
    write_atomically(folder / CARD, card_bytes(sealed))
    return sealed


def _remove_others(folder: AnyPath, records: Sequence[UnitRecord]) -> None:
    """Remove shards and records that do not belong to this build: they are from a build whose plan was removed."""
    kept = {shard.name.removesuffix(".tar") for record in records for _, shard in record.shards}
    kept |= {record_path(folder, record.number).stem for record in records}
    for place in (*(folder / split for split in Split), folder / RECORDS):
        for name in list_files(place):
            found = _NUMBERED.fullmatch(name)
            if found and found[1] not in kept:
                remove(place / name)


def make_card(info: SourceInfo, fingerprint: Json, records: Sequence[UnitRecord]) -> Json:
    """Describe a built source: facts, counts, drops by reason, shards with their sums."""
    rows = [row for record in records for row in record.episodes]
    settings = fingerprint["settings"]
    hz = (settings.get("hz") if isinstance(settings, dict) else None) or info.hz
    return {
        "schema_version": SCHEMA_VERSION,
        "source": info.name,
        "title": info.title,
        "release": sorted({row.release for row in rows if row.release}),
        "embodiment": sorted({row.embodiment for row in rows if row.embodiment}),
        "arms": info.arms,
        "hz": hz,
        "stride": None if hz is None else native_stride(hz),
        "cameras": dict(info.cameras),
        "action_origin": info.action_origin,
        "action_space": info.action_space,
        "licence": info.licence,
        "redistributable": info.redistributable,
        "url": info.url,
        "notes": list(info.notes),
        "outcomes": dict(sorted(Counter(row.outcome for row in rows).items())),
        "drops": dict(sorted(Counter(row.reason for row in rows if row.reason).items())),
        "counts": {split: _counts([row for row in rows if row.split == split]) for split in Split},
        "shards": {
            split: [asdict(shard) for record in records for at, shard in record.shards if at is split]
            for split in Split
        },
        "frames": fingerprint["frames"],
        "limit": fingerprint["limit"],
        "settings": settings,
        "versions": fingerprint["versions"],
        "config_hash": config_hash(fingerprint),
    }


def _counts(rows: Sequence[EpisodeRow]) -> Json:
    return {
        modality: {
            "episodes": len(chosen),
            "clips": sum(row.num_clips for row in chosen),
            "steps": sum(row.num_steps for row in chosen),
            "frames": sum(row.num_frames for row in chosen),
        }
        for modality in sorted({row.modality for row in rows})
        for chosen in [[row for row in rows if row.modality == modality]]
    }


def _with_release(rows: Sequence[EpisodeRow]) -> Sequence[EpisodeRow]:
    """Give what a reader refused, which has no release of its own, the source's if there is only one."""
    known = {row.release for row in rows} - {""}
    if len(known) != 1:
        return rows
    (release,) = known
    return [row if row.release else replace(row, release=release) for row in rows]


def _episodes_bytes(rows: Sequence[EpisodeRow]) -> bytes:
    columns = [pa.array([getattr(row, field.name) for row in rows], field.type) for field in EPISODES_SCHEMA]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(columns, schema=EPISODES_SCHEMA), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def failed_rows(records: Sequence[UnitRecord]) -> list[EpisodeRow]:
    """The raw episodes that could not be read."""
    return [row for record in records for row in record.episodes if row.outcome is EpisodeOutcome.FAILED]
