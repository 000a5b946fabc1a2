"""Runs all probes on one download: reads a sample once and runs each probe in order."""

from dataclasses import dataclass

from vita_data.command.progress import SILENT, Progress
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.nearby_raw import raw_advice
from vita_data.probe.counts import counts
from vita_data.probe.gripper import gripper_polarity
from vita_data.probe.integration import integration
from vita_data.probe.kinematics import kinematics
from vita_data.probe.lag import lag
from vita_data.probe.look import colour, orientation
from vita_data.probe.rate import rate
from vita_data.probe.result import ProbeReport
from vita_data.probe.sample import Sample, Watch, read_sample
from vita_data.probe.schema import schema
from vita_data.probe.texts import text_report
from vita_data.types import RawTree, Source, SourceInfo, SourceSettings

DEFAULT_LIMIT = 50
_PROBES = (schema, integration, gripper_polarity, lag, rate, colour, counts, text_report, orientation, kinematics)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The report and its sample, whose pictures the page shows."""

    info: SourceInfo
    sample: Sample
    report: ProbeReport


def probe(
    source: Source, raw: str, settings: SourceSettings, *, limit: int = DEFAULT_LIMIT, progress: Progress = SILENT
) -> Probed:
    """Probe the download in folder `raw` on up to `limit` episodes, which progress counts.

    Raises:
        RequestError: the folder does not exist, or does not have this dataset's layout.
    """
    with raw_advice(source, raw, settings):
        return probe_tree(source, FsspecTree(raw), settings, limit=limit, progress=progress)


def probe_tree(
    source: Source,
    raw: RawTree,
    settings: SourceSettings,
    *,
    limit: int = DEFAULT_LIMIT,
    progress: Progress = SILENT,
    watch: Watch | None = None,
) -> Probed:
    """Probe an opened raw tree.

    Raises:
        RequestError: the tree does not have this dataset's layout.
    """
    sample = read_sample(source, raw, settings, limit=limit, progress=progress, watch=watch)
    report = ProbeReport(
        source=source.INFO.name,
        num_parts=len(sample.parts),
        num_parts_read=sample.num_parts_read,
        num_episodes=sample.num_outcomes,
        unread=sample.unread,
        results=tuple(ask(sample, source.INFO, settings) for ask in _PROBES),
    )
    return Probed(info=source.INFO, sample=sample, report=report)
