"""Pictures of raw episodes that were not stored, read again from the download."""

import base64
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg

from vita_data.builder.parts import PartList, list_parts
from vita_data.config.from_json import from_json
from vita_data.errors import VitaDataError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.guard import data_fault
from vita_data.normalize.images import rgb_pixels
from vita_data.pages.drawing.chart import evenly
from vita_data.resize import to_square
from vita_data.types import Drop, Episode, Failure, Image, Json, Outcome, Source, SourceSettings

_MAX_PICTURES = 8
_SIZE, _QUALITY = 160, 85
_PATIENCE_S = 30.0


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


class RawPictures:
    """Reads episodes of one source's raw tree by part and id, with the settings of its build."""

    def __init__(self, source: Source, raw: str, settings: Json) -> None:
        self._source = source
        self._settings: SourceSettings = from_json(source.Settings, settings)
        self._listed: PartList = list_parts(self._source, FsspecTree(raw), self._settings)
        self._open: tuple[str, Iterator[Outcome]] | None = None
        """The part that was read last, after the episode that was found."""
        self._reading = threading.Lock()

    def read(self, part: str, episode: str) -> RawEpisode:
        """Find an episode in its part and take a few of its images, evenly spaced."""
        with self._reading:
            return self._read(part, episode)

    def _read(self, part: str, episode: str) -> RawEpisode:
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
        found = next((one for one in self._listed.parts if one.id == part), None)
        return None if found is None else self._source.episodes(self._listed.raw, found, self._settings)

    def _pictures(self, episode: Episode) -> Iterator[RawPicture]:
        rows = [int(row) for row in evenly(len(episode.step_index), _MAX_PICTURES)]
        for role, stream in sorted(episode.cameras.items()):
            for row, frame in zip(rows, stream.read(rows, self._settings.resize), strict=True):
                square = to_square(rgb_pixels(frame), self._settings.resize)
                step = int(episode.step_index[row])
                yield RawPicture(caption=f"{role}, step {step}", jpeg=_small_jpeg(square))


def _why_none(outcome: Outcome | None) -> str:
    if isinstance(outcome, Drop | Failure):
        return "The source's reader refused this episode before its images were read."
    if outcome is None:
        return "This episode is not in the given download."
    return "This episode has no images."


def _small_jpeg(square: Image) -> str:
    small = np.ascontiguousarray(cv2.resize(square, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA))
    return base64.b64encode(simplejpeg.encode_jpeg(small, _QUALITY, "RGB", "420")).decode("ascii")
