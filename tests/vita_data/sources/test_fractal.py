"""Fractal: its end of episode, relative gripper, outliers, moving base and texts. Records are synthetic."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.write import write_rlds
from vita_data.formats.toy import read_toy_frame
from vita_data.normalize import FrameSelection, normalize
from vita_data.slots import BASE_ACTION, RIGHT_ACTION, RIGHT_STATE
from vita_data.sources import fractal
from vita_data.sources._shared.google_rlds_toy import toy_jpegs, toy_record
from vita_data.types import Clip, Drop, Episode, Failure, Outcome, Reason

RELEASE = "fractal20220817_data/0.1.0"
POSE = "steps/observation/base_pose_tool_reached"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> FsspecTree:
    root = tmp_path_factory.mktemp("fractal")
    fractal.write_toy(str(root))
    return FsspecTree(str(root))


def read(tree: FsspecTree, settings: fractal.Settings | None = None) -> list[Outcome]:
    settings = settings or fractal.Settings()
    return [outcome for part in fractal.parts(tree, settings) for outcome in fractal.episodes(tree, part, settings)]


def normalized(outcome: Outcome, frames: FrameSelection = FrameSelection.KEYFRAMES) -> Clip | Drop:
    assert not isinstance(outcome, Failure)
    found = outcome if isinstance(outcome, Drop) else normalize(outcome, fractal.INFO, fractal.Settings(), frames)
    return found if isinstance(found, Drop) else found[0]


def write(
    root: Path, num_steps: int = 40, text: str = "pick it up", images: list[bytes] | None = None, **changes: object
) -> FsspecTree:
    record = toy_record(
        fractal._FEATURES,
        tool_pose=POSE,
        gripper_open=np.ones(num_steps + 1),
        images=images or toy_jpegs((64, 80), num_steps=1, episode=0, hz=3.0, gripper_open=np.ones(1)) * num_steps,
        hz=3.0,
        seed=1,
        text=text,
        terminate_at=num_steps - 1,
    )
    write_rlds(str(root), release=RELEASE, features=fractal._FEATURES, splits={"train": [[record | changes]]})
    return FsspecTree(str(root))


def action_rows(num_steps: int, width: int, rows: dict[int, object]) -> np.ndarray:
    values = np.zeros((num_steps, width))
    for row, value in rows.items():
        values[row] = value
    return values


# -------------------------------------------------------------------------------------------------------------- rows


def test_the_terminate_row_is_kept_and_what_follows_is_not(tmp_path: Path):
    ends = np.tile([0, 1, 0], (40, 1))
    ends[[17, 30]] = [1, 0, 0]
    (episode,) = read(write(tmp_path, **{"steps/action/terminate_episode": ends}))
    assert episode.step_index.tolist() == list(range(18))
    assert episode.cameras["primary"].num_frames == len(episode.right.xyz_m) == 18


def test_what_follows_the_end_decides_nothing(tmp_path: Path):
    """Neither a command, nor a base motion, nor a NaN after the terminate row reaches the kept rows."""
    ends = np.tile([0, 1, 0], (40, 1))
    ends[17] = [1, 0, 0]
    changes = {
        "steps/action/terminate_episode": ends,
        "steps/action/gripper_closedness_action": action_rows(40, 1, {20: -1.0}),
        "steps/action/base_displacement_vector": action_rows(40, 2, {20: 0.1}),
        "steps/observation/gripper_closed": action_rows(40, 1, {20: np.nan}),
    }
    (episode,) = read(write(tmp_path, **changes))
    assert isinstance(episode, Episode)
    assert episode.base is None
    assert episode.right.action.gripper_open.tolist() == [1.0] * 18


@pytest.mark.parametrize(("ends_at", "is_kept"), [(11, False), (12, True)])
def test_the_length_is_that_after_the_end_is_cut(tmp_path: Path, ends_at: int, is_kept: bool):
    ends = np.tile([0, 1, 0], (40, 1))
    ends[ends_at:] = [1, 0, 0]
    found = normalized(read(write(tmp_path, **{"steps/action/terminate_episode": ends}))[0])
    assert isinstance(found, Clip) is is_kept
    assert is_kept or found.reason is Reason.SHORT


# ---------------------------------------------------------------------------------------------------- action and state


def test_the_gripper_is_relative_not_absolute(tmp_path: Path):
    pulses = action_rows(40, 1, {10: 0.7, 11: 1.0, 25: -0.4})
    clip = normalized(read(write(tmp_path, **{"steps/action/gripper_closedness_action": pulses}))[0])
    assert clip.action.track.values[:, RIGHT_ACTION + 6].tolist() == [1.0] * 10 + [0.0] * 15 + [1.0] * 15


def test_the_measured_opening_is_one_minus_closed(tmp_path: Path):
    closed = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    clip = normalized(read(write(tmp_path, **{"steps/observation/gripper_closed": closed}))[0])
    np.testing.assert_allclose(clip.state.values[:, RIGHT_STATE + 9], 1 - closed[:, 0], atol=1e-7)


def test_outliers_are_marked_and_never_clipped(tmp_path: Path):
    """Of 44 rows two may be outliers: 0.49 m and 1.55 rad are none, 22 m and 1.65 rad are."""
    moves = action_rows(44, 3, {4: (0.49, 0, 0), 9: (0, -22.0, 0)})
    turns = action_rows(44, 3, {6: (0, 0, 1.55), 20: (1.65, 0, 0)})
    changes = {"steps/action/world_vector": moves, "steps/action/rotation_delta": turns}
    clip = normalized(read(write(tmp_path, 44, **changes))[0])
    assert clip.action.valid == ((0, 9), (10, 20), (21, 44))
    np.testing.assert_allclose(clip.action.track.values[:, RIGHT_ACTION : RIGHT_ACTION + 3], moves, rtol=1e-6)
    np.testing.assert_allclose(clip.action.track.values[:, RIGHT_ACTION + 3 : RIGHT_ACTION + 6], turns, atol=1e-6)


def test_base_slots_are_real_only_where_the_base_moves(toy: FsspecTree):
    slots = slice(BASE_ACTION, BASE_ACTION + 3)
    clips = [found for found in map(normalized, read(toy)) if isinstance(found, Clip)]
    assert [clip.action.track.mask[slots].tolist() for clip in clips] == [
        [False] * 3,
        [True] * 3,
        [False] * 3,
        [False] * 3,
    ]
    assert clips[1].action.track.values[5:9, BASE_ACTION].tolist() == [np.float32(0.02)] * 4


def test_the_motion_is_a_command(toy: FsspecTree):
    clip = normalized(read(toy)[0])
    assert (clip.action.origin, clip.hz, clip.stride) == ("commanded", 3.0, 3)


# -------------------------------------------------------------------------------------------------- text, place, rate


def test_real_instructions_pass_as_they_are(tmp_path: Path, real_data: Path):
    texts = json.loads((real_data / "fractal_video" / "lang_annotations.json").read_text())
    assert len(texts) == 10
    for name, text in texts.items():
        clip = normalized(read(write(tmp_path / name, text=text))[0])
        assert isinstance(clip, Clip), f"{text!r}: {clip}"
        assert clip.instruction.text == text


def test_real_frames_become_a_clip_of_whole_images(tmp_path: Path, real_data: Path):
    video = cv2.VideoCapture(str(real_data / "fractal_video" / "videos" / "fractal20220817_eps_00084175.mp4"))
    frames = []
    while (frame := video.read()[1]) is not None:
        frames.append(cv2.imencode(".jpg", frame)[1].tobytes())
    clip = normalized(read(write(tmp_path, len(frames), images=frames))[0], FrameSelection.ALL)
    assert clip.num_steps == len(frames) > 12
    stored = cv2.imdecode(np.frombuffer(clip.frames["primary"][5].jpeg, np.uint8), cv2.IMREAD_COLOR)
    whole = cv2.resize(cv2.imdecode(np.frombuffer(frames[5], np.uint8), cv2.IMREAD_COLOR), (256, 256))
    assert np.abs(stored.astype(float) - whole).mean() < 4


@pytest.mark.parametrize(("text", "reason"), [("", Reason.EMPTY), ("None", Reason.PLACEHOLDER), ("go", Reason.GLUED)])
def test_poor_texts_drop_the_episode(tmp_path: Path, text: str, reason: Reason):
    assert normalized(read(write(tmp_path, text=text))[0]).reason is reason


def test_ids_provenance_and_split(toy: FsspecTree):
    found = read(toy)
    assert len(found) == 7
    first = found[0]
    assert first.id == f"{RELEASE}/fractal20220817_data-train.tfrecord-00000-of-00002#00000"
    assert first.provenance == {"file": first.id[:-6], "record": 0}
    assert first.split is None
    assert first.release == RELEASE


def test_the_rate_can_be_set(toy: FsspecTree):
    assert read(toy, fractal.Settings(hz=6.0))[0].hz == 6.0


def test_another_dataset_is_refused(tmp_path: Path, toy: FsspecTree):
    (tmp_path / "bridge").symlink_to(Path(toy.root) / "fractal20220817_data")
    with pytest.raises(RequestError, match=r"dataset_info\.json with name fractal20220817_data"):
        fractal.parts(FsspecTree(str(tmp_path)), fractal.Settings())


# ---------------------------------------------------------------------------------------------------------- toy tree


def test_the_toy_exercises_each_drop(toy: FsspecTree):
    found = [normalized(outcome) for outcome in read(toy)]
    assert [drop.reason for drop in found[4:]] == [Reason.SHORT, Reason.EMPTY, Reason.OUTLIERS]
    assert [clip.num_steps for clip in found[:4]] == [24, 26, 22, 30]


def test_toy_frames_are_upright_and_in_step(toy: FsspecTree):
    clip = normalized(read(toy)[2], FrameSelection.ALL)
    for frame in clip.frames["primary"]:
        mark = read_toy_frame(cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB))
        assert (mark.step, mark.episode, mark.upright, mark.rgb) == (frame.row, 2, True, True)
