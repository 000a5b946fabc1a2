"""Shows what a run has learnt of each source: its errors, those with other latents, and the trivial predictors'.

The figures come from RUN/evaluation.json; vita_model/README.md explains them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vita_data.pages.drawing.bars import bar_list
from vita_data.pages.drawing.html import Cell, Markup, Table, element, folded, paragraph, side_by_side, table, text
from vita_data.pages.runs.run_files import read_evaluation

_WORDS = (
    "After step {step}, on the windows of each source. A bar is the error divided by the trivial predictor's, which is "
    "marked: at 1 or more, the model does no better on this source. With another sample's latents the error must be "
    "larger than with the sample's own; otherwise the latents carry nothing for this source. The other sample is the "
    "previous one of the batch, of any source. Means of few windows say little. L1 is the absolute error, MSE the "
    "squared error in normalized units."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What is decoded, and its figures."""

    title: str
    kind: str
    error: str
    trivial: str
    trivial_words: str
    columns: Mapping[str, str]
    """Other columns of the table: header and the last word of the figure."""


_KINDS = (
    _Kind(
        title="Frames: L1", kind="frames", error="l1", trivial="copy_l1", trivial_words="copied frame", columns={},
    ),
    _Kind(
        title="Actions: MSE", kind="actions", error="mse", trivial="mean_mse", trivial_words="mean action",
        columns={"mm per step": "position_m", "rad per step": "rotation_rad", "rad per joint": "joint_rad"},
    ),
)  # fmt: skip
_SCALES = {"position_m": 1000.0}


def source_parts(run: Path) -> list[Markup]:
    """Show the errors of each source in the newest evaluation; empty if it has none.

    Raises:
        ShardError: the evaluation is damaged.
    """
    evaluation = read_evaluation(run)
    if evaluation is None:
        return []
    shown = [(kind, _by_source(evaluation.figures, kind.kind)) for kind in _KINDS]
    shown = [(kind, found) for kind, found in shown if any(kind.error in own for own in found.values())]
    if not shown:
        return []
    bars = [
        bar_list(f"{kind.title} / {kind.trivial_words}'s", _ratios(found, kind), limit=1.0,
                 limit_words=f"1: {kind.trivial_words}")
        for kind, found in shown
    ]  # fmt: skip
    return [
        element("h3", text("What was learnt of each source")),
        paragraph(_WORDS.format(step=evaluation.step), css="explain"),
        side_by_side(bars),
        folded("The figures as a table", *(part for kind, found in shown for part in _table(kind, found))),
    ]


def _by_source(figures: Mapping[str, float], kind: str) -> dict[str, dict[str, float]]:
    """Give the figures of a kind by source and by their last word."""
    found: dict[str, dict[str, float]] = {}
    for name, value in sorted(figures.items()):
        first, *rest = name.split("/")
        if first == kind and len(rest) == 2:
            found.setdefault(rest[0], {})[rest[1]] = value
    return found


def _ratios(found: Mapping[str, Mapping[str, float]], kind: _Kind) -> dict[str, float]:
    """Divide each source's error by the trivial predictor's; not where training diverged."""
    ratios = {
        source: own[kind.error] / own[kind.trivial]
        for source, own in found.items()
        if kind.error in own and own.get(kind.trivial)
    }
    return {source: ratio for source, ratio in ratios.items() if math.isfinite(ratio)}


def _table(kind: _Kind, found: Mapping[str, Mapping[str, float]]) -> Iterator[Markup]:
    names = {
        "windows": "windows", "own latents": kind.error, "another sample's latents": f"shuffled_{kind.error}",
        "mean of the latents": f"mean_latent_{kind.error}", kind.trivial_words: kind.trivial, **kind.columns,
    }  # fmt: skip
    names = {words: name for words, name in names.items() if any(name in own for own in found.values())}
    rows = [(source, *(_cell(own, name) for name in names.values())) for source, own in found.items()]
    yield table(Table(header=(kind.title, *names), rows=tuple(rows)))


def _cell(own: Mapping[str, float], name: str) -> Cell:
    return own[name] * _SCALES.get(name, 1.0) if name in own else None
