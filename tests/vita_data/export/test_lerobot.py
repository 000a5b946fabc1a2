"""An exported LeRobot dataset has the layout of format v3.0, and a declaration reads back what was exported."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg

import vita_data
from vita_data.action_convention import Flip
from vita_data.declared import (
    ArmColumns,
    Camera,
    Frame,
    Gripper,
    Joints,
    LeRobotDeclaration,
    LeRobotSource,
    Motion,
    PoseAction,
    Position,
    Rotation,
    RotationForm,
)
from vita_data.export.lerobot.dataset import export_lerobot
from vita_data.export.lerobot.meta import FileSizes
from vita_data.export.opened import ExportRequest
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.video.decode import decode_frames
from vita_data.normalize import FrameSelection, normalize
from vita_data.slots import JOINT_VELOCITIES, LEFT_STATE, NUM_JOINTS, RIGHT_STATE
from vita_data.types import ActionOrigin, CameraRole, Clip, Episode, Split, TextStyle

STATE, ACTION = "observation.state", "action"
CODEC_ERROR = 3.0
"""Mean levels by which H.264 and a second JPEG may change the noisy toy images."""


def declared_arm(info: dict[str, dict[str, dict[str, list[str]]]], arm: str) -> ArmColumns | None:
    state, action = (info["features"][key]["names"] for key in (STATE, ACTION))
    if f"{arm}_dx" not in action:
        return None
    num_joints, num_targets = (
        sum(name.startswith(f"{arm}_{kind}_") and "velocity" not in name for name in names)
        for names, kind in ((state, "joint"), (action, "joint_target"))
    )
    return ArmColumns(
        position=Position(STATE, state.index(f"{arm}_x"), unit_m=1.0),
        rotation=Rotation(STATE, state.index(f"{arm}_r11"), RotationForm.ROT6D, unit_rad=1.0),
        gripper=Gripper(STATE, state.index(f"{arm}_gripper"), open=1.0, closed=0.0),
        joints=Joints(STATE, state.index(f"{arm}_joint_1"), num_joints, unit_rad=1.0) if num_joints else None,
        action=PoseAction(
            motion=Motion.DELTA,
            frame=Frame.BASE,
            position=Position(ACTION, action.index(f"{arm}_dx"), unit_m=1.0),
            rotation=Rotation(ACTION, action.index(f"{arm}_droll"), RotationForm.EULER_XYZ, unit_rad=1.0),
            gripper=Gripper(ACTION, action.index(f"{arm}_gripper"), open=1.0, closed=0.0),
            joints=Joints(ACTION, action.index(f"{arm}_joint_target_1"), num_targets, unit_rad=1.0)
            if num_targets
            else None,
        ),
    )


def declaration(root: Path, cameras: tuple[CameraRole, ...]) -> LeRobotDeclaration:
    info = json.loads((root / "meta/info.json").read_text())
    return LeRobotDeclaration(
        name="exported",
        title="An export",
        embodiment=info["robot_type"],
        hz=info["fps"],
        labelled_fps=info["fps"],
        columns={key: info["features"][key]["shape"][0] for key in (STATE, ACTION)},
        cameras=tuple(Camera(role=role, key=f"observation.images.{role}", turned=Flip.NONE) for role in cameras),
        right=declared_arm(info, "right"),
        left=declared_arm(info, "left"),
        action_origin=ActionOrigin.REACHED,
        rows_to_action=0,
        lag=0,
        text_style=TextStyle.IMPERATIVE,
        text_origin="human",
        text_column=None,
        licence="CC BY 4.0",
        redistributable=True,
        url="https://example.org",
        access="open",
    )


def read_back(root: Path, cameras: tuple[CameraRole, ...]) -> list[Clip]:
    source, raw = LeRobotSource(declaration(root, cameras)), FsspecTree(str(root))
    settings = source.Settings(min_frames=2)  # what is short was dropped before the export
    found: list[Clip] = []
    for part in source.parts(raw, settings):
        for episode in source.episodes(raw, part, settings):
            assert isinstance(episode, Episode), episode
            clips = normalize(episode, source.INFO, settings, FrameSelection.ALL)
            assert isinstance(clips, tuple), clips
            found += clips
    return found


def stored(folder: Path) -> list[vita_data.dataset.StoredClip]:
    return [clip for split in Split for clip in vita_data.open_source(folder, split=split)]


def require_read_back(folder: Path, out: Path) -> None:
    """Export a built source, read the export by a declaration, and compare."""
    export_lerobot(ExportRequest(folder=folder, out=out))
    before = stored(folder)
    after = read_back(out, before[0].cameras)

    assert len(after) == len(before)
    for one, other in zip(before, after, strict=True):
        assert other.action is not None
        assert other.state is not None
        velocities = [
            start + JOINT_VELOCITIES + joint for start in (LEFT_STATE, RIGHT_STATE) for joint in range(NUM_JOINTS)
        ]
        state_mask = one.state_mask.copy()
        state_mask[velocities] = False  # a declaration has no place for them
        assert other.action.track.mask.tolist() == one.action_mask.tolist()
        assert other.state.mask.tolist() == state_mask.tolist()
        assert other.action.track.values == pytest.approx(one.action, abs=1e-5)
        assert other.state.values[:, state_mask] == pytest.approx(one.state[:, state_mask], abs=1e-5)
        assert other.instruction.text == one.instruction
        for camera in one.cameras:
            images = np.stack([simplejpeg.decode_jpeg(frame.jpeg) for frame in other.frames[camera]]).astype(int)
            assert np.abs(images - one.frames(camera)).mean(axis=(1, 2, 3)).max() < CODEC_ERROR


@pytest.mark.parametrize("name", ["bridge", "libero", "robomind_agilex"])
def test_a_declaration_reads_back_what_was_exported(name: str, every_row: Path, tmp_path: Path) -> None:
    require_read_back(every_row / name, tmp_path / "out")


def test_a_declaration_reads_back_real_episodes(real_bridge: Path, tmp_path: Path) -> None:
    require_read_back(real_bridge, tmp_path / "out")


def test_the_layout_is_that_of_lerobot(every_row: Path, tmp_path: Path) -> None:
    result = export_lerobot(ExportRequest(folder=every_row / "libero", out=tmp_path / "out"))
    root = tmp_path / "out"
    info = json.loads((root / "meta/info.json").read_text())

    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == [
        "README.md",
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "meta/vita_clips.parquet",
        "videos/observation.images.primary/chunk-000/file-000.mp4",
        "videos/observation.images.wrist_right/chunk-000/file-000.mp4",
        "vita_export.json",
    ]
    assert (result.num_clips, result.num_episodes, result.num_rows) == (8, 8, 370)
    assert {key: value for key, value in info.items() if key != "features"} == {
        "codebase_version": "v3.0",
        "robot_type": "franka",
        "total_episodes": 8,
        "total_frames": 370,
        "total_tasks": 2,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": 20,
        "splits": {"train": "0:5", "val": "5:8"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    assert {key: (feature["dtype"], feature["shape"]) for key, feature in info["features"].items()} == {
        "observation.images.primary": ("video", [256, 256, 3]),
        "observation.images.wrist_right": ("video", [256, 256, 3]),
        "observation.state": ("float32", [17]),
        "action": ("float32", [7]),
        "mask.state": ("bool", [17]),
        "mask.action": ("bool", [7]),
        "mask.camera.primary": ("bool", [1]),
        "mask.camera.wrist_right": ("bool", [1]),
        "step_index": ("int64", [1]),
        "timestamp": ("float32", [1]),
        "frame_index": ("int64", [1]),
        "episode_index": ("int64", [1]),
        "index": ("int64", [1]),
        "task_index": ("int64", [1]),
    }
    data = pq.ParquetFile(root / "data/chunk-000/file-000.parquet")
    assert data.num_row_groups == 8
    assert data.schema_arrow.names == [key for key in info["features"] if "images" not in key]
    table = data.read()
    assert table["index"].to_pylist() == list(range(370))
    assert str(table["action"].type) == "fixed_size_list<element: float>[7]"
    assert str(table["mask.action"].type) == "fixed_size_list<element: bool>[7]"
    tasks = pq.read_table(root / "meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["__index_level_0__"]
    origins = pq.read_table(root / "meta/vita_clips.parquet").to_pylist()
    assert [(one["episode_index"], one["split"]) for one in origins][4:6] == [(4, "train"), (5, "val")]


def test_the_list_of_episodes_has_places_and_statistics(every_row: Path, tmp_path: Path) -> None:
    export_lerobot(ExportRequest(folder=every_row / "bridge", out=tmp_path / "out", splits=(Split.TRAIN,)))
    rows = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
    clips = list(vita_data.open_source(every_row / "bridge"))
    actions = np.concatenate([clip.action[:, clip.action_mask] for clip in clips if clip.action is not None])
    video = "videos/observation.images.primary"

    assert [row["tasks"] for row in rows] == [[clip.instruction] for clip in clips]
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in rows][:2] == [(0, 38), (38, 78)]
    assert [(row[f"{video}/from_timestamp"], row[f"{video}/to_timestamp"]) for row in rows][1] == (7.6, 15.6)
    assert list(stats["action"]) == ["min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"]
    assert stats["action"]["count"] == [len(actions)]
    assert stats["action"]["mean"] == pytest.approx(actions.mean(axis=0, dtype=np.float64))
    assert stats["action"]["std"] == pytest.approx(actions.std(axis=0, dtype=np.float64))
    assert stats["action"]["q99"] == pytest.approx(np.quantile(actions, 0.99, axis=0))
    assert rows[1]["stats/action/max"] == pytest.approx(actions[38:78].max(axis=0))
    pixels = np.concatenate([clip.frames() for clip in clips]) / 255
    assert np.shape(stats["observation.images.primary"]["q50"]) == (3, 1, 1)
    assert np.ravel(stats["observation.images.primary"]["mean"]) == pytest.approx(pixels.mean(axis=(0, 1, 2)))
    assert np.ravel(stats["observation.images.primary"]["q50"]) == pytest.approx(np.median(pixels, axis=(0, 1, 2)))


def test_files_are_cut_by_size_and_read_back(every_row: Path, tmp_path: Path) -> None:
    sizes = FileSizes(data_mb=0.01, video_mb=0.3)
    export_lerobot(ExportRequest(folder=every_row / "bridge", out=tmp_path / "out"), sizes=sizes)
    videos = sorted((tmp_path / "out/videos").rglob("*.mp4"))
    before = stored(every_row / "bridge")
    after = read_back(tmp_path / "out", before[0].cameras)

    num_tables = len(list((tmp_path / "out/data").rglob("*.parquet")))
    assert 1 < len(videos) < len(before)
    assert 1 < num_tables <= len(before)
    assert num_tables != len(videos)
    assert [len(one.step_index) for one in after] == [len(one.step_index) for one in before]
    for one, other in zip(before, after, strict=True):
        image = simplejpeg.decode_jpeg(other.frames[CameraRole.PRIMARY][-1].jpeg).astype(int)
        assert np.abs(image - one.frames()[-1]).mean() < CODEC_ERROR


def test_every_second_frame_is_a_key_frame_and_the_first_of_an_episode(every_row: Path, tmp_path: Path) -> None:
    export_lerobot(ExportRequest(folder=every_row / "bridge", out=tmp_path / "out", splits=(Split.TRAIN,)))
    path = str(tmp_path / "out/videos/observation.images.primary/chunk-000/file-000.mp4")
    frames = list(decode_frames(path, "video"))
    lengths = [len(clip.step_index) for clip in vita_data.open_source(every_row / "bridge")]

    assert [frame.pts * frame.time_base for frame in frames if frame.pts is not None and frame.time_base][:3] == [
        0,
        pytest.approx(0.2),
        pytest.approx(0.4),
    ]
    assert all(frames[start].key_frame for start in np.cumsum([0, *lengths[:-1]]))
    assert sum(frame.key_frame for frame in frames) >= len(frames) // 2


def test_av1_is_written_on_request_and_the_encoder_is_quiet(every_row: Path, tmp_path: Path) -> None:
    words = [str(every_row / "bridge"), "--format", "lerobot", "--codec", "av1", "--split", "val", "--quiet", "--out"]
    command = [sys.executable, "-m", "vita_data", "export", *words, str(tmp_path / "out")]
    # In a process of its own, because the encoder reads how much to say when a process uses it first.
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    after = read_back(tmp_path / "out", (CameraRole.PRIMARY,))

    assert info["features"]["observation.images.primary"]["info"]["video.codec"] == "av1"
    for one, other in zip(vita_data.open_source(every_row / "bridge", split="val"), after, strict=True):
        image = simplejpeg.decode_jpeg(other.frames[CameraRole.PRIMARY][7].jpeg).astype(int)
        assert np.abs(image - one.frames()[7]).mean() < 2 * CODEC_ERROR


def test_the_same_shards_give_the_same_bytes(every_row: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_lerobot(ExportRequest(folder=every_row / "robomind_agilex", out=tmp_path / name))
    files = [sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("one", "two")]

    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
