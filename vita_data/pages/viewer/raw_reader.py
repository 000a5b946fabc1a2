"""Finds raw episodes that were not stored in their download and takes pictures of them; runs in a worker process."""

import base64
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg

from vita_data.builder.names import stored_name
from vita_data.builder.parts import PartList, list_parts
from vita_data.builder.pulse import Place, Pulse
from vita_data.builder.reading import watched_outcomes
from vita_data.config.from_json import from_json
from vita_data.errors import VitaDataError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.guard import data_fault
from vita_data.normalize.images import rgb_pixels
from vita_data.pages.drawing.chart import evenly
from vita_data.resize import to_square
from vita_data.sources import load
from vita_data.types import Drop, Episode, Failure, Image, Outcome, SourceSettings

_MAX_PICTURES = 8
_SIZE, _QUALITY = 160, 85
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """One source's download; can be sent to another process."""

    source: str
    source_file: str
    raw: str
    settings: str
    """The settings of its build, as JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTask:
    """An episode to find; without one, the parts are only listed."""

    request: RawRequest
    part: str = ""
    episode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPicture:
    """One image of a raw episode: base64 of a small JPEG, and where it is from."""

    caption: str
    jpeg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEpisode:
    """What could be shown of a raw episode."""

    pictures: Sequence[RawPicture]
    note: str
    """Why there are no pictures; empty if there are some."""


def read_raw(task: RawTask, on_told: Callable[[object], None], pulse: Pulse) -> RawEpisode | None:
    """Find an episode in its part and take a few of its images, evenly spaced; a job for a worker.

    Raises:
        RequestError: the tree does not have the source's layout.
    """
    reader = _READERS.get(task.request)
    if reader is None:
        reader = _READERS[task.request] = _Reader(task.request, pulse)
    return reader.read(task.part, task.episode) if task.part else None


class _Reader:
    """An opened tree, which stays open for the next episodes."""

    def __init__(self, request: RawRequest, pulse: Pulse) -> None:
        # The pulse of the first job reaches the same watcher as those of later ones.
        self._pulse = pulse
        self._source = load(request.source, request.source_file)
        self._settings: SourceSettings = from_json(self._source.Settings, json.loads(request.settings))
        pulse.at(Place(part=""))
        tree = FsspecTree(request.raw, on_open=pulse.opened, on_answer=pulse.beat)
        self._listed: PartList = list_parts(self._source, tree, self._settings)
        self._open: tuple[str, Iterator[Outcome]] | None = None
        """The part that was read last, after the episode that was found."""

    def read(self, part: str, episode: str) -> RawEpisode:
        """Find an episode and take its pictures; what is wrong with it is the note."""
        self._pulse.at(Place(part=part, number=0))
        try:
            outcome = self._find(part, episode)
            pictures = tuple(self._pictures(outcome)) if isinstance(outcome, Episode) else ()
        except VitaDataError as error:
            return RawEpisode(pictures=(), note=str(error))
        except Exception as error:  # noqa: BLE001 - the episode may have been dropped because it is damaged
            return RawEpisode(pictures=(), note=data_fault(error, episode))
        return RawEpisode(pictures=pictures, note="" if pictures else _why_none(outcome))

    def _find(self, part: str, episode: str) -> Outcome | None:
        """Go on from the last episode if it was in this part, else start again: an export asks in the parts' order."""
        until = time.monotonic() + _PATIENCE_S
        kept = self._open if self._open is not None and self._open[0] == part else None
        for outcomes in filter(None, (kept and kept[1], self._start(part))):
            self._open = (part, outcomes)
            for outcome in outcomes:
                if (outcome.id if isinstance(outcome, Episode) else outcome.episode) == episode:
                    return outcome
                if time.monotonic() > until:
                    raise VitaDataError(f"not found within {_PATIENCE_S:.0f} s of reading {part}")
        return None

    def _start(self, part: str) -> Iterator[Outcome] | None:
        found = next((one for one in self._listed.parts if stored_name(one.id) == part), None)
        if found is None:
            return None
        return watched_outcomes(self._source, self._listed.raw, found, self._settings, obstacles=(), pulse=self._pulse)

    def _pictures(self, episode: Episode) -> Iterator[RawPicture]:
        rows = [int(row) for row in evenly(len(episode.step_index), _MAX_PICTURES)]
        for role, stream in sorted(episode.cameras.items()):
            for row, frame in zip(rows, stream.read(rows, self._settings.resize), strict=True):
                square = to_square(rgb_pixels(frame), self._settings.resize)
                step = int(episode.step_index[row])
                yield RawPicture(caption=f"{role}, step {step}", jpeg=_small_jpeg(square))


_READERS: dict[RawRequest, _Reader] = {}
"""The trees that this process has opened."""


def _why_none(outcome: Outcome | None) -> str:
    if isinstance(outcome, Drop | Failure):
        return "The source's reader refused this episode before its images were read."
    if outcome is None:
        return "This episode is not in the given download."
    return "This episode has no images."


def _small_jpeg(square: Image) -> str:
    small = np.ascontiguousarray(cv2.resize(square, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA))
    return base64.b64encode(simplejpeg.encode_jpeg(small, _QUALITY, "RGB", "420")).decode("ascii")
