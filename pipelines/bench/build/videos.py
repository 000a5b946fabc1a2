"""Generated videos: long 1080p H.264 like a head camera's, and short VP9 clips like Something-Something-v2's.

Bit rates are those of the real files, because decoding time depends on them; added noise makes the encoder reach them.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from pipelines.bench.build.sizes import Sizes
from vita_data.types import Image

_LONG_FPS, _LONG_BIT_RATE = 30, 5_000_000
"""Ego4D's full-scale release is 7.1 TB for 3,670 hours: 4.3 Mbit/s."""
_CLIP_FPS, _CLIP_BIT_RATE = 12, 180_000
"""Something-Something-v2 is 19.4 GB for 220,847 clips of about 4 s: 176 kbit/s."""
_CLIP_HEIGHT, _CLIP_WIDTH = 240, 427
_CLIP_SECONDS = (2, 6)
_MARGIN, _NUM_NOISES, _NOISE_MEAN = 64, 8, 12
_LONG_OPTIONS = {"preset": "veryfast", "g": "60", "keyint_min": "60", "sc_threshold": "0", "bf": "2"}
_CLIP_OPTIONS = {"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "25"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSpec:
    """Size, length and encoding of one video."""

    height: int
    width: int
    num_frames: int
    fps: int
    codec: str
    bit_rate: int
    options: Mapping[str, str]
    seed: int


def long_video_spec(sizes: Sizes) -> VideoSpec:
    """Describe the long video: 30 fps, a key frame every 60 frames, two B frames between others."""
    share = sizes.long_height * sizes.long_width / (1080 * 1920)
    return VideoSpec(
        height=sizes.long_height,
        width=sizes.long_width,
        num_frames=sizes.num_long_frames,
        fps=_LONG_FPS,
        codec="libx264",
        bit_rate=round(_LONG_BIT_RATE * share),
        options=_LONG_OPTIONS,
        seed=1,
    )


def clip_specs(sizes: Sizes) -> list[VideoSpec]:
    """Describe the short clips: 12 fps, 2 to 6 s."""
    low, high = (seconds * _CLIP_FPS for seconds in _CLIP_SECONDS)
    lengths = np.random.default_rng(2).integers(low, high, sizes.num_clips, endpoint=True)
    return [
        VideoSpec(
            height=_CLIP_HEIGHT,
            width=_CLIP_WIDTH,
            num_frames=int(length),
            fps=_CLIP_FPS,
            codec="libvpx-vp9",
            bit_rate=_CLIP_BIT_RATE,
            options=_CLIP_OPTIONS,
            seed=100 + number,
        )
        for number, length in enumerate(lengths)
    ]


def write_long_video(raw: Path, spec: VideoSpec) -> int:
    """Write `long.mp4`."""
    write_video(raw / "long.mp4", spec)
    return spec.num_frames


def write_clip_tree(raw: Path, specs: Sequence[VideoSpec]) -> int:
    """Write a tree for source `ssv2`, with one video per spec; returns the number of frames."""
    for path, spec in zip(_clip_paths(raw, len(specs)), specs, strict=True):
        write_video(path, spec)
    return sum(spec.num_frames for spec in specs)


def copy_clip_tree(raw: Path, videos: Sequence[Path], *, num_copies: int) -> None:
    """Write a tree for source `ssv2`, with `num_copies` of each video."""
    for number, path in enumerate(_clip_paths(raw, len(videos) * num_copies)):
        shutil.copyfile(videos[number % len(videos)], path)


def _clip_paths(raw: Path, num_clips: int) -> list[Path]:
    """Write the labels of the clips; returns the paths of their files."""
    folder, labels = raw / "20bn-something-something-v2", raw / "labels"
    folder.mkdir()
    labels.mkdir()
    names = [str(100_000 + number) for number in range(num_clips)]
    items = [{"id": name, "label": "pushing a red block from left to right"} for name in names]
    (labels / "train.json").write_text(json.dumps(items))
    (labels / "validation.json").write_text("[]")
    return [folder / f"{name}.webm" for name in names]


def write_video(path: Path, spec: VideoSpec) -> None:
    """Encode a moving scene; the same spec and libraries give the same bytes."""
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(spec.codec, rate=spec.fps, options=dict(spec.options))
        if not isinstance(stream, VideoStream):
            raise TypeError(f"{spec.codec} is not a video codec")
        stream.height, stream.width, stream.pix_fmt = spec.height, spec.width, "yuv420p"
        stream.bit_rate = spec.bit_rate
        # A fixed number, because the encoder's output may depend on it.
        stream.thread_count = 2
        for index, pixels in enumerate(moving_scene(spec.height, spec.width, spec.num_frames, seed=spec.seed)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, spec.fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def moving_scene(height: int, width: int, num_frames: int, *, seed: int) -> Iterator[Image]:
    """Yield RGB [height, width, 3]: a panned texture, a block that moves on its own, and sensor noise."""
    rng = np.random.default_rng(seed)
    texture = _texture(height + _MARGIN, width + _MARGIN, rng)
    noises = [_noise(height, width, rng) for _ in range(_NUM_NOISES)]
    side = height // 5
    for index in range(num_frames):
        top, left = (round(_MARGIN / 2 * (1 + np.sin(index * rate + seed))) for rate in (0.043, 0.061))
        image = texture[top : top + height, left : left + width].copy()
        y, x = (round((size - side) / 2 * (1 + np.cos(index * 0.05 + size))) for size in (height, width))
        image[y : y + side, x : x + side] = (200, 40, 30)
        # cv2.add saturates, unlike numpy's sum
        yield np.asarray(cv2.add(image, noises[index % _NUM_NOISES]), np.uint8)


def _noise(height: int, width: int, rng: np.random.Generator) -> Image:
    grey = np.clip(rng.normal(_NOISE_MEAN, _NOISE_MEAN / 3, (height, width, 1)), 0, 2 * _NOISE_MEAN)
    return np.repeat(grey.astype(np.uint8), 3, axis=2)


def _texture(height: int, width: int, rng: np.random.Generator) -> Image:
    """Add random fields of several scales, as in natural images."""
    total = np.full((height, width, 3), 128 - _NOISE_MEAN, np.float32)
    for cell, strength in ((128, 45), (32, 25), (8, 12), (3, 6)):
        field = rng.normal(0, strength, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        total += np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    return np.asarray(np.clip(total, 0, 255), np.uint8)
