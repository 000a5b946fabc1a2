"""Raw episodes that are not in the shards, and why: counts by reason with examples, and unreadable episodes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vita_data.builder.drops import changed_by
from vita_data.pages.drawing.html import Cell, Markup, Section, Table, element, join, paragraph, table, text
from vita_data.pages.shards.card import Card, reason_meaning
from vita_data.shards.episodes import read_episodes
from vita_data.storage.files import AnyPath
from vita_data.types import EpisodeOutcome

_COLUMNS = ("id", "part", "outcome", "reason", "detail")
_MAX_EXAMPLES = 3
_MAX_FAILED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A raw episode that was dropped or failed, and what was found in it."""

    episode: str
    part: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Examples of the raw episodes that were not stored."""

    dropped: Mapping[str, tuple[Example, ...]]
    """The first few examples of each reason code."""
    failed: tuple[Example, ...]


def read_losses(folder: AnyPath) -> Losses:
    """Read examples from a built source's list of raw episodes.

    Raises:
        ManifestError: the source has not been built in the folder.
        ShardError: the list is missing or does not match the card's checksum.
    """
    rows = read_lost(folder)
    dropped = rows.filter(pc.equal(rows["outcome"], EpisodeOutcome.DROPPED))
    codes = sorted(pc.unique(dropped["reason"]).to_pylist())
    return Losses(
        dropped={code: _examples(dropped.filter(pc.equal(dropped["reason"], code)), _MAX_EXAMPLES) for code in codes},
        failed=_examples(rows.filter(pc.equal(rows["outcome"], EpisodeOutcome.FAILED)), _MAX_FAILED),
    )


def read_lost(folder: AnyPath) -> pa.Table:
    """Read the rows (id, part, outcome, reason, detail) of the raw episodes that were not stored.

    Raises:
        ManifestError: the source has not been built in the folder.
        ShardError: the list is missing or does not match the card's checksum.
    """
    rows = read_episodes(folder).select(_COLUMNS)
    return rows.filter(pc.not_equal(rows["outcome"], EpisodeOutcome.OK))


def _examples(rows: pa.Table, num_wanted: int) -> tuple[Example, ...]:
    return tuple(
        Example(episode=row["id"], part=row["part"], detail=row["detail"] or "")
        for row in rows.slice(0, num_wanted).to_pylist()
    )


def losses_section(card: Card, losses: Losses) -> Section:
    """Show why raw episodes of a source were not stored."""
    num_raw = sum(card.num_outcome(outcome) for outcome in EpisodeOutcome)
    num_lost = num_raw - card.num_outcome(EpisodeOutcome.OK)
    return Section(
        title="What was not stored",
        explanation="Every raw episode is stored, dropped for a reason, or failed to read. The first few of each "
        "reason are shown here; episodes.parquet lists all of them.",
        body=join([
            paragraph(f"{num_lost:,} of {num_raw:,} raw episodes were not stored."),
            *_dropped(card, losses, num_raw), *_failed(card, losses),
        ]),
    )  # fmt: skip


def drops_table(cards: Sequence[Card]) -> Markup:
    """Show the drops: one row per reason, the most frequent first, with its number in each source."""
    lossy = [card for card in cards if card.drops or card.num_outcome(EpisodeOutcome.FAILED)]
    if not lossy:
        return paragraph("No raw episode was dropped, and none failed.")
    totals = sum((Counter(card.drops) for card in lossy), Counter[str]())
    rows = [
        (code, reason_meaning(code), *_by_source({card.source: card.drops.get(code, 0) for card in lossy}))
        for code, _ in totals.most_common()
    ]
    failed = {card.source: card.num_outcome(EpisodeOutcome.FAILED) for card in lossy}
    rows.append(("failed", "could not be read", *_by_source(failed)))
    return table(Table(header=("reason", "meaning", "all", "by source"), rows=tuple(rows)))


def _by_source(counts: Mapping[str, int]) -> tuple[Cell, Cell]:
    shown = [f"{source} {count:,}" for source, count in counts.items() if count]
    return sum(counts.values()), ", ".join(shown) or None


def _dropped(card: Card, losses: Losses, num_raw: int) -> list[Markup]:
    heading = element("h3", text("Dropped, by reason"))
    if not card.drops:
        return [heading, paragraph("None was dropped.")]
    counts: list[tuple[Cell, ...]] = [
        (code, reason_meaning(code), changed_by(code, card.settings) or "no setting", count, f"{count / num_raw:.2%}")
        for code, count in card.drops.items()
    ]
    examples: list[tuple[Cell, ...]] = [
        (code, one.episode, one.detail) for code, few in losses.dropped.items() for one in few
    ]
    return [
        heading,
        table(
            Table(
                header=("reason", "meaning", "kept by a build with", "raw episodes", "share of all"), rows=tuple(counts)
            )
        ),
        element("h3", text("Examples of dropped episodes")),
        table(Table(header=("reason", "raw episode", "what was found"), rows=tuple(examples))),
    ]


def _failed(card: Card, losses: Losses) -> list[Markup]:
    num_failed = card.num_outcome(EpisodeOutcome.FAILED)
    if not num_failed:
        return [element("h3", text("Failed to read")), paragraph("None failed.")]
    rows: list[tuple[Cell, ...]] = [(example.episode, example.part, example.detail) for example in losses.failed]
    heading = f"Failed to read: {len(rows)} of {num_failed:,}"
    header = ("raw episode", "part", "what was found")
    return [element("h3", text(heading)), table(Table(header=header, rows=tuple(rows)))]
