"""A built source's card as one typed value, and the tables that show it; the numbers are the card's own."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vita_data.builder.drops import rule_of
from vita_data.pages.drawing.html import Cell, Markup, Table, facts, join, number, table
from vita_data.shards.index import read_card
from vita_data.storage.files import AnyPath
from vita_data.types import EpisodeOutcome, Modality, Split

SHORT_HASH = 12
TERMS = (
    "Release and licence are those of the dataset that the source reads; they do not apply to own recordings in the "
    "same format."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """How much of one split and modality was stored."""

    split: Split
    modality: Modality
    num_episodes: int
    num_clips: int
    num_steps: int
    num_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the pages show of `dataset.json`."""

    source: str
    title: str
    releases: tuple[str, ...]
    embodiments: tuple[str, ...]
    hz: float | None
    stride: int | None
    cameras: Mapping[str, str]
    arms: str
    action_origin: str | None
    action_space: str
    licence: str
    redistributable: bool
    url: str
    notes: tuple[str, ...]
    outcomes: Mapping[str, int]
    drops: Mapping[str, int]
    """By reason, the most frequent first."""
    holdings: tuple[Holdings, ...]
    num_shard_bytes: int
    stored_images: str
    limit: int | None
    config_hash: str
    settings: Mapping[str, object]

    def num_outcome(self, outcome: EpisodeOutcome) -> int:
        """Count the raw episodes with an outcome."""
        return self.outcomes.get(outcome, 0)


def load_card(folder: AnyPath) -> Card:
    """Read a built source's card.

    Raises:
        ManifestError: the source has not been built in the folder.
        ShardError: the card is damaged.
    """
    return _card(read_card(folder))


def _card(value: Mapping[str, Any]) -> Card:
    # Fields with the same name and format as in the card are copied.
    same = ("source", "title", "hz", "stride", "arms", "cameras", "action_origin", "action_space", "licence",
            "redistributable", "url", "outcomes", "limit", "config_hash", "settings")  # fmt: skip
    return Card(
        **{name: value[name] for name in same}, drops=dict(Counter(value["drops"]).most_common()),
        releases=tuple(value["release"]), embodiments=tuple(value["embodiment"]), notes=tuple(value["notes"]),
        stored_images=value["frames"], holdings=tuple(_holdings(value["counts"])),
        num_shard_bytes=sum(shard["num_bytes"] for split in Split for shard in value["shards"][split]),
    )  # fmt: skip


def _holdings(counts: Mapping[Split, Mapping[str, Mapping[str, int]]]) -> Iterator[Holdings]:
    for split in Split:
        for modality, found in counts[split].items():
            yield Holdings(
                split=split, modality=Modality(modality), num_episodes=found["episodes"], num_clips=found["clips"],
                num_steps=found["steps"], num_frames=found["frames"],
            )  # fmt: skip


def card_facts(card: Card) -> Markup:
    """Show one source as a table of facts."""
    return facts((
        ("dataset", f"{card.title}\n{card.url}"),
        ("release", ", ".join(card.releases)),
        ("embodiment", f"{', '.join(card.embodiments)} (arms: {card.arms})"),
        ("rate", _rate(card)),
        ("cameras", _cameras(card)),
        ("actions", f"{card.action_origin}: {card.action_space}" if card.action_origin else "none"),
        ("raw episodes", _outcomes(card)),
        ("drops by reason", _drops(card)),
        ("stored", _stored(card)),
        ("images stored", _images(card)),
        ("size of the shards", _size(card)),
        ("licence", _licence(card)),
        ("notes", "\n".join(card.notes)),
        ("hash of the settings", card.config_hash),
    ))  # fmt: skip


def built_tables(cards: tuple[Card, ...]) -> Markup:
    """Show what was built, one row per source: how much, then of what; one table of both would be too wide."""
    counts: list[tuple[Cell, ...]] = [
        (card.source, *(card.num_outcome(outcome) for outcome in EpisodeOutcome), _drops(card), _stored(card),
         _size(card))
        for card in cards
    ]  # fmt: skip
    origins: list[tuple[Cell, ...]] = [
        (card.source, ", ".join(card.releases), _rate(card), _cameras(card), card.action_origin or "none",
         _licence(card), card.config_hash[:SHORT_HASH])
        for card in cards
    ]  # fmt: skip
    return join([
        table(Table(header=("source", "ok", "dropped", "failed", "drops by reason", "stored", "size"),
                    rows=tuple(counts))),
        table(Table(header=("source", "release", "rate", "cameras", "actions", "licence", "settings hash"),
                    rows=tuple(origins))),
    ])  # fmt: skip


def licence_warnings(cards: tuple[Card, ...]) -> list[str]:
    """Warn about sources whose licence forbids redistributing their images."""
    closed = [card.source for card in cards if not card.redistributable]
    if not closed:
        return []
    return [f"This page shows images of {', '.join(closed)}, whose licence forbids redistribution: share neither the "
            "shards nor this page."]  # fmt: skip


def reason_meaning(code: str) -> str:
    """Return the meaning of a reason code."""
    return rule_of(code).meaning


def _outcomes(card: Card) -> str:
    return ", ".join(f"{number(card.num_outcome(outcome))} {outcome}" for outcome in EpisodeOutcome)


def _drops(card: Card) -> str:
    return (
        "\n".join(f"{code} ({reason_meaning(code)}): {number(count)}" for code, count in card.drops.items()) or "none"
    )


def _stored(card: Card) -> str:
    lines = [
        f"{held.split} {held.modality}: {number(held.num_clips)} clips, {number(held.num_steps)} steps, "
        f"{number(held.num_frames)} images"
        for held in card.holdings
    ]
    return "\n".join(lines) or "nothing"


def _rate(card: Card) -> str:
    return "per file" if card.hz is None else f"{card.hz:g} Hz, stride {card.stride}"


def _cameras(card: Card) -> str:
    return "\n".join(f"{role}: {key}" for role, key in sorted(card.cameras.items()))


def _images(card: Card) -> str:
    shown = {"keyframes": "one per second", "all": "every step"}.get(card.stored_images, card.stored_images)
    return shown if card.limit is None else f"{shown}; the build was limited to {number(card.limit)} raw episodes"


def _size(card: Card) -> str:
    size, units = float(card.num_shard_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.4g} {units[0]}"


def _licence(card: Card) -> str:
    return card.licence if card.redistributable else f"{card.licence}\nmust not be redistributed"
