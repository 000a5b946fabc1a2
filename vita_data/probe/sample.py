"""Raw episodes to probe: some of each part of a tree, without their video, and small pictures of a few of them.

Kept in memory: the vectors of at most `limit` episodes, and three pictures per camera of a dozen episodes. Unreadable
data is a fault that probe P1 reports, never an exception.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import cv2
import numpy as np

from vita_data.builder.parts import list_parts, unread_files
from vita_data.builder.pulse import Obstacle, Place, Pulse
from vita_data.builder.reading import watched_outcomes
from vita_data.command.progress import SILENT, Progress
from vita_data.errors import RequestError
from vita_data.formats.raw_tree.unread import ListedTree, Unread
from vita_data.guard import data_fault
from vita_data.normalize.images import UndecodableFrameError, rgb_pixels
from vita_data.normalize.vectors import arm_delta, is_finite
from vita_data.pages.drawing.chart import evenly
from vita_data.resize import to_square
from vita_data.types import (
    Arm,
    CameraRole,
    Drop,
    Episode,
    Failure,
    Float64,
    Image,
    Int64,
    JpegFrame,
    Outcome,
    Part,
    RawTree,
    Reason,
    Source,
    SourceSettings,
)

PICTURE_SIZE = 160
_MAX_PICTURED = 12
_PICTURES_PER_CAMERA = 3
_MAX_RAW_PER_EPISODE = 20
_COMMANDED = ("gripper_open", "joint_target_rad")
_MEASURED = ("xyz_m", "rotation", "gripper_open", "joint_position_rad", "joint_velocity_rad_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledFrame:
    """One frame: its native step, its form in the source, and a small copy of the picture that would be stored."""

    role: CameraRole
    step: int
    height: int
    width: int
    encoding: str
    picture: Image
    """[160, 160, 3] RGB"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledArm:
    """One arm of an episode with its canonical motion [T, 6], None if its action has none."""

    side: str
    arm: Arm
    delta: Float64 | None

    def readings(self) -> Iterator[tuple[str, Float64]]:
        """Yield every measured and commanded vector with its name, [T] or [T, n]."""
        for name in _MEASURED:
            value = getattr(self.arm, name)
            if value is not None:
                yield f"{self.side} {name}", value
        if self.delta is not None:
            yield f"{self.side} action delta", self.delta
        for name in _COMMANDED:
            value = getattr(self.arm.action, name, None)
            if value is not None:
                yield f"{self.side} action {name}", value


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledEpisode:
    """An episode without its streams."""

    part: str
    episode: Episode
    num_frames: Mapping[CameraRole, int]
    frames: tuple[SampledFrame, ...]
    arms: tuple[SampledArm, ...]

    def readings(self) -> Iterator[tuple[str, Float64]]:
        """Yield every vector of arms and base with its name, [T] or [T, n]."""
        for arm in self.arms:
            yield from arm.readings()
        base = self.episode.base
        if base is not None and base.pose is not None:
            yield "base pose", base.pose
        if base is not None and base.delta is not None:
            yield "base delta", base.delta


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The data that probes check."""

    parts: tuple[Part, ...]
    num_parts_read: int
    episodes: tuple[SampledEpisode, ...]
    drops: tuple[Drop, ...]
    faults: tuple[str, ...]
    """What could not be read, with part and episode."""
    unread: Unread | None = None
    """Files of the tree that no part reads; None if its folders cannot be listed."""

    @property
    def num_outcomes(self) -> int:
        """Number of raw episodes that were read, good or not."""
        return len(self.episodes) + len(self.drops) + len(self.faults)

    @property
    def arms(self) -> Iterator[tuple[Episode, SampledArm]]:
        """Yield every arm with its episode, except those with values that are not finite, which the build drops."""
        pairs = ((sampled.episode, arm) for sampled in self.episodes for arm in sampled.arms)
        return (pair for pair in pairs if all(np.isfinite(value).all() for _, value in pair[1].readings()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How a reading is watched that may have to be stopped: who is told each place, and what is passed over."""

    pulse: Pulse = field(default_factory=Pulse)
    obstacles: tuple[Obstacle, ...] = ()


def read_sample(
    source: Source,
    raw: RawTree,
    settings: SourceSettings,
    *,
    limit: int,
    progress: Progress = SILENT,
    watch: Watch | None = None,
) -> Sample:
    """Read up to `limit` episodes (not counting dropped ones), the first of each of several evenly spread parts.

    Assumes: an episode's position in its part does not matter to any probe.

    Raises:
        RequestError: the tree does not have this dataset's layout, or a setting requests data that does not exist.
    """
    watch = watch or Watch()
    watch.pulse.at(Place(part=""))
    listed = list_parts(source, raw, settings)
    parts, unread = listed.parts, unread_files(listed, raw) if isinstance(raw, ListedTree) else None
    wanted = [(part, share) for part, share in zip(parts, _shares(len(parts), limit), strict=True) if share]
    pictured = _shares(len(wanted), _MAX_PICTURED)
    episodes: list[SampledEpisode] = []
    drops: list[Drop] = []
    faults: list[str] = []
    progress.start(sum(num_wanted for _, num_wanted in wanted))
    for (part, num_wanted), num_pictured in zip(wanted, pictured, strict=True):
        outcomes = watched_outcomes(source, listed.raw, part, settings, obstacles=watch.obstacles, pulse=watch.pulse)
        for found in _read_part(outcomes, part, settings, num_wanted=num_wanted, num_pictured=num_pictured):
            if isinstance(found, SampledEpisode):
                episodes.append(found)
            elif isinstance(found, Drop):
                drops.append(found)
            else:
                faults.append(found)
            counted = 0 if isinstance(found, Drop) else 1
            progress.update(counted, f"{len(drops)} dropped, {len(faults)} unreadable")
    watch.pulse.at(None)
    return Sample(
        parts=parts, unread=unread, num_parts_read=len(wanted), episodes=tuple(episodes), drops=tuple(drops),
        faults=tuple(faults),
    )  # fmt: skip


def runs(step_index: Int64) -> list[tuple[int, int]]:
    """Split rows into half-open ranges of consecutive native steps."""
    starts = np.flatnonzero(np.diff(step_index, prepend=step_index[:1] - 2) != 1).tolist()
    return list(zip(starts, [*starts[1:], len(step_index)][: len(starts)], strict=True))


def _shares(num_parts: int, total: int) -> list[int]:
    """Divide `total` over parts as evenly as possible in whole numbers."""
    return [(number + 1) * total // num_parts - number * total // num_parts for number in range(num_parts)]


def _read_part(
    outcomes: Iterator[Outcome], part: Part, settings: SourceSettings, *, num_wanted: int, num_pictured: int
) -> Iterator[SampledEpisode | Drop | str]:
    num_good = 0
    try:
        for outcome in islice(outcomes, num_wanted * _MAX_RAW_PER_EPISODE):
            if isinstance(outcome, Drop):
                yield outcome
                continue
            if isinstance(outcome, Failure):
                yield f"part {part.id}, episode {outcome.episode}: {outcome.detail}"
            else:
                yield _sampled(part, outcome, settings, with_pictures=num_good < num_pictured)
            num_good += 1
            if num_good == num_wanted:
                return
    except RequestError:
        raise
    except Exception as error:  # noqa: BLE001 - a file of an unknown form is what a probe is there to report
        yield f"part {part.id}: {data_fault(error, part.id)}"


def _sampled(
    part: Part, episode: Episode, settings: SourceSettings, *, with_pictures: bool
) -> SampledEpisode | Drop | str:
    try:
        return SampledEpisode(
            part=part.id,
            episode=replace(episode, cameras={}, depths={}),
            num_frames={role: stream.num_frames for role, stream in episode.cameras.items()},
            frames=tuple(_frames(episode, settings)) if with_pictures else (),
            arms=tuple(_arms(episode)),
        )
    except UndecodableFrameError as error:
        return Drop(episode=episode.id, reason=Reason.UNDECODABLE, detail=str(error))
    except Exception as error:  # noqa: BLE001 - as for parts, for one episode
        return f"part {part.id}, episode {episode.id}: {data_fault(error, episode.id)}"


def _arms(episode: Episode) -> Iterator[SampledArm]:
    # rotations with NaN cannot be composed, so the deltas of such an episode (which the build drops) are NaN
    finite = is_finite(episode)
    for side, arm in (("left", episode.left), ("right", episode.right)):
        if arm is None:
            continue
        delta = None
        if arm.action is not None and arm.action.motion is not None:
            delta = arm_delta(arm, arm.action) if finite else np.full((len(episode.step_index), 6), np.nan)
        yield SampledArm(side=side, arm=arm, delta=delta)


def _frames(episode: Episode, settings: SourceSettings) -> Iterator[SampledFrame]:
    rows: Sequence[int] = [int(row) for row in evenly(len(episode.step_index), _PICTURES_PER_CAMERA)]
    for role, stream in sorted(episode.cameras.items()):
        for row, frame in zip(rows, stream.read(rows, settings.resize), strict=True):
            pixels = rgb_pixels(frame)
            square = to_square(pixels, settings.resize)
            yield SampledFrame(
                role=role,
                step=int(episode.step_index[row]),
                height=pixels.shape[0],
                width=pixels.shape[1],
                encoding="JPEG" if isinstance(frame, JpegFrame) else "decoded by the source",
                picture=np.asarray(cv2.resize(square, (PICTURE_SIZE,) * 2, interpolation=cv2.INTER_AREA), np.uint8),
            )
