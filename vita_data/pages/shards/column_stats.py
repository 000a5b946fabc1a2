"""The normalization statistics of a source as tables: every existing column in physical units."""

from collections.abc import Sequence

from vita_data.pages.drawing.html import Cell, Markup, Section, Table, element, join, paragraph, table, text
from vita_data.pages.shards.card import Card
from vita_data.pages.shards.column_groups import ACTION_GROUPS, STATE_GROUPS, Group, arm_action_groups
from vita_data.shards.stats import ColumnStats, StatsFile
from vita_data.slots import LEFT_ACTION, RIGHT_ACTION

_ARMS = (("left", LEFT_ACTION), ("right", RIGHT_ACTION))
_ARM_HEADER = tuple(f"{name} ({group.unit})" for group in arm_action_groups("", 0) for name in group.names)


def statistics_section(card: Card, stats: StatsFile) -> Section:
    """Show the statistics of a source's actions and states."""
    parts = (("Action", stats.source.action, ACTION_GROUPS), ("State", stats.source.state, STATE_GROUPS))
    return Section(
        title="Statistics",
        explanation="Over all valid rows of the train split; training maps q01..q99 of each column to -1..1.",
        body=join(_part(card, name, columns, groups) for name, columns, groups in parts),
    )


def ranges_table(sources: Sequence[str], every: Sequence[StatsFile]) -> Markup:
    """Show the range of motion (q01 to q99) of the arms of several sources, one row per arm."""
    rows: list[tuple[Cell, ...]] = [
        (source, arm, *(_range(stats.source.action, column) for column in range(start, start + len(_ARM_HEADER))))
        for source, stats in zip(sources, every, strict=True)
        for arm, start in _ARMS
        if stats.source.action is not None and stats.source.action.mask[start : start + len(_ARM_HEADER)].any()
    ]
    if not rows:
        return paragraph("None of these sources has arm actions.")
    return table(Table(header=("source", "arm", *_ARM_HEADER), rows=tuple(rows)))


def _part(card: Card, name: str, stats: ColumnStats | None, groups: Sequence[Group]) -> Markup:
    heading = element("h3", text(f"{name} columns"))
    if stats is None:
        return join([heading, paragraph(f"{card.source} has no {name.lower()}.")])
    rows: list[tuple[Cell, ...]] = []
    for group in groups:
        for column, label in zip(group.columns(), group.names, strict=True):
            if stats.mask[column]:
                figures = (stats.mean, stats.std, stats.min, stats.q01, stats.q99, stats.max)
                rows.append((f"{group.title}: {label}", group.unit, *(float(figure[column]) for figure in figures)))
    header = (f"{name.lower()} column", "unit", "mean", "std", "min", "q01", "q99", "max")
    return join([heading, table(Table(header=header, rows=tuple(rows)))])


def _range(stats: ColumnStats, column: int) -> Cell:
    return f"{stats.q01[column]:.3g} to {stats.q99[column]:.3g}" if stats.mask[column] else None
