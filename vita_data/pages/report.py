"""The page of `vita-data report`: all built sources of a folder, their mixture, and training runs on them."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from vita_data.command.progress import SILENT, Progress
from vita_data.pages.drawing.chart import charts
from vita_data.pages.drawing.html import Markup, Section, advice, camera_sheets, element, join, page, paragraph, text
from vita_data.pages.mixture import mixture_section
from vita_data.pages.runs.rollouts import rollouts_sections
from vita_data.pages.runs.training import run_section
from vita_data.pages.shards.built import built_in
from vita_data.pages.shards.card import TERMS, Card, built_tables, licence_warnings, load_card
from vita_data.pages.shards.clips import ClipView, action_charts, first_clips
from vita_data.pages.shards.column_stats import ranges_table
from vita_data.pages.shards.contents import Contents, read_contents
from vita_data.pages.shards.dropped import drops_table
from vita_data.pages.shards.inspect import PLAY
from vita_data.pages.shards.lengths import lengths_histograms, lengths_table
from vita_data.pages.shards.texts import texts_table
from vita_data.shards.index import CARD, RECORDS, closed_in
from vita_data.shards.stats import load_stats
from vita_data.storage.files import AnyPath
from vita_data.types import EpisodeOutcome

_MAX_FRAMES = 8
_LOST = "To look at one, choose Not stored in the viewer; RAW is the folder of the raw data, for its images:"


def report_page(
    folder: AnyPath,
    *,
    manifest: Path | None,
    runs: Sequence[Path],
    rollouts: Sequence[Path] = (),
    viewer: str | None = None,
    progress: Progress = SILENT,
) -> str:
    """Return the page of a shard folder, optionally with a mixture of it, training runs, rollouts and a viewer.

    `viewer` is the address, seen from the page, of what `vita-data view --html` wrote.

    Progress counts these and the sources.

    Raises:
        RequestError: the folder does not exist, one of `runs` is not a training run with steps, or one of `rollouts` is
            not an evaluation.
        StorageError: the folders in it may not be opened.
        ManifestError: nothing is built in `folder`, or the manifest cannot be used with it.
        ShardError: a shard, a card or a file of a run is damaged.
    """
    folders = built_in(folder)
    progress.start(len(folders) + (manifest is not None) + len(runs) + len(rollouts))
    cards = tuple(load_card(each) for each in folders)
    contents: list[Contents] = []
    views: list[ClipView] = []
    for each in folders:
        contents.append(read_contents(each))
        views += first_clips(each, max_clips=1, max_frames=_MAX_FRAMES)
        progress.update(note=each.name)
    sections = [
        *(_counted(section, progress) for section in rollouts_sections(rollouts, runs)),
        Section(
            title="Pictures",
            explanation="The first clip of each source, with stored images evenly spaced over the clip.",
            body=join([_play(folder, viewer), *(part for view in views for part in _sheet(view))]),
        ),
        Section(
            title="What was built",
            explanation="One row per source. Every raw episode is counted once: stored (ok), dropped for a reason, or "
            "failed (unreadable). A clip is one stored demonstration; a step is one row at the source's own rate. "
            f"{TERMS}",
            body=join([built_tables(cards), *_unfinished(folder)]),
        ),
        Section(
            title="Rates and lengths",
            explanation="Over all clips of both splits: the number of stored steps divided by the source's rate.",
            body=join([lengths_table(contents), lengths_histograms(contents)]),
        ),
        Section(
            title="Instructions",
            explanation="The normalized text that training uses, counted over clips; words are lower-cased.",
            body=texts_table(contents),
        ),
        Section(
            title="Drops by reason",
            explanation="Raw episodes that were not stored, by reason and source.",
            body=join([drops_table(cards), *_look_at_lost(cards, folder, viewer)]),
        ),
        Section(
            title="Ranges of the actions",
            explanation="1st to 99th percentile over the valid rows of the train split, in physical "
                        "units; training maps them to -1..1.",
            body=ranges_table([card.source for card in cards], [load_stats(each) for each in folders]),
        ),
        *([] if manifest is None else [_counted(mixture_section(manifest, folder), progress)]),
        Section(
            title="Actions",
            explanation="The canonical actions of the same clips in physical units: how each step moves the hand "
            "relative to its pose, in the robot's base frame; the gripper is an absolute opening.",
            body=join(part for view in views for part in _actions(view)),
        ),
        *(_counted(run_section(run), progress) for run in runs),
    ]  # fmt: skip
    introduction = "From raw datasets to a trained model: what was built, how it is mixed, and how training went."
    links = [] if viewer is None else [("Watch every clip", viewer)]
    return page("Data and training report", introduction, sections, warnings=licence_warnings(cards), links=links)


def _play(folder: AnyPath, viewer: str | None) -> Markup:
    """Say where the clips can be watched."""
    if viewer is None:
        return advice(PLAY, f"vita-data view {shlex.quote(str(folder))} --serve")
    link = element("a", text("in the viewer"), href=viewer)
    return element("p", text("All clips play over their actions and state "), link, text("."), class_="explain")


def _look_at_lost(cards: Sequence[Card], folder: AnyPath, viewer: str | None) -> Iterator[Markup]:
    """Say where one episode that was not stored is shown, if there is one."""
    lost = (EpisodeOutcome.DROPPED, EpisodeOutcome.FAILED)
    if not any(card.num_outcome(outcome) for card in cards for outcome in lost):
        return
    if viewer is None:
        yield advice(_LOST, f"vita-data view {shlex.quote(str(folder))} --raw RAW --serve")
    else:
        yield paragraph("The viewer shows each of them: choose Not stored above its list of clips.", css="explain")


def _counted(section: Section, progress: Progress) -> Section:
    progress.update(note=section.title)
    return section


def _unfinished(folder: AnyPath) -> Iterator[Markup]:
    begun = sorted((part.parent for part in folder.glob(f"*/{RECORDS}")), key=str)
    names = [source.name for source in begun if not (source / CARD).exists()]
    if names:
        yield paragraph(f"Not shown because their builds are not finished: {', '.join(names)}.", css="warning")
    if closed := closed_in(folder):
        names = [path.name for path in closed]
        yield paragraph(f"Not shown because their folders are not readable: {', '.join(names)}.", css="warning")


def _sheet(view: ClipView) -> Iterator[Markup]:
    clip = view.clip
    yield element("h3", text(f"{clip.source}: {clip.instruction.text or '(no instruction)'}"))
    yield paragraph(f"Clip {clip.key}: {clip.num_steps} steps at {clip.hz:.4g} Hz")
    yield camera_sheets(view.sheets())


def _actions(view: ClipView) -> Iterator[Markup]:
    clip = view.clip
    yield element("h3", text(clip.source))
    if clip.action is None:
        yield paragraph("This clip is video only; it has no actions.")
    else:
        yield paragraph(f"Clip {clip.key}: {clip.action.origin} actions.")
        yield charts(action_charts(clip))
