"""The page of `vita-data inspect`: the contents of one built source, and some of its clips as stored.

Reads the complete card, indexes, list of raw episodes and statistics, but only a few members of the shards.
"""

import json
import shlex
from collections.abc import Iterator, Sequence

from vita_data.command.progress import SILENT, Progress
from vita_data.pages.drawing.chart import charts
from vita_data.pages.drawing.html import (
    Markup,
    Section,
    advice,
    camera_sheets,
    element,
    facts,
    join,
    page,
    paragraph,
    text,
)  # fmt: skip
from vita_data.pages.shards.card import TERMS, card_facts, licence_warnings, load_card
from vita_data.pages.shards.clips import ClipView, action_charts, clip_by_key, first_clips, state_charts
from vita_data.pages.shards.column_stats import statistics_section
from vita_data.pages.shards.contents import read_contents
from vita_data.pages.shards.dropped import losses_section, read_losses
from vita_data.pages.shards.lengths import lengths_section
from vita_data.pages.shards.texts import texts_section
from vita_data.shards.stats import load_stats
from vita_data.storage.files import AnyPath
from vita_data.types import Clip, Instruction

PLAY = "To play all clips over their actions and state, run"
_MAX_CLIPS = 3
_MAX_FRAMES = 16


def inspect_page(folder: AnyPath, *, key: str | None, progress: Progress = SILENT) -> str:
    """Return the page of a built source: its contents, what was not stored, and the clip `key` or the first three.

    Progress counts what is read: indexes, clips, the list of raw episodes.

    Raises:
        ManifestError: the source has not been built in `folder`, or its statistics are missing.
        RequestError: no clip has that key.
        ShardError: a shard is damaged.
    """
    progress.start(3)
    card, contents = load_card(folder), read_contents(folder)
    progress.update(note="indexes")
    if key is None:
        views = first_clips(folder, max_clips=_MAX_CLIPS, max_frames=_MAX_FRAMES)
    else:
        views = [clip_by_key(folder, key, max_frames=_MAX_FRAMES)]
    progress.update(note="clips")
    losses = losses_section(card, read_losses(folder))
    progress.update(note="raw episodes")
    sections = [
        _pictures_section(views, folder),
        Section(
            title=f"About {card.source}",
            explanation="The source's card: facts of the dataset, and the outcome of every raw episode in this build. "
            f"{TERMS}",
            body=card_facts(card),
        ),
        lengths_section(card, contents),
        texts_section(contents),
        losses,
        statistics_section(card, load_stats(folder)),
        *(_clip_section(view) for view in views),
    ]
    introduction = (
        "What was built of this source, and example clips as stored in the shards: one clip is one demonstration (or "
        "at most 600 s of it), with some of its images, its instruction, and its actions and state in physical units."
    )
    return page(f"{card.source}: stored clips", introduction, sections, warnings=licence_warnings((card,)))


def _pictures_section(views: Sequence[ClipView], folder: AnyPath) -> Section:
    """Show stored images of clips under their instructions."""
    return Section(
        title="Pictures",
        explanation="Stored images, evenly spaced over each clip.",
        body=join([advice(PLAY, f"vita-data view {shlex.quote(str(folder))} --serve"),
                   *(part for view in views for part in _sheets(view))]) if views else paragraph("No clip was stored."),
    )  # fmt: skip


def _sheets(view: ClipView) -> Iterator[Markup]:
    yield element("h3", text(view.clip.instruction.text or "(no instruction)"))
    if not view.pictures:
        yield paragraph(f"{view.clip.key}: no images are stored.", css="explain")
    yield camera_sheets(view.sheets())


def _clip_section(view: ClipView) -> Section:
    clip = view.clip
    parts = [_clip_facts(clip)]
    parts += [element("h3", text("Actions")), _actions(clip), element("h3", text("State")), _state(clip)]
    return Section(
        title=f"Clip {clip.key}",
        explanation="Steps count the raw episode's own recording steps, time is step / rate; an image shows one step.",
        body=join(parts),
    )


def _clip_facts(clip: Clip) -> Markup:
    origin = "none" if clip.action is None else clip.action.origin
    return facts((
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
    ))  # fmt: skip


def _actions(clip: Clip) -> Markup:
    if clip.action is None:
        return paragraph("This clip is video only; it has no actions.")
    words = (
        "How each step moves the hand relative to its pose: displacement and rotation in the robot's base frame, and "
        "the gripper as an absolute opening. Columns that this robot does not have are omitted."
    )
    return join([paragraph(words, css="explain"), charts(action_charts(clip))])


def _state(clip: Clip) -> Markup:
    if clip.state is None:
        return paragraph("This clip has no state: no measurements were recorded.")
    words = "What was measured at each step; columns without measurements are omitted."
    return join([paragraph(words, css="explain"), charts(state_charts(clip))])


def _instruction(instruction: Instruction) -> str:
    return f"{instruction.text or '(empty)'} [{instruction.origin}]"


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
