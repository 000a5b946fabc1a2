"""decord is a peer of the bench: its frames are PyAV's, and the old release is refused by name."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from pipelines.bench.build import decord_video
from pipelines.bench.build.bare_video import decode
from vita_data.errors import RequestError

INTACT = ("av1_video.mkv", "bt709_full_range.mp4", "flipping_a_pancake.mkv", "h265_video.mp4", "demo.mp4")


def test_without_decord_its_rows_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decord_video, "find_spec", lambda name: None)
    assert not decord_video.has_decord()


def test_the_old_release_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_decord2(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(decord_video, "find_spec", lambda name: object())
    monkeypatch.setattr(decord_video, "version", no_decord2)
    with pytest.raises(RequestError, match=r"expected decord2, found decord 0\.6\.0 or older"):
        decord_video.has_decord()


@pytest.mark.parametrize("name", INTACT)
def test_decord2_gives_the_frames_of_pyav(real_data: Path, name: str) -> None:
    if not decord_video.has_decord():
        pytest.skip("decord2 is not installed")
    path = str(real_data / "video" / name)
    for ours, theirs in zip(decode(path), decord_video.frames(path), strict=True):
        np.testing.assert_array_equal(ours.to_ndarray(format="rgb24"), theirs)
