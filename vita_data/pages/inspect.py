"""The page of `vita-data inspect`: some clips of one built source, as they are stored."""

import json
from pathlib import Path

from vita_data.pages.card import Card, card_facts, licence_warnings, load_card
from vita_data.pages.chart import charts
from vita_data.pages.clips import ACTION_GROUPS, ClipView, action_charts, clip_by_key, first_clips, state_charts
from vita_data.pages.html import (
    Cell,
    Markup,
    Section,
    Table,
    contact_sheet,
    element,
    join,
    page,
    paragraph,
    table,
    text,
)  # fmt: skip
from vita_data.shards.stats import ColumnStats, load_stats
from vita_data.types import Clip, Instruction

_MAX_CLIPS = 3
_MAX_FRAMES = 16


def inspect_page(folder: Path, *, key: str | None) -> str:
    """Write the page of a built source: its card, its action statistics, and the clip `key` or the first three.

    Raises:
        ManifestError: the source has not been built in `folder`, or its statistics are missing.
        RequestError: no clip has that key.
        ShardError: a shard is damaged.
    """
    card = load_card(folder)
    if key is None:
        views = first_clips(folder, max_clips=_MAX_CLIPS, max_frames=_MAX_FRAMES)
    else:
        views = [clip_by_key(folder, key, max_frames=_MAX_FRAMES)]
    sections = [
        Section(
            title=f"What {card.source} is",
            explanation="The source's card: facts of the dataset, and what became of every raw episode in this build.",
            body=card_facts(card),
        ),
        _statistics(card, load_stats(folder).source.action),
        *(_clip_section(view) for view in views),
    ]
    introduction = (
        "Clips as they are stored in the shards: one clip is one demonstration (or at most 600 s of it), with a few of "
        "its images, its instruction, and its actions and state in physical units."
    )
    return page(f"{card.source}: stored clips", introduction, sections, warnings=licence_warnings((card,)))


def _clip_section(view: ClipView) -> Section:
    clip = view.clip
    parts = [_clip_facts(clip)]
    for camera, pictures in view.pictures.items():
        heading = f"Camera {camera}: {len(pictures)} of {view.num_stored[camera]} stored images"
        parts += [element("h3", text(heading)), contact_sheet(pictures)]
    parts += [element("h3", text("Actions")), _actions(clip), element("h3", text("State")), _state(clip)]
    return Section(
        title=f"Clip {clip.key}",
        explanation="Steps count the raw episode's own recording steps, time is step / rate; one image is one step.",
        body=join(parts),
    )


def _clip_facts(clip: Clip) -> Markup:
    origin = "none" if clip.action is None else clip.action.origin
    facts: tuple[tuple[str, Cell], ...] = (
        ("instruction", _instruction(clip.instruction)),
        ("all texts", "\n".join(_instruction(each) for each in clip.instructions)),
        ("episode", clip.episode),
        ("provenance", _json(clip.provenance)),
        ("split, modality", f"{clip.split}, {clip.modality}"),
        ("embodiment", f"{clip.embodiment} (arms: {clip.arms})"),
        ("rate", f"{clip.hz:.6g} Hz, stride {clip.stride} steps"),
        ("steps", clip.num_steps),
        ("keyframes", len(clip.keyframes)),
        ("action origin", origin),
        ("extras", _json(clip.extras)),
    )
    return table(Table(header=("fact", "value"), rows=facts))


def _actions(clip: Clip) -> Markup:
    if clip.action is None:
        return paragraph("This clip has no actions: it is video alone.")
    words = (
        "What each step tells the hand to do, relative to where it is: displacement and rotation in the robot's base "
        "frame, and the gripper as an absolute opening. Columns that this robot does not have are left out."
    )
    return join([paragraph(words, css="explain"), charts(action_charts(clip))])


def _state(clip: Clip) -> Markup:
    if clip.state is None:
        return paragraph("This clip has no state: nothing was measured.")
    words = "What was measured at each step; columns that were not are left out."
    return join([paragraph(words, css="explain"), charts(state_charts(clip))])


def _statistics(card: Card, stats: ColumnStats | None) -> Section:
    rows: list[tuple[Cell, ...]] = []
    if stats is not None:
        for group in ACTION_GROUPS:
            for column, name in zip(group.columns(), group.names, strict=True):
                if stats.mask[column]:
                    figures = (stats.mean, stats.std, stats.min, stats.q01, stats.q99, stats.max)
                    rows.append((f"{group.title}: {name}", group.unit, *(float(figure[column]) for figure in figures)))
    header = ("action column", "unit", "mean", "std", "min", "q01", "q99", "max")
    none = paragraph(f"{card.source} has no actions.")
    return Section(
        title="Action statistics",
        explanation="Over all valid rows of the train split; training maps q01..q99 of each column to -1..1.",
        body=table(Table(header=header, rows=tuple(rows))) if rows else none,
    )


def _instruction(instruction: Instruction) -> str:
    return f"{instruction.text or '(empty)'} [{instruction.origin}]"


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
