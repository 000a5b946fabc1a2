"""lerobot itself opens our exports, decodes the right images and trains on them.

`VITA_LEROBOT` names a Python that has lerobot, with torchcodec or with a torchvision that reads by PyAV.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import vita_data
from tests.vita_data.export.lerobot_judge import NO_BACKEND
from tests.vita_data.export.test_lerobot import CODEC_ERROR, stored
from vita_data.export.lerobot.dataset import export_lerobot
from vita_data.export.lerobot.features import ACTION, STATE, image_key
from vita_data.export.lerobot.meta import FileSizes
from vita_data.export.opened import ExportRequest
from vita_data.types import Bool, Float32

LEROBOT = "VITA_LEROBOT"
BRIDGE, WHOLE = "bridge", FileSizes()
SIZES = {BRIDGE: FileSizes(data_mb=0.01, video_mb=0.5), "libero": WHOLE, "robomind_agilex": WHOLE}
"""Bridge's many short real episodes are cut into several files, each with several episodes."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(LEROBOT not in os.environ, reason=f"{LEROBOT} names no Python with lerobot"),
]


@pytest.fixture(scope="module", params=SIZES)
def folder(request: pytest.FixtureRequest) -> Path:
    """A built source."""
    if request.param == BRIDGE:
        return Path(request.getfixturevalue("real_bridge"))
    return Path(request.getfixturevalue("every_row")) / request.param


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export."""
    out = tmp_path_factory.mktemp("exported") / folder.name
    export_lerobot(ExportRequest(folder=folder, out=out), sizes=SIZES[folder.name])
    return out


@pytest.fixture(params=["pyav", "torchcodec"])
def backend(request: pytest.FixtureRequest) -> str:
    """What lerobot decodes with."""
    return str(request.param)


def judge(*words: object) -> str:
    """Run lerobot in its own environment."""
    script = Path(__file__).with_name("lerobot_judge.py")
    command = [os.environ[LEROBOT], str(script), *map(str, words)]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
    if done.returncode == NO_BACKEND:
        pytest.skip(f"the environment with lerobot lacks the backend of {words}")
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def wrong_rows(shown: np.ndarray, true: np.ndarray) -> Bool:
    """Tell for each row whether its image is off by more than the codec is, or nearer to the row before or after."""
    before, own, after = (
        np.abs(shown.astype(np.int16) - np.roll(true, shift, axis=0)).mean(axis=(1, 2, 3)) for shift in (1, 0, -1)
    )
    return np.asarray((own > CODEC_ERROR) | (own >= before) | (own >= after))


def values_of(clip: vita_data.dataset.StoredClip) -> tuple[Float32, Float32]:
    """Return the columns of action and state that the clip has; all clips of these sources have the same."""
    assert clip.action is not None
    assert clip.state is not None
    return clip.action[:, clip.action_mask], clip.state[:, clip.state_mask]


def require_images(found: Mapping[str, np.ndarray], key: str, true: np.ndarray, episode: np.ndarray) -> None:
    """Compare lerobot's images [N, 256, 256, 3] of a camera with the true ones; `episode` [N] is that of each row."""
    shown = found[key]
    assert not wrong_rows(shown, true).any()
    for shift in (-1, 1):  # a set whose images are one row late or early would be noticed in every row
        assert wrong_rows(np.roll(shown, shift, axis=0), true).all()

    rows = found["ends"][:, None] + [-1, 0, 1]
    pad = (rows < 0) | (rows >= len(true)) | (episode[rows % len(true)] != episode[rows[:, 1:2]])
    assert found[f"pad {key}"].tolist() == pad.tolist()  # beyond an episode's end, its last row is repeated
    near = found[f"near {key}"].astype(np.int16)
    assert np.abs(near - true[np.where(pad, rows[:, 1:2], rows)]).mean(axis=(2, 3, 4)).max() < CODEC_ERROR


def test_every_row_and_image_is_that_of_its_clip(folder: Path, exported: Path, backend: str, tmp_path: Path) -> None:
    judge("frames", exported, backend, "--out", tmp_path / "rows.npz")
    clips = stored(folder)
    lengths = [len(clip.step_index) for clip in clips]
    episode = np.repeat(np.arange(len(clips)), lengths)
    actions, states = zip(*map(values_of, clips), strict=True)

    with np.load(tmp_path / "rows.npz") as found:
        assert found[ACTION] == pytest.approx(np.concatenate(actions))
        assert found[STATE] == pytest.approx(np.concatenate(states))
        assert found["task"].tolist() == [clips[number].instruction for number in episode]
        assert found["episode_index"].tolist() == episode.tolist()
        assert found["frame_index"].tolist() == [row for rows in lengths for row in range(rows)]
        assert (found["fps"], found["tolerance_s"]) == (clips[0].hz, 1e-4)
        assert np.abs(found["timestamp"] - found["frame_index"] / found["fps"]).max() < found["tolerance_s"]
        is_end = (np.diff(episode, prepend=-1) != 0) | (np.diff(episode, append=-1) != 0)
        assert found["ends"].tolist() == np.flatnonzero(is_end).tolist()
        for camera in clips[0].cameras:
            true = np.concatenate([clip.frames(camera) for clip in clips])
            require_images(found, image_key(camera), true, episode)


def test_files_hold_several_episodes_and_are_cut_differently(folder: Path, exported: Path) -> None:
    rows = pq.read_table(exported / "meta/episodes")
    video = next(name for name in rows.column_names if name.startswith("videos/") and name.endswith("/file_index"))
    tables, videos = (rows[name].to_pylist() for name in ("data/file_index", video))
    for files in (tables, videos):
        assert max(Counter(files).values()) > 1
        assert (len(set(files)) > 1) is (folder.name == BRIDGE)
    assert (tables != videos) is (folder.name == BRIDGE)


def test_a_policy_takes_a_training_step(folder: Path, exported: Path, backend: str) -> None:
    told = json.loads(judge("train", exported, backend).splitlines()[-1])
    clip = stored(folder)[0]
    actions, states = values_of(clip)
    images = {image_key(camera): [3, 256, 256] for camera in clip.cameras}
    assert told["features"] == {ACTION: [actions.shape[1]], STATE: [states.shape[1]], **images}
    assert told["outputs"] == [ACTION]
    before, after = told["losses"]
    assert np.isfinite([before, after]).all()
    assert after < before
