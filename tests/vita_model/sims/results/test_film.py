"""A film shows every step of each episode, then its outcome."""

from pathlib import Path

import av
import numpy as np
import pytest

from vita_data.errors import VitaDataError
from vita_model.sims.results.film import write_film


def pictures(count: int, shade: int) -> list[np.ndarray]:
    return [np.full((128, 128, 3), shade, np.uint8) for _ in range(count)]


def test_episodes_play_side_by_side_and_end_in_their_colour(tmp_path: Path) -> None:
    path = tmp_path / "new" / "film.mp4"
    write_film(path, [(True, pictures(5, 200)), (False, pictures(20, 90))], hz=20)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 20)
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(stream)]
    assert len(frames) == 20 + 30
    assert frames[0].shape == (160, 320, 3)
    assert abs(frames[0][80, 80] - 200).max() < 8
    assert abs(frames[0][80, 240] - 90).max() < 8
    green, red = frames[-1][80, 1], frames[-1][80, 318]
    assert green[1] > green[0] + 60
    assert red[0] > red[1] + 80
    assert [path.name for path in path.parent.iterdir()] == ["film.mp4"]


def test_no_episodes_and_no_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one episode"):
        write_film(tmp_path / "film.mp4", [], hz=20)
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(VitaDataError, match=r"film\.mp4: cannot write the film"):
        write_film(tmp_path / "film.mp4", [(True, pictures(2, 0))], hz=20)
