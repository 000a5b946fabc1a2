"""What a worker tells of its reading while it reads, so that a reader that hangs or crashes costs only what it read."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from vita_data.types import CameraStream, DepthStream, Episode, Float32, JpegFrame, ResizeMode, RgbFrame

_BEAT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the reading of a tree or a part is."""

    part: str
    """The part's id, or the file that was opened last while the parts are listed; empty before the first one."""
    number: int | None = None
    """How many raw episodes of the part came before; None while the parts are listed."""
    episode: str = ""
    """The episode whose values and images are read; empty while the next episode is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """A place that ended an earlier try of a unit, and why; the next try passes over it."""

    place: Place
    reason: str


class Pulse:
    """Sends each new place, and while the reading goes on, the same one again, at most once a second."""

    def __init__(self, send: Callable[[Place | None], None] = lambda place: None) -> None:
        self._send = send
        self._place: Place | None = None
        self._sent_s = 0.0

    def at(self, place: Place | None) -> None:
        """Say where the reading is now; None: nothing is read."""
        self._place, self._sent_s = place, time.monotonic()
        self._send(place)

    def beat(self) -> None:
        """Say that the reading goes on."""
        if time.monotonic() - self._sent_s >= _BEAT_EVERY_S:
            self.at(self._place)

    def opened(self, path: str) -> None:
        """Say that a file of the tree is opened; outside parts, this is the place."""
        if self._place is None or self._place.number is None:
            self.at(Place(part=path, number=None))
        else:
            self.beat()

    def watched(self, episode: Episode) -> Episode:
        """Return the episode with streams that beat for each image."""
        return replace(
            episode,
            cameras={role: _Camera(stream, self) for role, stream in episode.cameras.items()},
            depths={role: _Depth(stream, self) for role, stream in episode.depths.items()},
        )


@dataclass(frozen=True, slots=True)
class _Camera:
    stream: CameraStream
    pulse: Pulse

    @property
    def num_frames(self) -> int:
        return self.stream.num_frames

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        for frame in self.stream.read(rows, resize):
            self.pulse.beat()
            yield frame


@dataclass(frozen=True, slots=True)
class _Depth:
    stream: DepthStream
    pulse: Pulse

    def read(self, rows: Sequence[int]) -> Iterator[Float32]:
        for image in self.stream.read(rows):
            self.pulse.beat()
            yield image
