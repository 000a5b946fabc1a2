"""Files in place of a video that name other files, or declare a size that no camera has: refused in words."""

from pathlib import Path

import numpy as np
import pytest

from vita_data.errors import EpisodeError
from vita_data.formats.video.stream import scan_video, write_toy_video


@pytest.mark.parametrize(
    "content",
    [
        b"ffconcat version 1.0\nfile secret.webm\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nsecret.webm\n#EXT-X-ENDLIST\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        b"GIF89a" + b"\x60\xea" * 2 + bytes(40),
    ],
)
@pytest.mark.parametrize("name", ["a.webm", "a.mp4"])
def test_a_list_of_videos_or_a_picture_is_no_video(tmp_path: Path, content: bytes, name: str) -> None:
    """Before, a list was followed: frames of any file of the machine became those of the episode."""
    write_toy_video(str(tmp_path / "secret.webm"), [np.zeros((32, 32, 3), np.uint8)] * 3, fps=5)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EpisodeError, match="cannot be opened as video"):
        scan_video(str(tmp_path / name), name=name)


def test_a_video_is_not_decoded_at_a_size_that_no_camera_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy_video(str(tmp_path / "a.webm"), [np.zeros((64, 64, 3), np.uint8)] * 3, fps=5)
    monkeypatch.setattr("vita_data.formats.video.decode.MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(EpisodeError, match=r"a\.webm: the video declares 64x64 pixels, expected at most 1000"):
        scan_video(str(tmp_path / "a.webm"), name="a.webm")
