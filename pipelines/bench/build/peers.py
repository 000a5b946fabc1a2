"""Alternatives to our build: one ffmpeg process per clip, and LeRobot's image files with later video encoding.

Both start from the same clips and store every frame on disk, like a build with all frames.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import simplejpeg
from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.video.stream import VideoStream

from pipelines.bench.build.bare_video import decode, scaled
from vita_data.types import IMAGE_SIZE, Image

_QUALITY, _FPS = 95, 12
_FRAME_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3
_TO_PIPE = ("-vf", "scale=256:256:flags=area", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
_AV1 = "libsvtav1"


def has_ffmpeg() -> bool:
    """Tell whether this machine has an ffmpeg program."""
    return shutil.which("ffmpeg") is not None


def has_av1_encoder() -> bool:
    """Tell whether PyAV was built with the encoder that LeRobot uses."""
    try:
        Codec(_AV1, "w")
    except UnknownCodecError:
        return False
    return True


def ffmpeg_per_clip(paths: Sequence[str], out: Path) -> int:
    """Decode and scale each clip with one ffmpeg process, and encode its frames with the encoder of a build."""
    num_frames = 0
    with out.open("wb") as written:
        for path in paths:
            command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-i", path, *_TO_PIPE]
            raw = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
            frames = np.frombuffer(raw, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)
            for pixels in frames:
                written.write(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), _QUALITY, "RGB", "420"))
            num_frames += len(raw) // _FRAME_BYTES
    return num_frames


def lerobot_recipe(paths: Sequence[str], out: Path) -> int:
    """Store each frame as a temporary PNG file, read all files back, and encode them as AV1 with a GOP of 2.

    Source: LeRobot, image_writer.py and video_utils.py (encode_video_frames: libsvtav1, yuv420p, g=2, crf=30).
    """
    out.mkdir()
    # The encoder's log cannot be disabled otherwise.
    os.environ.setdefault("SVT_LOG", "1")
    num_frames = 0
    for number, path in enumerate(paths):
        folder = out / f"{number}"
        folder.mkdir()
        images = _write_images(path, folder)
        _encode(out / f"{number}.mp4", images)
        shutil.rmtree(folder)
        num_frames += len(images)
    return num_frames


def _write_images(path: str, folder: Path) -> list[Path]:
    images = []
    for number, pixels in enumerate(scaled(decode(path))):
        images.append(folder / f"frame-{number:06d}.png")
        cv2.imwrite(str(images[-1]), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return images


def _read_image(path: Path) -> Image:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise OSError(f"{path}: cannot read the image")
    return np.asarray(pixels, np.uint8)


def _encode(path: Path, images: Sequence[Path]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(_AV1, rate=_FPS, options={"g": "2", "crf": "30"})
        if not isinstance(stream, VideoStream):
            raise TypeError(f"{_AV1} is not a video codec")
        stream.height, stream.width, stream.pix_fmt = IMAGE_SIZE, IMAGE_SIZE, "yuv420p"
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(_read_image(image), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, _FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
