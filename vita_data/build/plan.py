"""What a build is asked to do, how its parts form units, and the fingerprint that a later run must match.

Units come from the data, never from the cluster, so that workers and machines may change between runs.
"""

import hashlib
import importlib.metadata
import itertools
import platform
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import av

from vita_data import SCHEMA_VERSION
from vita_data.build.settings import settings_json
from vita_data.errors import RequestError
from vita_data.normalize import FrameSelection
from vita_data.shards.schema import json_bytes
from vita_data.storage import AnyPath
from vita_data.types import Json, Part, SourceSettings

MAX_UNIT_EPISODES = 1000
_CODECS = ("numpy", "scipy", "opencv-python-headless", "simplejpeg", "h5py", "pyarrow", "av")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One `vita-data build`: where from, where to, and everything that shapes the bytes."""

    source: str
    raw: str
    out: AnyPath
    settings: SourceSettings
    frames: FrameSelection = FrameSelection.KEYFRAMES
    limit: int | None = None
    retry_failed: bool = False

    @property
    def folder(self) -> AnyPath:
        """Where the built source lies."""
        return self.out / self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The units that one of several independent processes builds, as in a job array: each `num_ranks`-th one."""

    rank: int
    num_ranks: int

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            RequestError: rank is not one of 0 .. num_ranks - 1.
        """
        if not 0 <= self.rank < self.num_ranks:
            raise RequestError(f"--rank {self.rank} of --num-ranks {self.num_ranks}: expected 0 .. num-ranks - 1")

    def has(self, unit: int) -> bool:
        """Tell whether a unit is in the share."""
        return unit % self.num_ranks == self.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPart:
    """A part and how many of its raw episodes are wanted; None: all."""

    part: Part
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Consecutive parts that are built, committed and redone together; writes one shard a split."""

    number: int
    parts: tuple[PlannedPart, ...]


def same_units(parts: Sequence[Part], grouping: Sequence[Sequence[str]], *, limit: int | None) -> list[Unit]:
    """Group parts as an earlier run did, although a part may have another size now."""
    planned = {one.part.id: one for one in _limited(parts, limit)}
    return [
        Unit(number=number, parts=tuple(planned[id_] for id_ in ids if id_ in planned))
        for number, ids in enumerate(grouping)
    ]


def fits(parts: Sequence[Part], grouping: Sequence[Sequence[str]], *, limit: int | None) -> bool:
    """Tell whether a grouping has all parts that are wanted: a part that can be counted only now may let others in."""
    return [planned.part.id for planned in _limited(parts, limit)] == [id_ for ids in grouping for id_ in ids]


def make_units(parts: Sequence[Part], *, unit_bytes: int, limit: int | None) -> list[Unit]:
    """Group consecutive parts until `unit_bytes` or 1,000 countable episodes is passed; a part is never split.

    Assumes: `--limit N` takes the first N raw episodes; a part that cannot be counted is the last one taken.
    """
    groups: list[list[PlannedPart]] = []
    num_bytes = num_episodes = 0
    for planned in _limited(parts, limit):
        if not groups or num_bytes > unit_bytes or num_episodes > MAX_UNIT_EPISODES:
            groups.append([])
            num_bytes = num_episodes = 0
        groups[-1].append(planned)
        num_bytes += planned.part.num_bytes
        num_episodes += planned.part.num_episodes or 0
    return [Unit(number=number, parts=tuple(group)) for number, group in enumerate(groups)]


def _limited(parts: Sequence[Part], limit: int | None) -> Iterator[PlannedPart]:
    left = limit
    for part in parts:
        if left is None:
            yield PlannedPart(part=part)
            continue
        if left <= 0:
            return
        yield PlannedPart(part=part, limit=left)
        left = 0 if part.num_episodes is None else left - part.num_episodes


def fingerprint(request: BuildRequest, parts: Sequence[Part]) -> Json:
    """Everything that must be equal for a build to go on: settings, raw parts, versions; no path, host or clock."""
    return {
        "schema_version": SCHEMA_VERSION,
        "source": request.source,
        "frames": request.frames,
        "limit": request.limit,
        "settings": settings_json(request.settings),
        "parts": [[part.id, part.num_bytes] for part in parts],
        "versions": codec_versions(),
    }


@cache
def codec_versions() -> Json:
    """The libraries whose version may change a byte."""
    libraries = {name: ".".join(map(str, version)) for name, version in sorted(av.library_versions.items())}
    packages = {name: importlib.metadata.version(name) for name in _CODECS}
    return {**packages, **libraries, "vita": importlib.metadata.version("vita"), "machine": platform.machine()}


def config_hash(print_: Json) -> str:
    """Hash a fingerprint."""
    return hashlib.sha256(json_bytes(print_)).hexdigest()


def refuse_difference(before: Json, now: Json, *, folder: AnyPath, ignored: Collection[str] = ()) -> None:
    """Refuse to touch an output that was made otherwise.

    Args:
        before: the fingerprint of the output.
        now: the fingerprint of the request.
        folder: the output, for the message.
        ignored: fields that may differ.

    Raises:
        RequestError: names the first setting, raw part or version that differs.
    """
    for name in now:
        if before.get(name) == now[name] or name in ignored:
            continue
        what, old, new = _first_difference(name, before.get(name), now[name])
        raise RequestError(
            f"{folder} was built with {what} = {old!r}, now asked for {new!r}; "
            "use the same settings, or another --out, or remove that folder"
        )


def _first_difference(name: str, before: object, now: object) -> tuple[str, object, object]:
    if isinstance(before, dict) and isinstance(now, dict):
        key = next(key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
        return f"{name}.{key}", before.get(key), now.get(key)
    if isinstance(before, list) and isinstance(now, list):
        pairs = itertools.zip_longest(before, now)
        number, (old, new) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
        return f"{name}[{number}]", old, new
    return name, before, now
