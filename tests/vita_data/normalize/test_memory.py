"""A worker's memory is bounded whatever an episode holds: measured in a process of its own, on made recordings."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import simplejpeg

from vita_data.sources import robomind_agilex
from vita_data.sources.calvin import source as calvin
from vita_data.sources.ur5e import source as ur5e
from vita_data.sources.ur5e.toy import write_ur5e_toy_vectors

MAX_BYTES = 1_500_000_000
WALK = """
import sys
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.normalize import FrameSelection, iter_clips
from vita_data.shards.schema import clip_members
from vita_data.sources import load
from vita_data.types import Episode

source, raw, settings = load(sys.argv[1]), FsspecTree(sys.argv[2]), sys.argv[3:]
chosen = source.Settings(**({"mode": source.Mode.PLAY} if "play" in settings else {}))
num_bytes = num_clips = 0
for part in source.parts(raw, chosen):
    for episode in source.episodes(raw, part, chosen):
        assert isinstance(episode, Episode), episode
        for clip in iter_clips(episode, source.INFO, chosen, FrameSelection.ALL):
            num_clips += 1
            num_bytes += sum(len(data) for _, data in clip_members(clip))
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(num_clips, num_bytes, peak)
"""


def walk(source: str, root: Path, *settings: str) -> tuple[int, int, int]:
    done = subprocess.run(
        [sys.executable, "-c", WALK, source, str(root), *settings],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(root.parent)},
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    num_clips, num_bytes, peak = (int(number) for number in done.stdout.split())
    sys.stdout.write(f"{source}: {num_clips} clips, {num_bytes / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB\n")
    return num_clips, num_bytes, peak


def noise(*shape: int, seed: int) -> np.ndarray:
    """Dim noise: images that stay large when they are encoded."""
    return np.random.default_rng(seed).integers(40, 160, shape, dtype=np.uint8)


def write_play(root: Path, num_frames: int, num_files: int = 128) -> None:
    """One recording; its frames share files, so that it takes little disk."""
    folder = root / "task_D_D" / "training"
    folder.mkdir(parents=True)
    np.save(folder / "ep_start_end_ids.npy", np.array([[0, num_frames - 1]]))
    np.save(folder / "scene_info.npy", np.array({"calvin_scene_D": [0, num_frames]}, object), allow_pickle=True)
    pose = np.array([0.1, 0.0, 0.5, 0.0, 0.0, 0.0])
    for frame in range(num_frames):
        path = folder / f"episode_{frame:07d}.npz"
        if frame >= num_files:
            path.hardlink_to(folder / f"episode_{frame % num_files:07d}.npz")
            continue
        np.savez(
            path,
            actions=np.append(pose, 1.0),
            robot_obs=np.concatenate([pose, [0.04], np.zeros(7), [1.0]]),
            rgb_static=noise(200, 200, 3, seed=frame),
            rgb_gripper=noise(84, 84, 3, seed=frame),
        )


def write_ur5e(root: Path, num_frames: int) -> None:
    path = root / "01" / "scene_000" / "episode_000000.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        write_ur5e_toy_vectors(file, np.arange(num_frames), ur5e.ActionSpace.ABS_TCP, seed=0)
        for key, chunks in (("third_person", None), ("wrist", (16, 480, 640, 3))):
            images = file.create_dataset(f"images/{key}", (num_frames, 480, 640, 3), np.uint8, chunks=chunks)
            for row in range(0, num_frames, 100):
                images[row : row + 100] = noise(1, 480, 640, 3, seed=row)
        file.attrs.update({"instruction": "put the cup on the plate", "task_id": 1, "success": True})
        file.attrs.update({"task_type": "basic", "action_space": ur5e.ActionSpace.ABS_TCP.value})


def write_agilex(root: Path, num_frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = simplejpeg.encode_jpeg(noise(480, 640, 3, seed=0), 90)
    monkeypatch.setattr(robomind_agilex, "toy_frames", lambda num_steps, **_: [data] * num_steps)
    monkeypatch.setattr(robomind_agilex, "toy_depths", lambda num_steps: [b""] * num_steps)
    toy = robomind_agilex._toy_trajectory(robomind_agilex._TOY[3][0], num_frames, 3)
    robomind_agilex.write_trajectory(str(root), toy)
    robomind_agilex.write_texts(str(root), {robomind_agilex._CORN: "pick up the corn"}, {})


@pytest.mark.slow
def test_a_long_play_recording_stays_small(tmp_path: Path) -> None:
    write_play(tmp_path / "raw", 20_000)
    num_clips, num_bytes, peak = walk(calvin.INFO.name, tmp_path / "raw", "play")
    assert num_clips == 2
    assert num_bytes > MAX_BYTES
    assert peak < MAX_BYTES


@pytest.mark.slow
def test_raw_images_of_minutes_stay_small(tmp_path: Path) -> None:
    write_ur5e(tmp_path / "raw", 2_000)
    num_clips, _, peak = walk(ur5e.INFO.name, tmp_path / "raw")
    assert num_clips == 1
    assert peak < MAX_BYTES


@pytest.mark.slow
def test_a_long_trajectory_of_many_cameras_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_agilex(tmp_path / "raw", 5_000, monkeypatch)
    num_clips, num_bytes, peak = walk(robomind_agilex.INFO.name, tmp_path / "raw")
    assert num_clips == 1
    assert num_bytes > 500_000_000
    assert peak < MAX_BYTES
