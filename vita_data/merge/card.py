"""The card and the list of episodes of a merged source."""

import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vita_data import SCHEMA_VERSION
from vita_data.merge.inputs import Input
from vita_data.shards.card_fields import AND, MERGED
from vita_data.shards.index import card_sums
from vita_data.shards.schema import json_bytes
from vita_data.types import Json, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedShard:
    """A shard of an input, and its name in the merged source."""

    input: Input
    split: Split
    entry: Json
    """As in the input's card."""
    name: str

    @property
    def listed(self) -> Json:
        """The shard as the merged card lists it."""
        return {**self.entry, "name": self.name}


def merged_shards(inputs: Sequence[Input], name: str) -> tuple[MergedShard, ...]:
    """Number the shards of all inputs in the given order; the shards of a unit keep one number."""
    found, first = [], 0
    for one in inputs:
        numbers = [_number(str(entry["name"])) for _, entry in one.shards]
        found += [
            MergedShard(input=one, split=split, entry=entry, name=f"{name}-{split}-{first + number:06d}.tar")
            for (split, entry), number in zip(one.shards, numbers, strict=True)
        ]
        first += max(numbers, default=-1) + 1
    return tuple(found)


def _number(shard: str) -> int:
    return int(shard.removesuffix(".tar").rpartition("-")[2])


def merge_plan(inputs: Sequence[Input]) -> Json:
    """Describe what is merged: each input by its name, its settings and the checksums of its files."""
    return {
        MERGED: [
            {
                "source": one.name,
                "config_hash": one.card["config_hash"],
                "sums": card_sums(one.card),
                "shards": [str(entry["sha256"]) for _, entry in one.shards],
            }
            for one in inputs
        ]
    }


def merged_card(inputs: Sequence[Input], shards: Sequence[MergedShard], name: str) -> Json:
    """Describe the merged source: facts that the inputs share, or all of them, and added counts."""
    cards: list[Mapping[str, Any]] = [one.card for one in inputs]
    hz = {card["hz"] for card in cards}
    plan = merge_plan(inputs)
    return {
        "schema_version": SCHEMA_VERSION,
        "source": name,
        **{field: _joined(cards, field) for field in ("title", "arms", "action_space", "licence", "url")},
        **{field: sorted({value for card in cards for value in card[field]}) for field in ("release", "embodiment")},
        "action_origin": _joined(cards, "action_origin") or None,
        "hz": cards[0]["hz"] if len(hz) == 1 else None,
        "stride": cards[0]["stride"] if len(hz) == 1 else None,
        "cameras": _cameras(cards),
        "redistributable": all(card["redistributable"] for card in cards),
        "notes": list(dict.fromkeys(note for card in cards for note in card["notes"])),
        "outcomes": _added([card["outcomes"] for card in cards]),
        "drops": _added([card["drops"] for card in cards]),
        "counts": {split: _counts([card["counts"][split] for card in cards]) for split in Split},
        "shards": {split: [one.listed for one in shards if one.split is split] for split in Split},
        "frames": cards[0]["frames"],
        "limit": _limit(cards),
        "settings": _same(cards, "settings"),
        "versions": _same(cards, "versions"),
        "config_hash": hashlib.sha256(json_bytes(plan)).hexdigest(),
        **plan,
    }


def _joined(cards: Sequence[Mapping[str, Any]], field: str) -> str:
    return AND.join(dict.fromkeys(str(card[field]) for card in cards if card[field] is not None))


def _cameras(cards: Sequence[Mapping[str, Any]]) -> Json:
    roles = sorted({role for card in cards for role in card["cameras"]})
    return {role: _joined([card["cameras"] for card in cards if role in card["cameras"]], role) for role in roles}


def _added(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def _counts(counts: Sequence[Mapping[str, Mapping[str, int]]]) -> Json:
    modalities = sorted({modality for one in counts for modality in one})
    return {modality: _added([one[modality] for one in counts if modality in one]) for modality in modalities}


def _limit(cards: Sequence[Mapping[str, Any]]) -> int | None:
    """Count the raw episodes if a build was limited, as `--limit` would have."""
    if all(card["limit"] is None for card in cards):
        return None
    return sum(sum(card["outcomes"].values()) for card in cards)


def _same(cards: Sequence[Mapping[str, Any]], field: str) -> Json:
    """Keep the entries of a table that all cards have with the same value."""
    first, *others = (card[field] for card in cards)
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}


def merged_episodes(inputs: Sequence[Input], shards: Sequence[MergedShard]) -> bytes:
    """Write the lists of episodes as one, with the shards' new names."""
    tables = []
    for one in inputs:
        new = {str(shard.entry["name"]): shard.name for shard in shards if shard.input is one}
        column = one.episodes.schema.get_field_index("shard")
        named = pa.array([new.get(shard, shard) for shard in one.episodes["shard"].to_pylist()], pa.string())
        tables.append(one.episodes.set_column(column, "shard", named))
    sink = io.BytesIO()
    pq.write_table(pa.concat_tables(tables), sink)
    return sink.getvalue()
