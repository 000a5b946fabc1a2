"""What a build is asked to do, how its parts are grouped into units, and the fingerprint that a later run must match.

Units depend only on the data, not on the cluster, so workers and machines may change between runs.
"""

import hashlib
import importlib.metadata
import pickle
import platform
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import av

from vita_data import SCHEMA_VERSION, __version__
from vita_data.config.settings import settings_json
from vita_data.errors import RequestError
from vita_data.normalize import FrameSelection
from vita_data.shards.schema import json_bytes
from vita_data.sources import load, own_digest
from vita_data.storage.files import AnyPath
from vita_data.types import Json, Part, Source, SourceSettings

MAX_UNIT_EPISODES = 1000
_NUM_SMALL_UNITS = 64
_SMALL_UNIT_BYTES, _SMALL_UNIT_EPISODES = 32 << 20, 16
_CODECS = ("numpy", "scipy", "opencv-python-headless", "simplejpeg", "h5py", "pyarrow", "av")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One `vita-data build`: input, output, and everything that affects the bytes."""

    source: str
    raw: str
    out: AnyPath
    settings: SourceSettings
    frames: FrameSelection = FrameSelection.KEYFRAMES
    limit: int | None = None
    retry_failed: bool = False
    source_file: str = ""
    """The Python file that defines the source, if it is neither in this package nor in an installed one."""

    def __reduce__(self) -> tuple[object, ...]:
        """Import the file before the settings, whose class it may define, are restored in another process."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return _restored, (self.source, self.source_file, pickle.dumps(values))

    def load(self) -> Source:
        """Import the source.

        Raises:
            RequestError: the source or its file does not exist, or the file defines another source.
        """
        return load(self.source, self.source_file)

    @property
    def folder(self) -> AnyPath:
        """Folder of the built source."""
        return self.out / self.source


def _restored(source: str, source_file: str, values: bytes) -> BuildRequest:
    if source_file:
        load(source, source_file)
    return BuildRequest(**pickle.loads(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The units built by one of several independent processes, as in a job array: every `num_ranks`-th unit."""

    rank: int
    num_ranks: int

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            RequestError: rank is not one of 0 .. num_ranks - 1.
        """
        if not 0 <= self.rank < self.num_ranks:
            raise RequestError(
                f"--rank {self.rank} of --num-ranks {self.num_ranks}: expected a rank from 0 to {self.num_ranks - 1}"
            )

    def has(self, unit: int) -> bool:
        """Tell whether a unit is in the share."""
        return unit % self.num_ranks == self.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPart:
    """A part and how many of its raw episodes to build; None: all."""

    part: Part
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Consecutive parts that are built, committed and rebuilt together; a unit writes one shard per split."""

    number: int
    parts: tuple[PlannedPart, ...]
    limit: int | None = None
    """How many of its raw episodes to build if `--limit` ends inside the unit; None: all."""


Grouping = Sequence[Sequence[str]]
"""The parts of each unit, by id."""


def group_parts(parts: Sequence[Part], *, unit_bytes: int) -> tuple[tuple[str, ...], ...]:
    """Group consecutive parts into units; a part is never split.

    A unit is full when it holds more than `unit_bytes` or 1,000 countable episodes. It is also full when it holds more
    than 1/64 of all raw bytes, if that is at least 32 MiB or 16 countable episodes, so that a small source gives work
    to many cores.
    """
    total_bytes = sum(part.num_bytes for part in parts)
    groups: list[list[str]] = []
    num_bytes = num_episodes = 0
    for part in parts:
        is_full = num_bytes > unit_bytes or num_episodes > MAX_UNIT_EPISODES
        if num_bytes * _NUM_SMALL_UNITS > total_bytes:
            is_full |= num_bytes >= _SMALL_UNIT_BYTES or num_episodes >= _SMALL_UNIT_EPISODES
        if not groups or is_full:
            groups.append([])
            num_bytes = num_episodes = 0
        groups[-1].append(part.id)
        num_bytes += part.num_bytes
        num_episodes += part.num_episodes or 0
    return tuple(tuple(group) for group in groups)


def cut_units(parts: Sequence[Part], grouping: Grouping, *, limit: int | None) -> list[Unit]:
    """Make the units for the first `limit` raw episodes; parts may have changed size since they were grouped.

    Assumes: a part whose episodes cannot be counted is the last one taken.
    """
    by_id = {part.id: part for part in parts}
    units: list[Unit] = []
    left = limit
    for number, ids in enumerate(grouping):
        if left is not None and left <= 0:
            break
        group, before = [by_id[id_] for id_ in ids if id_ in by_id], left
        planned, left = _take(group, left)
        is_cut = len(planned) < len(group) or any(one.limit is not None for one in planned)
        units.append(Unit(number=number, parts=tuple(planned), limit=before if is_cut else None))
    return units


def _take(parts: Sequence[Part], left: int | None) -> tuple[list[PlannedPart], int | None]:
    """Take the first `left` raw episodes of parts; also return how many are still needed."""
    if left is None:
        return [PlannedPart(part=part) for part in parts], None
    planned: list[PlannedPart] = []
    for part in parts:
        if left <= 0:
            break
        is_whole = part.num_episodes is not None and part.num_episodes <= left
        planned.append(PlannedPart(part=part, limit=None if is_whole else left))
        left = 0 if part.num_episodes is None else left - part.num_episodes
    return planned, left


def fingerprint(request: BuildRequest, parts: Sequence[Part]) -> Json:
    """Return everything that must be equal to continue a build: settings, raw parts, versions; no path or host."""
    return {
        "schema_version": SCHEMA_VERSION,
        "source": request.source,
        **({"source_file": digest} if (digest := own_digest(request.source, request.source_file)) else {}),
        "frames": request.frames,
        "limit": request.limit,
        "settings": settings_json(request.settings),
        "parts": [[part.id, part.num_bytes] for part in parts],
        "versions": codec_versions(),
    }


@cache
def codec_versions() -> Json:
    """Return the versions of the libraries that can change the output bytes."""
    libraries = {name: ".".join(map(str, version)) for name, version in sorted(av.library_versions.items())}
    packages = {name: importlib.metadata.version(name) for name in _CODECS}
    return {**packages, **libraries, "vita": __version__, "machine": platform.machine()}


def config_hash(print_: Json) -> str:
    """Hash a fingerprint."""
    return hashlib.sha256(json_bytes(print_)).hexdigest()


def plan_digest(print_: Json, grouping: Grouping) -> str:
    """Hash what must be equal for a unit's record to be valid: everything except raw sizes and `--limit`."""
    return config_hash({**print_, "limit": None, "parts": [list(ids) for ids in grouping]})
