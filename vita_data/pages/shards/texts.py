"""Instructions of a source's clips: the list with counts, the words, and how many words an instruction has."""

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from vita_data.pages.drawing.bars import Histogram, bar_list, histogram
from vita_data.pages.drawing.html import (
    Cell,
    Markup,
    Section,
    Table,
    element,
    join,
    paragraph,
    side_by_side,
    table,
    text,
)
from vita_data.pages.shards.contents import Contents

_MAX_INSTRUCTIONS = 50
_MAX_CHARACTERS = 240
_MAX_WORDS = 25


def texts_section(contents: Contents) -> Section:
    """Show a source's instructions."""
    return Section(
        title="Instructions",
        explanation="The normalized text that training uses, counted over the clips of both splits; words are "
        "lower-cased, and every occurrence of a word in a clip counts.",
        body=join(_body(contents)) if contents.texts else paragraph("No clip has an instruction."),
    )  # fmt: skip


def texts_table(every: Sequence[Contents]) -> Markup:
    """Show how many instructions and words several sources have, one row each."""
    header = ("source", "clips with text", "clips without", "different instructions", "different words",
              "words in total", "median words per text", "most frequent words")  # fmt: skip
    rows: list[tuple[Cell, ...]] = [
        (one.source, len(one.num_words), one.num_clips - len(one.num_words), len(one.texts), len(one.words),
         int(one.num_words.sum()), None if not one.num_words.size else float(np.median(one.num_words)),
         ", ".join(islice(one.words, 8)) or None)
        for one in every
    ]  # fmt: skip
    return table(Table(header=header, rows=tuple(rows)))


def _body(contents: Contents) -> list[Markup]:
    num_words = contents.num_words
    words = (
        f"{len(num_words):,} of {contents.num_clips:,} clips have an instruction. {len(contents.texts):,} different "
        f"instructions, {len(contents.words):,} different words, {int(num_words.sum()):,} words in total, "
        f"{num_words.mean():.3g} per clip."
    )
    lengths = Histogram(title="Words per instruction", x_label="words", y_label="clips", least_width=1.0,
                        values=num_words.astype(np.float64))  # fmt: skip
    frequent = bar_list(f"Most frequent words: {_of(_MAX_WORDS, contents.words)}", _first(contents.words, _MAX_WORDS))
    return [
        paragraph(words),
        side_by_side((histogram(lengths), frequent)),
        element("h3", text(f"Instruction list: {_of(_MAX_INSTRUCTIONS, contents.texts)}, most frequent first")),
        _list(contents),
    ]


def _list(contents: Contents) -> Markup:
    rows: list[tuple[Cell, ...]] = [
        (_cut(instruction), count, f"{count / contents.num_clips:.2%}")
        for instruction, count in _first(contents.texts, _MAX_INSTRUCTIONS).items()
    ]
    return table(Table(header=("text", "clips", "share of all clips"), rows=tuple(rows)))


def _first(counts: Mapping[str, int], num_wanted: int) -> Mapping[str, int]:
    return dict(islice(counts.items(), num_wanted))


def _of(num_wanted: int, counts: Mapping[str, int]) -> str:
    return f"all {len(counts)}" if len(counts) <= num_wanted else f"{num_wanted} of {len(counts):,}"


def _cut(words: str) -> str:
    return words if len(words) <= _MAX_CHARACTERS else words[: _MAX_CHARACTERS - 1] + "…"
