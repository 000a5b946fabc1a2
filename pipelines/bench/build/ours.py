"""Our way to process the same data, with the functions that a build uses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.bench.build.workload import Workload
from vita_data.builder import BuildRequest, Listeners, LocalEngine, build
from vita_data.builder.records import EpisodeRow
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.video.stream import VideoInfo, VideoStream, scan_video
from vita_data.normalize import FrameSelection
from vita_data.normalize.keyframes import keyframe_rows
from vita_data.sources import load
from vita_data.types import Episode, EpisodeOutcome, Image, ResizeMode, RgbFrame


def read_all(paths: Sequence[str]) -> int:
    """Scan videos and read all their frames as RGB [256, 256, 3]."""
    return sum(1 for path in paths for _ in _frames(path, keyframes=False))


def read_keyframes(paths: Sequence[str]) -> int:
    """Scan videos and read one frame per second as RGB [256, 256, 3]."""
    return sum(1 for path in paths for _ in keyframe_images(path))


def keyframe_images(path: str) -> Iterator[Image]:
    """Scan a video and yield its keyframes, RGB [256, 256, 3]."""
    return _frames(path, keyframes=True)


def keyframe_numbers(path: str) -> frozenset[int]:
    """List the frame numbers of keyframes."""
    info = scan_video(path, name=path)
    return frozenset(info.frame_index[_keyframes(info)].tolist())


def _frames(path: str, *, keyframes: bool) -> Iterator[Image]:
    info = scan_video(path, name=path)
    rows = _keyframes(info) if keyframes else list(range(len(info.frame_index)))
    for frame in VideoStream(path, info=info, name=path).read(rows, ResizeMode.PLAIN):
        if not isinstance(frame, RgbFrame):
            raise TypeError(f"{path}: a frame could not be decoded")
        yield frame.pixels


def _keyframes(info: VideoInfo) -> list[int]:
    return list(keyframe_rows(info.step_index, info.hz))


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltTree:
    """Result of a build."""

    num_episodes: int
    num_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTask:
    """A workload to be built; `out` must not exist yet."""

    workload: Workload
    source: str
    out: Path
    frames: FrameSelection
    workers: int = 1
    num_units: int = 1
    """Approximate number of units of the build."""
    limit: int | None = None


def build_tree(task: BuildTask) -> BuiltTree:
    """Build a workload.

    Raises:
        RuntimeError: an episode failed or was dropped, so that less work was done than requested.
    """
    settings = load(task.source).Settings(unit_bytes=max(task.workload.num_bytes // task.num_units, 1))
    request = BuildRequest(
        source=task.source,
        raw=str(task.workload.raw),
        out=task.out,
        settings=settings,
        frames=task.frames,
        limit=task.limit,
    )
    rows: list[EpisodeRow] = []
    listeners = Listeners(on_unit=lambda done: rows.extend(done.record.episodes))
    build(request, engine=LocalEngine(workers=task.workers), listeners=listeners)
    lost = [row for row in rows if row.outcome is not EpisodeOutcome.OK]
    if lost:
        raise RuntimeError(f"{task.source}: {len(lost)} of {len(rows)} episodes were lost: {lost[0]}")
    return BuiltTree(num_episodes=len(rows), num_frames=sum(row.num_frames for row in rows))


def read_members(workload: Workload) -> int:
    """Read a CALVIN tree with its source: vectors and both cameras of all frames, without encoding."""
    source, num_frames = load("calvin"), 0
    settings = source.Settings()
    with FsspecTree(str(workload.raw)) as raw:
        for part in source.parts(raw, settings):
            for outcome in source.episodes(raw, part, settings):
                if not isinstance(outcome, Episode):
                    raise RuntimeError(f"{part.id}: {outcome}")
                rows = range(len(outcome.step_index))
                for camera in outcome.cameras.values():
                    read = sum(1 for _ in camera.read(rows, ResizeMode.PLAIN))
                num_frames += read
    return num_frames
