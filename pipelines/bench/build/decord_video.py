"""The same decoding by decord, the other decoder that people use for training data; needs `pip install decord2`."""

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import numpy as np

from pipelines.bench.build.bare_video import Targets
from vita_data.errors import RequestError
from vita_data.types import IMAGE_SIZE, Image


def has_decord() -> bool:
    """Tell whether decord2 is installed.

    Raises:
        RequestError: the old decord is installed instead: it cannot open AV1, and its batches hold wrong pixels.
    """
    if find_spec("decord") is None:
        return False
    try:
        version("decord2")
    except PackageNotFoundError:
        raise RequestError(
            "expected decord2, found decord 0.6.0 or older, which cannot open AV1 and returns wrong pixels in "
            "get_batch; pip uninstall decord, then pip install decord2"
        ) from None
    return True


def decode_scaled(paths: Sequence[str]) -> int:
    """Decode all frames of several videos, scaled to 256x256 by decord, on one thread."""
    return sum(1 for path in paths for _ in frames(path, side=IMAGE_SIZE))


def frames(path: str, *, side: int | None = None) -> Iterator[Image]:
    """Yield all frames of a video as RGB, scaled to a square if `side` is given."""
    import decord

    size = {} if side is None else {"width": side, "height": side}
    reader = decord.VideoReader(path, num_threads=1, **size)
    for _ in range(len(reader)):
        yield np.asarray(reader.next().asnumpy(), np.uint8)


def decode_targets(videos: Targets) -> int:
    """Decode the target frames of each video, scaled to 256x256, by decord's random access; returns their number."""
    import decord

    count = 0
    for path, targets in videos.items():
        reader = decord.VideoReader(path, num_threads=1, width=IMAGE_SIZE, height=IMAGE_SIZE)
        count += len(reader.get_batch(sorted(targets)).asnumpy())
    return count
