"""Lower bounds for video: the cost of only decoding and scaling.

It imports only what it needs, because the import time of its processes is part of the measurement.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from multiprocessing import get_context

import av
from av.video.reformatter import VideoReformatter

from vita_data.formats.video.scale import frame_scaler, interleaved
from vita_data.types import IMAGE_SIZE, Image, ResizeMode


def decode(path: str) -> Iterator[av.VideoFrame]:
    """Yield all frames of a video, decoded by PyAV on one thread."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        yield from container.decode(stream)


def scaled(frames: Iterable[av.VideoFrame]) -> Iterator[Image]:
    """Yield frames as RGB [256, 256, 3], scaled directly by swscale with the kernels of a build."""
    reformatter = VideoReformatter()
    for frame in frames:
        kernel = "AREA" if min(frame.width, frame.height) >= IMAGE_SIZE else "BICUBIC"
        yield interleaved(reformatter.reformat(frame, IMAGE_SIZE, IMAGE_SIZE, "gbrp", interpolation=kernel, threads=1))


def decode_scaled(paths: Sequence[str]) -> int:
    """Decode and scale all frames of several videos."""
    return sum(1 for path in paths for _ in scaled(decode(path)))


def decode_targets(path: str, targets: Collection[int]) -> Iterator[Image]:
    """Decode all frames of a video and yield the target frames as RGB [256, 256, 3], with the scaler of a build."""
    scale = frame_scaler(ResizeMode.PLAIN)
    return (scale(frame) for number, frame in enumerate(decode(path)) if number in targets)


Targets = Mapping[str, Collection[int]]
"""The target frames of each video."""


def decode_all_targets(videos: Targets) -> int:
    """Decode all frames of several videos and scale the target frames."""
    return sum(1 for path, targets in videos.items() for _ in decode_targets(path, targets))


def decode_in_processes(shares: Sequence[Targets]) -> int:
    """Run `decode_all_targets` on each share, in parallel processes.

    Raises:
        RuntimeError: a process failed.
    """
    processes = [get_context("spawn").Process(target=decode_all_targets, args=(share,)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a bare decoding process failed")
    return sum(len(targets) for share in shares for targets in share.values())


def num_frames(paths: Sequence[str]) -> int:
    """Count the frames of videos by decoding them."""
    return sum(1 for path in paths for _ in decode(path))
